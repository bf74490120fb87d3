//! Until when a value holds, and what it depends on.

use std::time::Duration;

use cache_core::{EntryMeta, FileDependency, Timestamp};

use crate::files::{Files, Seen};

/// The fact about an entry that says when its value is over, where the entry itself is kept for longer: milliseconds
/// since the Unix epoch.
const FRESH_UNTIL: &str = "fresh-until";

/// What the author of a value asks for. The default is a value that holds as long as the cache says.
#[derive(Default)]
pub(crate) struct Terms {
    /// How long it holds, whatever the cache says.
    pub(crate) ttl: Option<Duration>,
    /// For how long it is given after that while somebody makes it anew.
    pub(crate) stale: Option<Duration>,
    /// Whether it is kept beyond that, to be given if it cannot be made anew.
    pub(crate) fallback: bool,
    /// The files that decide it.
    pub(crate) files: Option<Files>,
}

/// What a value that was found is good for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Standing {
    /// It holds.
    Fresh,
    /// It is over, and given while somebody makes it anew.
    Stale,
    /// It is over, and given if it cannot be made anew.
    Over,
    /// It was made from other files.
    Changed,
}

/// How a value came to be.
#[derive(Default)]
pub(crate) struct Made {
    /// How long it took.
    pub(crate) cost: Duration,
    /// What it was made from.
    pub(crate) files: Vec<FileDependency>,
}

impl Terms {
    pub(crate) fn ttl(ttl: Option<Duration>) -> Self {
        Self { ttl, ..Self::default() }
    }

    /// Writes into the facts about a value until when it is kept.
    pub(crate) fn limit(&self, meta: &mut EntryMeta, default_ttl: Option<Duration>) {
        let Some(fresh_until) = self.ttl.or(default_ttl).map(|ttl| meta.created.plus(ttl)) else { return };
        let beyond = if self.fallback { Duration::MAX } else { self.stale.unwrap_or_default() };
        meta.expires = Some(fresh_until.plus(beyond));
        if !beyond.is_zero() {
            meta.tags.insert(FRESH_UNTIL.to_owned(), fresh_until.as_millis().to_string());
        }
    }

    /// Returns what a value is good for at `now`. Whether its entry has expired is not asked: the store did.
    pub(crate) fn judge(&self, meta: &EntryMeta, now: Timestamp) -> Standing {
        // Of a fact that is not understood, nothing can be proved.
        let until = |text: &String| text.parse().map_or(Timestamp::default(), Timestamp::from_millis);
        let standing = match meta.tags.get(FRESH_UNTIL).map(until) {
            Some(end) if end <= now => match self.stale {
                Some(stale) if now < end.plus(stale) => Standing::Stale,
                _ => Standing::Over,
            },
            _ => Standing::Fresh,
        };
        match &self.files {
            Some(files) if !files.are(&meta.dependencies.files) => Standing::Changed,
            _ => standing,
        }
    }

    /// Returns what the files contain before the value is made; nothing if that cannot be told.
    pub(crate) fn before(&self) -> Option<Vec<Seen>> {
        self.files.as_ref().map_or_else(|| Some(Vec::new()), Files::look)
    }

    /// Returns what the value was made from, if the files are still as they were `before`.
    pub(crate) fn after(&self, before: Option<Vec<Seen>>) -> Option<Vec<FileDependency>> {
        let (Some(files), Some(before)) = (&self.files, &before) else { return before.map(|_| Vec::new()) };
        let after = files.look()?;
        (after == *before).then(|| files.record(&after))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    /// Returns until when an entry made at the epoch is kept, and what it is good for after each of `seconds`.
    fn kept(terms: &Terms, default_ttl: Option<Duration>, seconds: &[u32]) -> (Option<u64>, Vec<Standing>) {
        let mut meta = EntryMeta::default();
        terms.limit(&mut meta, default_ttl);
        let judge = |after: &u32| terms.judge(&meta, Timestamp::default().plus(*after * SECOND));
        (meta.expires.map(Timestamp::as_millis), seconds.iter().map(judge).collect())
    }

    #[test]
    fn a_value_is_stale_before_it_is_over() {
        use Standing::{Fresh, Over, Stale};
        let mut terms = Terms { ttl: Some(2 * SECOND), stale: Some(3 * SECOND), ..Terms::default() };
        let all = [0, 1, 2, 4, 5, 100];
        assert_eq!(kept(&terms, None, &all), (Some(5000), vec![Fresh, Fresh, Stale, Stale, Over, Over]));
        terms.fallback = true;
        assert_eq!(kept(&terms, None, &all), (Some(u64::MAX), vec![Fresh, Fresh, Stale, Stale, Over, Over]));
        terms.stale = None;
        assert_eq!(kept(&terms, None, &[1, 2]), (Some(u64::MAX), vec![Fresh, Over]));
    }

    #[test]
    fn the_time_of_the_cache_counts_where_there_is_no_other() {
        assert_eq!(kept(&Terms::default(), None, &[9]), (None, vec![Standing::Fresh]));
        assert_eq!(kept(&Terms::default(), Some(SECOND), &[0]).0, Some(1000));
        assert_eq!(kept(&Terms::ttl(Some(SECOND)), Some(9 * SECOND), &[0]).0, Some(1000));
        let stale = Terms { stale: Some(SECOND), ..Terms::default() };
        assert_eq!(kept(&stale, Some(SECOND), &[0, 1]), (Some(2000), vec![Standing::Fresh, Standing::Stale]));
    }

    #[test]
    fn a_fact_that_is_not_understood_makes_no_value_fresh() {
        let mut meta = EntryMeta::default();
        meta.tags.insert(FRESH_UNTIL.to_owned(), "tomorrow".to_owned());
        assert_eq!(Terms::default().judge(&meta, Timestamp::from_millis(1)), Standing::Over);
    }
}

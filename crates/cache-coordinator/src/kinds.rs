//! Numbers for each kind of entry, of which there may be any number.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::stats::KindStats;

/// Names that have numbers of their own: more than one program uses, and few enough to look for one by one.
pub(crate) const NAMED: usize = 16;
/// Bytes of a name that has numbers of its own. Kinds come from entries, and those from anywhere.
const LONGEST: usize = 64;
/// What all other names are called.
pub(crate) const OTHER: &str = "other";

/// Something for each of the first names, and one for all others together. Never locked.
#[derive(Debug, Default)]
pub(crate) struct Named<T> {
    named: [(OnceLock<Box<str>>, T); NAMED],
    other: T,
}

impl<T> Named<T> {
    /// Returns what belongs to `name`, and the name that it goes by.
    pub(crate) fn of(&self, name: &str) -> (&str, &T) {
        let places = if name.len() <= LONGEST { &self.named[..] } else { &[] };
        for (own, value) in places {
            // Whoever comes first gives the place its name.
            let own = own.get_or_init(|| name.into());
            if **own == *name {
                return (own, value);
            }
        }
        (OTHER, &self.other)
    }

    /// Returns the two numbers of all names that have any, by name.
    pub(crate) fn collect(&self, numbers: impl Fn(&T) -> (u64, u64)) -> Vec<(String, u64, u64)> {
        let named = self.named.iter().filter_map(|(name, value)| Some((&**name.get()?, value)));
        let mut all: Vec<(String, u64, u64)> = Vec::new();
        for (name, value) in named.chain([(OTHER, &self.other)]) {
            let (one, two) = numbers(value);
            // Somebody's name may be "other" itself.
            match all.iter_mut().find(|(known, ..)| known == name) {
                Some(known) => (known.1, known.2) = (known.1 + one, known.2 + two),
                None => all.push((name.to_owned(), one, two)),
            }
        }
        all.retain(|(_, one, two)| one + two > 0);
        all.sort();
        all
    }
}

/// What happened to entries of one kind.
#[derive(Debug, Default)]
pub(crate) struct Kind {
    hits: AtomicU64,
    stored: AtomicU64,
}

/// What happened to entries, by their kinds.
#[derive(Debug, Default)]
pub(crate) struct Kinds(Named<Kind>);

impl Kinds {
    pub(crate) fn hit(&self, kind: &str) {
        self.0.of(kind).1.hits.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn stored(&self, kind: &str) {
        self.0.of(kind).1.stored.fetch_add(1, Ordering::Relaxed);
    }

    /// Returns the numbers of all kinds that have any, by name.
    pub(crate) fn stats(&self) -> Vec<KindStats> {
        let of = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let all = self.0.collect(|kind| (of(&kind.hits), of(&kind.stored)));
        all.into_iter().map(|(kind, hits, stored)| KindStats { kind, hits, stored }).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_kinds_are_told_apart_and_the_rest_is_counted() {
        let kinds = Kinds::default();
        for number in 0..NAMED + 5 {
            kinds.hit(&number.to_string());
            kinds.stored(&number.to_string());
        }
        kinds.hit("3");
        kinds.hit(&"long".repeat(LONGEST));
        let stats = kinds.stats();
        assert_eq!(stats.len(), NAMED + 1);
        let of =
            |name: &str| stats.iter().find(|kind| kind.kind == name).map(|kind| (kind.hits, kind.stored));
        assert_eq!(
            (of("3"), of("15"), of("16"), of(OTHER)),
            (Some((2, 1)), Some((1, 1)), None, Some((6, 5)))
        );
    }

    #[test]
    fn a_kind_may_be_called_other() {
        let kinds = Kinds::default();
        kinds.hit(OTHER);
        kinds.hit(&"long".repeat(LONGEST));
        assert_eq!(kinds.stats(), [KindStats { kind: OTHER.to_owned(), hits: 2, stored: 0 }]);
    }

    #[test]
    fn many_threads_agree_on_the_places() {
        let kinds = Kinds::default();
        std::thread::scope(|scope| {
            for thread in 0..8_usize {
                let kinds = &kinds;
                scope.spawn(move || (0..1000).for_each(|n| kinds.hit(&((n + thread) % 10).to_string())));
            }
        });
        assert!(kinds.stats().iter().all(|kind| kind.hits == 800) && kinds.stats().len() == 10);
    }
}

//! Limits of one cache among others in a store.

use std::cmp::Reverse;
use std::collections::{HashMap, HashSet};
use std::time::Duration;

use cache_core::{Digest, Key, ListFilter, Listed, Result, Timestamp};

use super::ledger::Ledger;
use super::outputs;
use crate::Limits;

/// How many entries are listed at a time.
pub(crate) const PAGE: usize = 1000;
/// How many records are weighed against each other: 100 MB of notes. Of more, those listed first.
const MAX_RECORDS: usize = 1 << 20;
/// Content that no record names is kept for so long: a recording that is under way stores its record last.
const UNDER_WAY: Duration = Duration::from_hours(1);
/// Tag of a record: the digest of its outputs, by which the entry that holds their content is found.
pub(crate) const OUTPUTS_TAG: &str = "outputs";

/// What trimming removed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Trimmed {
    /// Records that stay.
    pub kept: u64,
    /// Records that were not used for too long.
    pub aged: u64,
    /// Records that had to go to keep the number or the bytes, least recently used first.
    pub evicted: u64,
    /// Entries with the content of outputs that no record names any more.
    pub contents: u64,
    /// Bytes of the records and contents that were removed. The store frees those of contents when it is
    /// [collected](cache_core::Store::gc) next.
    pub bytes: u64,
}

struct Record {
    key: Key,
    used: Timestamp,
    size: u64,
    content: Option<Key>,
}

struct Content {
    created: Timestamp,
    size: u64,
}

/// What is in a namespace.
#[derive(Default)]
struct Found {
    records: Vec<Record>,
    contents: HashMap<Key, Content>,
    /// Contents that records of other kinds name.
    foreign: HashSet<Key>,
    /// Whether all of it was listed.
    whole: bool,
}

impl Ledger {
    /// Keeps `limits`: what is not used for longest goes.
    pub(crate) async fn trim(&self, limits: &Limits) -> Result<Trimmed> {
        let now = self.files.clock().now();
        let mut found = self.everything().await?;
        let mut trimmed = Trimmed::default();
        let mut doomed: Vec<(Key, u64)> = Vec::new();
        found.records.sort_unstable_by_key(|record| (Reverse(record.used), record.key));
        let mut named: HashSet<Key> = HashSet::new();
        let (mut bytes, mut full) = (0_u64, false);
        for record in &found.records {
            let content = record.content.filter(|content| !named.contains(content));
            let content_size =
                content.and_then(|content| found.contents.get(&content)).map_or(0, |it| it.size);
            let with_it = bytes.saturating_add(record.size).saturating_add(content_size);
            // Of what is older nothing stays either: what was used last is worth most.
            full = full
                || limits.max_entries.is_some_and(|max| trimmed.kept >= max)
                || limits.max_bytes.is_some_and(|max| with_it > max);
            if limits.max_age.is_some_and(|age| now.since(record.used) > age) {
                trimmed.aged += 1;
            } else if full {
                trimmed.evicted += 1;
            } else {
                trimmed.kept += 1;
                bytes = with_it;
                named.extend(record.content);
                continue;
            }
            doomed.push((record.key, record.size));
        }
        // Contents that were named a moment ago belong to nobody now; others may belong to a record that is still to come.
        let gone: HashSet<Key> = found.records.iter().filter_map(|record| record.content).collect();
        if found.whole {
            for (key, content) in &found.contents {
                let is_old = gone.contains(key) || now.since(content.created) > UNDER_WAY;
                if is_old && !named.contains(key) && !found.foreign.contains(key) {
                    doomed.push((*key, content.size));
                    trimmed.contents += 1;
                }
            }
        }
        for (key, size) in doomed {
            let _ = self.store.remove(&key).await?;
            trimmed.bytes = trimmed.bytes.saturating_add(size);
        }
        Ok(trimmed)
    }

    async fn everything(&self) -> Result<Found> {
        let filter = ListFilter { namespace: Some(self.namespace.clone()), ..ListFilter::default() };
        let mut found = Found { whole: true, ..Found::default() };
        let mut after = None;
        loop {
            let page = self.store.list(&filter, after.as_deref(), PAGE).await?;
            for item in &page.items {
                self.sort_in(item, &mut found);
            }
            after = page.next;
            if after.is_none() {
                return Ok(found);
            }
            if found.records.len() + found.contents.len() + found.foreign.len() >= MAX_RECORDS {
                return Ok(Found { whole: false, ..found });
            }
        }
    }

    fn sort_in(&self, item: &Listed, found: &mut Found) {
        let digest = item.meta.tags.get(OUTPUTS_TAG).and_then(|text| text.parse::<Digest>().ok());
        let content = digest.map(|digest| outputs::key(&self.namespace, &digest));
        if item.meta.kind == self.kind {
            let used = item.last_used.unwrap_or_default().max(item.meta.created);
            found.records.push(Record { key: item.key, used, size: item.size, content });
        } else if item.meta.kind == outputs::KIND {
            found.contents.insert(item.key, Content { created: item.meta.created, size: item.size });
        } else {
            found.foreign.extend(content);
        }
    }
}

//! The layout of segments: two logs, probation and main, of which whole segments are reclaimed.
//!
//! S3-FIFO (Yang et al., "FIFO queues are all you need for cache eviction", SOSP 2023) by segments: new entries go to
//! probation, a tenth of the cache. Of the oldest segment of a log those that were hit most go on to main, and the others
//! become ghosts. What is stored again while its ghost is there goes to main at once. Constants and choices are those of
//! the store.

use std::collections::VecDeque;

use super::ghosts::Ghosts;
use super::policy::{Policy, slot};

/// Largest segment in bytes.
const MAX_SEGMENT: u64 = 64 << 20;
/// A cache has this many segments at least.
const SEGMENTS: u64 = 32;
/// What a record takes besides its payload, in bytes.
const HEADER: u64 = 128;
/// Records begin at multiples of this many bytes.
const ALIGN: u64 = 16;
/// Percentage of the cache that probation has.
const PROBATION: u64 = 10;
/// Percentage of a segment that goes on to main at most, so that reclaiming one always makes room.
const KEPT: u64 = 35;
/// Hits that are counted at most.
const MAX_HITS: u8 = 3;

/// A cache of segments.
pub(super) struct Segments {
    limit: u64,
    segment_bytes: u64,
    probation: Log,
    main: Log,
    ghosts: Ghosts,
    entries: Vec<Entry>,
    /// Number of the next segment of either log.
    next: u64,
}

#[derive(Default)]
struct Log {
    /// Oldest first; the last one is written to.
    segments: VecDeque<Segment>,
    /// Bytes of all segments, with those of records that were overwritten or removed.
    bytes: u64,
}

struct Segment {
    number: u64,
    bytes: u64,
    records: Vec<u32>,
}

/// Where an entry is.
#[derive(Clone, Copy, Default)]
struct Entry {
    /// Number of the segment, and place in it, of the one record that counts.
    segment: u64,
    record: u32,
    hits: u8,
    log: Option<Which>,
    /// Bytes of the record.
    cost: u64,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Which {
    Probation,
    Main,
}

impl Segments {
    /// Returns an empty cache of `limit` bytes.
    pub(super) fn new(limit: u64) -> Self {
        Self {
            limit,
            segment_bytes: ((limit / SEGMENTS).next_power_of_two() / 2).min(MAX_SEGMENT),
            probation: Log::default(),
            main: Log::default(),
            ghosts: Ghosts::new(limit - part(limit, PROBATION)),
            entries: Vec::new(),
            next: 0,
        }
    }

    fn log(&mut self, which: Which) -> &mut Log {
        match which {
            Which::Probation => &mut self.probation,
            Which::Main => &mut self.main,
        }
    }

    /// Appends a record, which from now on is the one that counts.
    fn append(&mut self, id: u32, which: Which, cost: u64, hits: u8) {
        let (next, full) = (self.next, self.segment_bytes);
        let log = self.log(which);
        // A record that is larger than a segment has one to itself.
        if log.segments.back().is_none_or(|last| last.bytes.saturating_add(cost) > full) {
            log.segments.push_back(Segment { number: next, bytes: 0, records: Vec::new() });
        }
        let Some(last) = log.segments.back_mut() else { return };
        let (segment, record) = (last.number, last.records.len() as u32);
        last.records.push(id);
        last.bytes += cost;
        log.bytes += cost;
        self.next = self.next.max(segment + 1);
        *slot(&mut self.entries, id) = Entry { segment, record, hits, log: Some(which), cost };
    }

    /// Makes room by giving up one segment.
    fn reclaim(&mut self) {
        let enough = self.probation.bytes >= part(self.limit, PROBATION);
        let which = if enough || self.main.bytes == 0 { Which::Probation } else { Which::Main };
        let log = self.log(which);
        let Some(segment) = log.segments.pop_front() else { return };
        log.bytes -= segment.bytes;
        let mut used = Vec::new();
        for (record, id) in (0..).zip(segment.records) {
            let entry = self.entries[id as usize];
            if entry.log.is_none() || (entry.segment, entry.record) != (segment.number, record) {
                // It was removed, or a newer record counts.
                continue;
            }
            if entry.hits > 0 {
                used.push(id);
            } else {
                self.evict(id);
            }
        }
        // Of those that were used as much, the newer ones.
        used.sort_by_key(|id| {
            let entry = self.entries[*id as usize];
            std::cmp::Reverse((entry.hits, entry.record))
        });
        let mut room = part(segment.bytes, KEPT);
        for id in used {
            let entry = self.entries[id as usize];
            if entry.cost > room {
                self.evict(id);
                continue;
            }
            room -= entry.cost;
            let hits = if which == Which::Main { entry.hits - 1 } else { 0 };
            self.append(id, Which::Main, entry.cost, hits);
        }
    }

    fn evict(&mut self, id: u32) {
        let entry = &mut self.entries[id as usize];
        entry.log = None;
        self.ghosts.add(id, entry.cost);
    }
}

/// Returns `percent` of `whole`.
fn part(whole: u64, percent: u64) -> u64 {
    (u128::from(whole) * u128::from(percent) / 100) as u64
}

/// Returns what an entry of so many bytes takes.
fn cost(bytes: u64) -> u64 {
    bytes.saturating_add(HEADER).checked_next_multiple_of(ALIGN).unwrap_or(u64::MAX)
}

impl Policy for Segments {
    fn get(&mut self, id: u32) -> bool {
        let Some(entry) = self.entries.get_mut(id as usize).filter(|entry| entry.log.is_some()) else {
            return false;
        };
        entry.hits = (entry.hits + 1).min(MAX_HITS);
        true
    }

    fn put(&mut self, id: u32, bytes: u64) {
        let cost = cost(bytes);
        let before = *slot(&mut self.entries, id);
        if before.log.is_some() && before.cost == cost {
            return;
        }
        self.remove(id);
        if cost > self.limit {
            return;
        }
        let which = if self.ghosts.take(id) { Which::Main } else { Which::Probation };
        while self.probation.bytes + self.main.bytes > self.limit - cost {
            self.reclaim();
        }
        self.append(id, which, cost, 0);
    }

    fn remove(&mut self, id: u32) {
        slot(&mut self.entries, id).log = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Bytes of an entry that takes this many hundredths of the cache of [`small`].
    fn bytes(hundredths: u64) -> u64 {
        hundredths * 160 - HEADER
    }

    /// Returns a cache of ten segments, each of which has room for ten entries of one hundredth.
    fn small() -> Segments {
        Segments { segment_bytes: 1600, ..Segments::new(16_000) }
    }

    fn fill(cache: &mut Segments, ids: std::ops::Range<u32>) {
        ids.for_each(|id| cache.put(id, bytes(1)));
    }

    fn is_in(cache: &Segments, id: u32) -> Option<bool> {
        cache.entries[id as usize].log.map(|log| log == Which::Main)
    }

    const PROBATION: Option<bool> = Some(false);
    const MAIN: Option<bool> = Some(true);

    #[test]
    fn the_oldest_segment_goes_and_what_was_hit_in_it_stays() {
        let mut cache = small();
        fill(&mut cache, 0..100);
        assert!((0..100).all(|id| is_in(&cache, id) == PROBATION));
        for id in [2, 5, 5, 11] {
            assert!(cache.get(id));
        }
        // The first of ten segments goes: 0 to 9. Of them 2 and 5 move to main.
        cache.put(100, bytes(1));
        for id in 0..101 {
            let expected = match id {
                2 | 5 => MAIN,
                0..10 => None,
                _ => PROBATION,
            };
            assert_eq!(is_in(&cache, id), expected, "{id}");
        }
        assert_eq!((cache.probation.bytes, cache.main.bytes), (91 * 160, 2 * 160));
        // 0 is a ghost, so it comes back into main; 200 has never been here.
        assert!(!cache.get(0));
        cache.put(0, bytes(1));
        cache.put(200, bytes(1));
        assert_eq!((is_in(&cache, 0), is_in(&cache, 200)), (MAIN, PROBATION));
    }

    #[test]
    fn a_third_of_a_segment_is_promoted_at_most() {
        let mut cache = small();
        fill(&mut cache, 0..100);
        (0..10).chain([1]).for_each(|id| assert!(cache.get(id)));
        cache.put(100, bytes(1));
        let kept: Vec<u32> = (0..10).filter(|id| is_in(&cache, *id) == MAIN).collect();
        assert_eq!(kept, [1, 8, 9], "35 % of ten are three: the one that was hit most, and the newest");
        cache.put(0, bytes(1));
        assert_eq!(is_in(&cache, 0), MAIN, "the others have become ghosts");
    }

    #[test]
    fn main_is_reclaimed_when_probation_is_small_and_a_hit_counts_once() {
        let mut cache = small();
        // All of 0 to 94 are in main: their ghosts are taken.
        for id in 0..95 {
            cache.ghosts.add(id, 1);
            cache.put(id, bytes(1));
        }
        fill(&mut cache, 100..105);
        assert!(cache.get(3));
        // Probation is below a tenth, so main's oldest segment goes; 3 is appended again and has no hits left.
        cache.put(105, bytes(1));
        assert_eq!((is_in(&cache, 3), is_in(&cache, 4), is_in(&cache, 100)), (MAIN, None, PROBATION));
        assert_eq!(cache.entries[3].hits, 0);
        cache.put(4, bytes(1));
        assert_eq!(is_in(&cache, 4), MAIN, "what goes from main leaves a ghost, too");
    }

    #[test]
    fn removed_and_overwritten_records_take_space_until_their_segment_goes() {
        let mut cache = small();
        fill(&mut cache, 0..10);
        cache.remove(0);
        assert!(!cache.get(0) && !cache.get(77));
        cache.put(1, bytes(1));
        assert_eq!(cache.probation.bytes, 10 * 160, "the same again is no new record");
        cache.put(1, bytes(2));
        assert_eq!(cache.probation.bytes, 12 * 160);
        fill(&mut cache, 10..98);
        assert_eq!(cache.probation.bytes, 100 * 160);
        cache.put(98, bytes(1));
        assert_eq!((is_in(&cache, 0), is_in(&cache, 1), is_in(&cache, 2)), (None, PROBATION, None));
        cache.put(0, bytes(1));
        assert_eq!(is_in(&cache, 0), PROBATION, "what was removed left no ghost");
    }

    #[test]
    fn what_is_larger_than_the_cache_is_not_there() {
        let mut cache = small();
        fill(&mut cache, 0..3);
        cache.put(1, bytes(101));
        assert_eq!((is_in(&cache, 0), is_in(&cache, 1)), (PROBATION, None));
        cache.put(1, bytes(100));
        assert_eq!((is_in(&cache, 0), is_in(&cache, 1)), (None, PROBATION), "all the room there is");
        cache.put(2, u64::MAX);
        for limit in [0, 1, 200, u64::MAX] {
            let mut cache = Segments::new(limit);
            for id in 0..5 {
                cache.put(id, 0);
                assert_eq!(cache.get(id), limit >= HEADER);
            }
        }
    }
}

//! What a live cache knows, behind its lock.

use std::collections::{HashMap, VecDeque};

use cache_core::Key;

use super::answer::{Absence, Invalidation, Lookup};
use super::graph::Graph;
use super::stats::LiveStats;
use super::trace::{Mark, Trace};

/// How many dropped entries are remembered with the reason, for the next look-up and to notice an equal result: 10 MB.
const MAX_REASONS: usize = 1 << 16;
/// How many steps the search for an entry to forget takes at most, so that persisting stays cheap.
const ROOM_STEPS: usize = 1 << 12;

#[derive(Debug)]
pub(super) struct State {
    pub(super) graph: Graph,
    pub(super) removals: Removals,
    reasons: Reasons,
    /// How often something was reported: what was computed before is not taken for valid after.
    pub(super) reports: u64,
    /// How often entries were dropped by a report: what was read from the store before may be one of them.
    pub(super) drops: u64,
    pub(super) stats: LiveStats,
    max_entries: usize,
}

/// Entries that are dropped and still in the store, the oldest first.
#[derive(Debug, Default)]
pub(super) struct Removals {
    order: VecDeque<(Key, u64)>,
    /// The report that each was dropped by.
    waiting: HashMap<Key, u64>,
}

#[derive(Debug, Default)]
struct Reasons {
    order: VecDeque<(Key, u64)>,
    known: HashMap<Key, Reason>,
    number: u64,
}

#[derive(Debug)]
struct Reason {
    why: Invalidation,
    /// The result that the entry had.
    result: Mark,
    number: u64,
}

impl Removals {
    /// Returns the report that the entry was dropped by, if it waits.
    pub(super) fn dropped_by(&self, key: &Key) -> Option<u64> {
        self.waiting.get(key).copied()
    }

    /// Returns the entry that waits longest.
    pub(super) fn first(&mut self) -> Option<(Key, u64)> {
        while let Some(&(key, report)) = self.order.front() {
            if self.dropped_by(&key) == Some(report) {
                return Some((key, report));
            }
            self.order.pop_front();
        }
        None
    }

    /// Takes notice that the entry is removed, or replaced.
    pub(super) fn done(&mut self, key: &Key) {
        self.waiting.remove(key);
    }

    pub(super) fn len(&self) -> usize {
        self.waiting.len()
    }

    fn add(&mut self, key: Key, report: u64) {
        if self.waiting.insert(key, report) != Some(report) {
            self.order.push_back((key, report));
        }
        // What was dropped and persisted again and again leaves places behind.
        if self.order.len() > 2 * self.waiting.len() + 64 {
            let waiting = &self.waiting;
            self.order.retain(|(key, report)| waiting.get(key) == Some(report));
        }
    }
}

impl Reasons {
    fn add(&mut self, key: Key, why: Invalidation, result: Mark) {
        self.number += 1;
        self.known.insert(key, Reason { why, result, number: self.number });
        self.order.push_back((key, self.number));
        while self.order.len() > MAX_REASONS {
            let Some((key, number)) = self.order.pop_front() else { break };
            if self.known.get(&key).is_some_and(|reason| reason.number == number) {
                self.known.remove(&key);
            }
        }
    }
}

impl State {
    pub(super) fn new(max_entries: usize) -> Self {
        Self {
            graph: Graph::new(),
            removals: Removals::default(),
            reasons: Reasons::default(),
            reports: 0,
            drops: 0,
            stats: LiveStats::default(),
            max_entries,
        }
    }

    /// Drops an entry that is known: it is not served any more, and waits to be removed from the store.
    pub(super) fn drop_entry(&mut self, id: u32, why: Invalidation) {
        let (key, result) = (self.graph.key(id), self.graph.result(id));
        self.graph.remove(id);
        self.reasons.add(key, why, result);
        self.stats.invalidated += 1;
        self.await_removal(key);
    }

    /// Makes the entry under `key` wait to be removed from the store, whether it is known or not.
    pub(super) fn await_removal(&mut self, key: Key) {
        if self.removals.len() >= self.max_entries
            && let Some((oldest, _)) = self.removals.first()
        {
            self.removals.done(&oldest);
            self.stats.removals_lost += 1;
        }
        self.removals.add(key, self.reports);
    }

    /// Returns what to say about an entry that is not there.
    pub(super) fn gone(&self, key: &Key) -> Lookup {
        match self.reasons.known.get(key) {
            Some(reason) => Lookup::Invalidated(reason.why.clone()),
            None => Lookup::Miss(Absence::Absent),
        }
    }

    /// Returns the result that the entry has, or had when it was dropped.
    pub(super) fn last_result(&self, key: &Key) -> Option<Mark> {
        match self.graph.find_known(key) {
            Some(id) => Some(self.graph.result(id)),
            None => self.reasons.known.get(key).map(|reason| reason.result),
        }
    }

    /// Returns whether the entry under `key`, and those that it names, can be known without forgetting others.
    pub(super) fn has_room(&self, key: &Key, trace: &Trace) -> bool {
        let upstreams = trace.upstreams.iter().map(|upstream| &upstream.key);
        let new = std::iter::once(key).chain(upstreams).filter(|key| self.graph.find(key).is_none());
        self.graph.len() + new.count() <= self.max_entries
    }

    /// Takes notice of an entry in the store. It is in doubt unless it `is_valid`. Returns nothing if there is no room.
    pub(super) fn insert(&mut self, key: Key, trace: &Trace, is_valid: bool) -> Option<u32> {
        while !self.has_room(&key, trace) {
            let id = self.graph.expendable(ROOM_STEPS)?;
            self.graph.remove(id);
            self.stats.forgotten += 1;
        }
        let id = self.graph.insert(key, trace, is_valid)?;
        self.reasons.known.remove(&key);
        Some(id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(number: u8) -> Key {
        Key::from_bytes([number; 32])
    }

    #[test]
    fn removals_wait_in_their_order_and_stay_few() {
        let mut removals = Removals::default();
        for round in 0..500 {
            removals.add(key(1), round);
            removals.add(key(2), round);
            assert_eq!(removals.first(), Some((key(1), round)));
            removals.done(&key(1));
            assert_eq!(removals.first(), Some((key(2), round)));
            removals.done(&key(2));
            assert_eq!((removals.first(), removals.len()), (None, 0));
        }
        removals.add(key(3), 1000);
        assert_eq!(removals.first(), Some((key(3), 1000)));
        for round in 0..500 {
            removals.add(key(1), round);
        }
        assert!(removals.order.len() < 100, "{}", removals.order.len());
    }

    #[test]
    fn reasons_are_forgotten_oldest_first() {
        let mut reasons = Reasons::default();
        let number = |number: usize| {
            let mut bytes = [0; 32];
            bytes[..8].copy_from_slice(&number.to_le_bytes());
            Key::from_bytes(bytes)
        };
        for at in 0..MAX_REASONS {
            reasons.add(number(at), Invalidation::Dropped, Mark::NONE);
        }
        reasons.add(number(0), Invalidation::PathReported, Mark::NONE);
        reasons.add(number(MAX_REASONS), Invalidation::Dropped, Mark::NONE);
        assert_eq!(
            reasons.known.get(&number(0)).map(|reason| &reason.why),
            Some(&Invalidation::PathReported)
        );
        assert!(!reasons.known.contains_key(&number(1)));
        assert!(reasons.known.len() <= MAX_REASONS);
    }
}

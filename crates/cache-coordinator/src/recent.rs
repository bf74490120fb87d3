//! Keys of which something was found out a moment ago.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use cache_core::{Clock, Key, Timestamp};

/// Remembers for a time, and for a bounded number of keys, that something was found out about them: that the slower
/// tiers have nothing, or nothing newer.
#[derive(Debug)]
pub(crate) struct Recent {
    clock: Arc<dyn Clock>,
    keep: Duration,
    capacity: usize,
    known: Mutex<Known>,
}

#[derive(Debug, Default)]
struct Known {
    since: HashMap<Key, Timestamp>,
    /// Oldest first. Keys that were forgotten or refreshed since are still here once; their times tell.
    order: VecDeque<(Key, Timestamp)>,
}

impl Recent {
    pub(crate) fn new(clock: Arc<dyn Clock>, keep: Duration, capacity: usize) -> Self {
        Self { clock, keep, capacity, known: Mutex::default() }
    }

    pub(crate) fn contains(&self, key: &Key) -> bool {
        if self.capacity == 0 {
            return false;
        }
        let now = self.clock.now();
        // A clock that was set back makes what was remembered a thing of the future, which nobody can vouch for.
        self.lock().since.get(key).is_some_and(|since| *since <= now && now.since(*since) < self.keep)
    }

    pub(crate) fn insert(&self, key: &Key) {
        if self.capacity == 0 || self.keep.is_zero() {
            return;
        }
        let now = self.clock.now();
        let mut known = self.lock();
        known.since.insert(*key, now);
        known.order.push_back((*key, now));
        while known.order.len() > self.capacity {
            let Some((oldest, since)) = known.order.pop_front() else { break };
            if known.since.get(&oldest) == Some(&since) {
                known.since.remove(&oldest);
            }
        }
    }

    pub(crate) fn remove(&self, key: &Key) {
        self.lock().since.remove(key);
    }

    fn lock(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use cache_core::ManualClock;

    use super::*;

    const KEEP: Duration = Duration::from_secs(5);

    fn recent(capacity: usize) -> (Recent, Arc<ManualClock>) {
        let clock = Arc::new(ManualClock::new(Timestamp::from_millis(100_000)));
        (Recent::new(Arc::clone(&clock) as Arc<dyn Clock>, KEEP, capacity), clock)
    }

    fn key(number: u8) -> Key {
        Key::from_bytes([number; 32])
    }

    #[test]
    fn it_is_remembered_for_a_while() {
        let (recent, clock) = recent(10);
        recent.insert(&key(1));
        clock.advance(Duration::from_millis(4999));
        assert!(recent.contains(&key(1)) && !recent.contains(&key(2)));
        clock.advance(Duration::from_millis(1));
        assert!(!recent.contains(&key(1)));
        recent.insert(&key(1));
        clock.set(Timestamp::from_millis(1));
        assert!(!recent.contains(&key(1)), "the clock went back");
    }

    #[test]
    fn it_is_forgotten_on_demand_and_when_there_are_too_many() {
        let (recent, _) = recent(3);
        (0..5).for_each(|number| recent.insert(&key(number)));
        assert_eq!(
            [0, 1, 2, 3, 4].map(|number| recent.contains(&key(number))),
            [false, false, true, true, true]
        );
        recent.remove(&key(4));
        assert!(!recent.contains(&key(4)));
        // The same key over and over takes no more room than any other.
        (0..1000).for_each(|_| recent.insert(&key(9)));
        let known = recent.lock();
        assert!(known.order.len() <= 3 && known.since.len() <= 3);
    }
}

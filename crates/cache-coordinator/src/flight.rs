//! One look-up at a time per key, however many ask.

use std::collections::HashMap;
use std::collections::hash_map::Entry as Place;
use std::sync::{Arc, PoisonError};
#[cfg(not(all(test, vitte_shuttle)))]
use std::sync::{Mutex, MutexGuard};

use cache_core::Key;
#[cfg(all(test, vitte_shuttle))]
use shuttle::sync::{Mutex, MutexGuard};
use tokio::sync::OnceCell;

/// Look-ups that are under way.
///
/// All who ask for a key at the same time share a [`OnceCell`]: the first one looks up, the others wait. If the first
/// one is dropped or panics, the cell lets the next one in line look up; so there is no task that could be lost.
#[derive(Debug)]
pub(crate) struct Flights<T>(Mutex<HashMap<Key, Arc<OnceCell<T>>>>);

impl<T> Default for Flights<T> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<T: Clone> Flights<T> {
    /// Returns what `look_up` returns, here or for somebody who asked for the same key before, and whether it ran here.
    ///
    /// # Cancel safety
    /// If the one whose `look_up` runs is dropped, that of another one starts.
    pub(crate) async fn join(&self, key: &Key, look_up: impl Future<Output = T>) -> (T, bool) {
        let seat = {
            let cell = Arc::clone(self.lock().entry(*key).or_default());
            Seat { flights: self, key, cell }
        };
        let mut led = false;
        let found = seat.cell.get_or_init(|| async {
            led = true;
            look_up.await
        });
        let found = found.await.clone();
        seat.leave(true);
        (found, led)
    }

    /// Lets nobody join a look-up that is under way: what it finds may be older than what was just written.
    pub(crate) fn forget(&self, key: &Key) {
        self.lock().remove(key);
    }

    /// Returns how many look-ups are under way.
    #[cfg(all(test, not(vitte_shuttle)))]
    fn len(&self) -> usize {
        self.lock().len()
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Key, Arc<OnceCell<T>>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A place in a flight.
struct Seat<'a, T: Clone> {
    flights: &'a Flights<T>,
    key: &'a Key,
    cell: Arc<OnceCell<T>>,
}

impl<T: Clone> Seat<'_, T> {
    /// Ends the flight, if it is `over` or nobody else is in it, and it was not forgotten and replaced meanwhile.
    fn leave(&self, over: bool) {
        let mut flights = self.flights.lock();
        if let Place::Occupied(place) = flights.entry(*self.key)
            && Arc::ptr_eq(place.get(), &self.cell)
            // The map's and this one's. Others can only be made under the lock.
            && (over || Arc::strong_count(&self.cell) == 2)
        {
            place.remove();
        }
    }
}

impl<T: Clone> Drop for Seat<'_, T> {
    fn drop(&mut self) {
        self.leave(false);
    }
}

#[cfg(test)]
#[cfg(not(vitte_shuttle))]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use cache_testkit::{Gate, block_on, poll_at_most, yield_now};
    use tokio::task::JoinSet;

    use super::*;

    fn key() -> Key {
        Key::from_bytes([1; 32])
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
    async fn many_ask_and_one_looks() {
        let flights = Arc::new(Flights::<u32>::default());
        let (looks, gate) = (Arc::new(AtomicU32::new(0)), Gate::new());
        let mut tasks = JoinSet::new();
        for _ in 0..64 {
            let (flights, looks, gate) = (Arc::clone(&flights), Arc::clone(&looks), gate.clone());
            tasks.spawn(async move {
                let look = async {
                    gate.pass().await;
                    looks.fetch_add(1, Ordering::SeqCst) + 100
                };
                flights.join(&key(), look).await.0
            });
        }
        gate.arrived(1).await;
        // Everybody is aboard when every task holds the cell, besides the map.
        while flights.lock().get(&key()).is_none_or(|cell| Arc::strong_count(cell) < 65) {
            yield_now().await;
        }
        gate.open();
        assert!(tasks.join_all().await.iter().all(|found| *found == 100));
        assert_eq!((looks.load(Ordering::SeqCst), flights.len()), (1, 0));
    }

    #[tokio::test]
    async fn a_follower_takes_over_from_a_leader_that_is_dropped_or_panics() {
        for panics in [false, true] {
            let flights = Arc::new(Flights::<u32>::default());
            let gate = Gate::new();
            let leader = {
                let (flights, gate) = (Arc::clone(&flights), gate.clone());
                tokio::spawn(async move {
                    let look = async {
                        gate.pass().await;
                        assert!(!panics, "the leader panics, as the test wants");
                        std::future::pending().await
                    };
                    flights.join(&key(), look).await
                })
            };
            gate.arrived(1).await;
            let mut followers = JoinSet::new();
            for number in 0..10 {
                let flights = Arc::clone(&flights);
                followers.spawn(async move { flights.join(&key(), async move { number }).await.0 });
            }
            while flights.lock().get(&key()).is_none_or(|cell| Arc::strong_count(cell) < 12) {
                yield_now().await;
            }
            gate.open();
            if !panics {
                leader.abort();
            }
            assert!(leader.await.is_err());
            let found = followers.join_all().await;
            assert!(found.iter().all(|other| *other == found[0]), "{found:?}");
            assert_eq!(flights.len(), 0);
        }
    }

    #[test]
    fn whoever_was_dropped_leaves_nothing_behind() {
        let flights = Flights::<u32>::default();
        for polls in 0..3 {
            let look = async {
                yield_now().await;
                std::future::pending().await
            };
            assert!(block_on(poll_at_most(polls, flights.join(&key(), look))).is_none());
            assert_eq!(flights.len(), 0);
        }
    }

    #[tokio::test]
    async fn nobody_joins_what_was_forgotten() {
        let flights = Arc::new(Flights::<u32>::default());
        let gate = Gate::new();
        let old = {
            let (flights, gate) = (Arc::clone(&flights), gate.clone());
            let look = async move {
                gate.pass().await;
                1
            };
            tokio::spawn(async move { flights.join(&key(), look).await })
        };
        gate.arrived(1).await;
        flights.forget(&key());
        assert_eq!(flights.join(&key(), async { 2 }).await, (2, true));
        gate.open();
        assert_eq!(old.await.unwrap(), (1, true));
        assert_eq!(flights.len(), 0);
    }
}

/// The orders in which tasks can meet at a flight.
#[cfg(test)]
#[cfg(vitte_shuttle)]
mod orders {
    use std::sync::atomic::{AtomicU32, Ordering};

    use shuttle::future::{block_on, spawn, yield_now};

    use super::*;

    /// Orders that are tried: all of them are too many.
    const RUNS: usize = 20_000;

    #[test]
    fn one_looks_at_a_time_and_nobody_waits_for_ever() {
        let model = || {
            let flights = Arc::new(Flights::<u32>::default());
            let (looking, looks) = (Arc::new(AtomicU32::new(0)), Arc::new(AtomicU32::new(0)));
            let key = Key::from_bytes([1; 32]);
            let mut tasks: Vec<_> = (0..4)
                .map(|_| {
                    let (flights, looking, looks) =
                        (Arc::clone(&flights), Arc::clone(&looking), Arc::clone(&looks));
                    spawn(async move {
                        let look = async {
                            let _one = Looking::new(&looking);
                            yield_now().await;
                            looks.fetch_add(1, Ordering::SeqCst) + 1
                        };
                        flights.join(&key, look).await
                    })
                })
                .collect();
            // Maybe the one that looks, maybe one that waits, maybe one that has ended.
            let given_up = tasks.pop().unwrap();
            given_up.abort();
            let mut led = 0;
            for task in tasks {
                let (found, leads) = block_on(task).unwrap();
                assert!(found >= 1);
                led += u32::from(leads);
            }
            let _ = block_on(given_up);
            let looks = looks.load(Ordering::SeqCst);
            assert!((led..=led + 1).contains(&looks), "{looks} have looked, {led} of those that stayed");
            assert_eq!(flights.lock().len(), 0);
        };
        shuttle::check_random(model, RUNS);
        shuttle::check_pct(model, RUNS, 3);
    }

    #[test]
    fn what_is_forgotten_is_joined_by_nobody_who_comes_later() {
        let model = || {
            let flights = Arc::new(Flights::<u32>::default());
            let written = Arc::new(AtomicU32::new(0));
            let key = Key::from_bytes([1; 32]);
            let reader = |flights: &Arc<Flights<u32>>, written: &Arc<AtomicU32>| {
                let (flights, written) = (Arc::clone(flights), Arc::clone(written));
                async move {
                    let look = async {
                        let seen = written.load(Ordering::SeqCst);
                        yield_now().await;
                        seen
                    };
                    flights.join(&key, look).await.0
                }
            };
            let early = [(); 2].map(|()| spawn(reader(&flights, &written)));
            let writer = {
                let (written, flights) = (Arc::clone(&written), Arc::clone(&flights));
                let late = reader(&flights, &written);
                spawn(async move {
                    yield_now().await;
                    written.store(1, Ordering::SeqCst);
                    flights.forget(&key);
                    late.await
                })
            };
            assert_eq!(block_on(writer).unwrap(), 1, "who has written sees what it wrote");
            for early in early {
                let _ = block_on(early).unwrap();
            }
            assert_eq!(flights.lock().len(), 0);
        };
        shuttle::check_random(model, RUNS);
        shuttle::check_pct(model, RUNS, 3);
    }

    /// Somebody who looks; there must be no other.
    struct Looking(Arc<AtomicU32>);

    impl Looking {
        fn new(looking: &Arc<AtomicU32>) -> Self {
            assert_eq!(looking.fetch_add(1, Ordering::SeqCst), 0, "two look at once");
            Self(Arc::clone(looking))
        }
    }

    impl Drop for Looking {
        fn drop(&mut self) {
            self.0.fetch_sub(1, Ordering::SeqCst);
        }
    }
}

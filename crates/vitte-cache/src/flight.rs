//! Single flight: of all threads that want one value at a time, one makes it and the others get it from that one.
//!
//! One table serves the whole process, so that two caches on one directory share flights, and so that threads that
//! would wait for each other in a circle are found, whichever caches they wait in.

use std::collections::HashMap;
use std::sync::{Arc, OnceLock, PoisonError};
#[cfg(not(all(test, vitte_shuttle)))]
use std::sync::{Condvar, LazyLock, Mutex, MutexGuard};
#[cfg(not(all(test, vitte_shuttle)))]
use std::thread::{self, ThreadId};

use bytes::Bytes;
use cache_core::Key;
#[cfg(all(test, vitte_shuttle))]
use shuttle::{
    sync::{Condvar, Mutex, MutexGuard},
    thread::{self, ThreadId},
};

use crate::place::Place;

/// What flights are told apart by: the cache and the key.
pub(crate) type Route = (Place, Key);

#[cfg(not(all(test, vitte_shuttle)))]
static TABLE: LazyLock<Mutex<Table>> = LazyLock::new(Mutex::default);
#[cfg(all(test, vitte_shuttle))]
shuttle::lazy_static! {
    static ref TABLE: Mutex<Table> = Mutex::default();
}

#[derive(Default)]
struct Table {
    flights: HashMap<Route, Arc<Flight>>,
    /// Whose end each waiting thread waits for.
    waiting: HashMap<ThreadId, Arc<Flight>>,
}

struct Flight {
    owner: ThreadId,
    /// The value in bytes, if the owner came to have one.
    landed: OnceLock<Option<Bytes>>,
    changed: Condvar,
}

/// What came of asking for a flight.
pub(crate) enum Boarding {
    /// Nobody else is at it: make the value.
    Owner(Ticket),
    /// Somebody else was at it and has ended, with this value in bytes or with none.
    Joined(Option<Bytes>),
    /// Waiting would never end: this thread itself, or one that waits for it, is at it.
    Circle,
}

/// Holds a flight until it is dropped, be it by a panic.
pub(crate) struct Ticket {
    route: Route,
    value: Option<Bytes>,
}

/// Asks for the flight of `key` in the cache at `place`; returns nothing if somebody else has it.
pub(crate) fn try_board(place: &Place, key: Key) -> Option<Ticket> {
    let route = (place.clone(), key);
    let mut table = lock();
    if table.flights.contains_key(&route) {
        return None;
    }
    Some(table.begin(route, thread::current().id()))
}

/// Asks for the flight of `key` in the cache at `place`, and waits for its end if somebody else has it.
pub(crate) fn board(place: &Place, key: Key) -> Boarding {
    let route = (place.clone(), key);
    let this = thread::current().id();
    let mut table = lock();
    let Some(flight) = table.flights.get(&route).map(Arc::clone) else {
        return Boarding::Owner(table.begin(route, this));
    };
    if table.waits_for(&flight, this) {
        return Boarding::Circle;
    }
    table.waiting.insert(this, Arc::clone(&flight));
    loop {
        if let Some(value) = flight.landed.get() {
            table.waiting.remove(&this);
            return Boarding::Joined(value.clone());
        }
        table = flight.changed.wait(table).unwrap_or_else(PoisonError::into_inner);
    }
}

impl Table {
    fn begin(&mut self, route: Route, owner: ThreadId) -> Ticket {
        let flight = Flight { owner, landed: OnceLock::new(), changed: Condvar::new() };
        self.flights.insert(route.clone(), Arc::new(flight));
        Ticket { route, value: None }
    }

    /// Returns whether the owner of `flight` is `thread` or waits for it, however indirectly. There is no circle yet, so
    /// this comes to an end.
    fn waits_for(&self, flight: &Flight, thread: ThreadId) -> bool {
        let mut owner = flight.owner;
        loop {
            if owner == thread {
                return true;
            }
            match self.waiting.get(&owner) {
                // One that has landed ends its waiters' wait, as soon as they run again.
                Some(next) if next.landed.get().is_none() => owner = next.owner,
                _ => return false,
            }
        }
    }
}

impl Ticket {
    /// Ends the flight and gives `value` to all who wait.
    pub(crate) fn land(mut self, value: Bytes) {
        self.value = Some(value);
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        let mut table = lock();
        if let Some(flight) = table.flights.remove(&self.route) {
            let _ = flight.landed.set(self.value.take());
            flight.changed.notify_all();
        }
    }
}

fn lock() -> MutexGuard<'static, Table> {
    // No code of others runs under the lock, and a table is whole between any two of its statements.
    TABLE.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
#[cfg(all(feature = "memory", not(vitte_shuttle)))]
mod tests {
    use super::*;

    /// Returns a route in a cache of its own, so that tests do not meet in the table.
    fn route(key: u8) -> Route {
        (Place::in_memory(), Key::from_bytes([key; 32]))
    }

    fn own(place: &Place, key: Key) -> Ticket {
        match board(place, key) {
            Boarding::Owner(ticket) => ticket,
            _ => panic!("nobody else is at it"),
        }
    }

    /// Returns when `count` threads wait for flights of `place`.
    fn waiting(place: &Place, count: usize) {
        loop {
            let table = lock();
            let mine = |flight: &Arc<Flight>| {
                table.flights.iter().any(|(route, other)| route.0 == *place && Arc::ptr_eq(flight, other))
            };
            if table.waiting.values().filter(|flight| mine(flight)).count() == count {
                return;
            }
            drop(table);
            thread::yield_now();
        }
    }

    #[test]
    fn all_who_wait_get_what_lands() {
        let (place, key) = route(1);
        let ticket = own(&place, key);
        thread::scope(|scope| {
            let waiters: Vec<_> = (0..8).map(|_| scope.spawn(|| board(&place, key))).collect();
            waiting(&place, 8);
            ticket.land("value".into());
            for waiter in waiters {
                let Ok(Boarding::Joined(Some(value))) = waiter.join() else { panic!("it was to join") };
                assert_eq!(value, "value");
            }
        });
        drop(own(&place, key));
    }

    /// Asked of the cache itself: nobody else sees that they wait.
    #[cfg(feature = "macros")]
    #[test]
    fn what_is_given_after_an_error_lands_for_all_who_wait() {
        use std::sync::atomic::{AtomicU32, Ordering};
        use std::time::{Duration, SystemTime};

        use cache_core::ManualClock;

        use crate::async_making::Reach;
        use crate::inner::{CALL, Slot};
        use crate::terms::Terms;

        let clock = Arc::new(ManualClock::new(SystemTime::now().into()));
        let cache = crate::CacheBuilder::in_memory().clock(clock.clone()).open().unwrap();
        let terms = Terms { fallback: true, ..Terms::ttl(Some(Duration::from_secs(1))) };
        let slot = Slot { key: Key::from_bytes([1; 32]), kind: CALL, name: "call".to_owned() };
        assert_eq!(cache.make_once(&slot, &terms, || Ok::<_, ()>(1)), Ok(1));
        clock.advance(Duration::from_secs(1));
        let calls = AtomicU32::new(0);
        let fails = || {
            if calls.fetch_add(1, Ordering::SeqCst) == 0 {
                waiting(Reach::place(&cache), 7);
            }
            Err(())
        };
        thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| assert_eq!(cache.make_once(&slot, &terms, fails), Ok(1)));
            }
        });
        assert_eq!(calls.into_inner(), 1);
    }

    #[test]
    fn a_dropped_ticket_sends_all_away() {
        let (place, key) = route(1);
        let ticket = own(&place, key);
        thread::scope(|scope| {
            let waiter = scope.spawn(|| matches!(board(&place, key), Boarding::Joined(None)));
            waiting(&place, 1);
            drop(ticket);
            assert!(waiter.join().is_ok_and(|sent_away| sent_away));
        });
        assert!(!lock().flights.contains_key(&(place, key)), "it leaves nothing in the table");
    }

    #[test]
    fn circles_of_any_length_are_found() {
        let (place, _) = route(0);
        let key = |number| Key::from_bytes([number; 32]);
        let first = own(&place, key(1));
        assert!(matches!(board(&place, key(1)), Boarding::Circle));
        let barrier = std::sync::Barrier::new(2);
        thread::scope(|scope| {
            scope.spawn(|| {
                let _second = own(&place, key(2));
                barrier.wait();
                board(&place, key(1))
            });
            barrier.wait();
            waiting(&place, 1);
            let middle = scope.spawn(|| {
                let _third = own(&place, key(3));
                board(&place, key(2))
            });
            waiting(&place, 2);
            assert!(matches!(board(&place, key(3)), Boarding::Circle));
            assert!(matches!(board(&place, key(2)), Boarding::Circle));
            assert!(matches!(board(&place, key(4)), Boarding::Owner(_)));
            drop(first);
            assert!(middle.join().is_ok_and(|boarding| matches!(boarding, Boarding::Joined(None))));
        });
    }
}

/// The orders in which threads can meet at flights.
#[cfg(test)]
#[cfg(vitte_shuttle)]
mod orders {
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;

    /// Orders that are tried: all of them are too many.
    const RUNS: usize = 20_000;

    #[test]
    fn one_makes_it_at_a_time_and_all_come_to_an_end() {
        let model = || {
            let place = Place::in_memory();
            let key = Key::from_bytes([1; 32]);
            let (making, made) = (Arc::new(AtomicU32::new(0)), Arc::new(AtomicU32::new(0)));
            let threads: Vec<_> = (0..4)
                .map(|number| {
                    let (place, making, made) = (place.clone(), Arc::clone(&making), Arc::clone(&made));
                    thread::spawn(move || {
                        loop {
                            match board(&place, key) {
                                Boarding::Owner(ticket) => {
                                    assert_eq!(
                                        making.fetch_add(1, Ordering::SeqCst),
                                        0,
                                        "two make it at once"
                                    );
                                    thread::yield_now();
                                    making.fetch_sub(1, Ordering::SeqCst);
                                    // The first two fail.
                                    if number < 2 {
                                        return drop(ticket);
                                    }
                                    made.fetch_add(1, Ordering::SeqCst);
                                    return ticket.land("value".into());
                                }
                                Boarding::Joined(Some(value)) => return assert_eq!(value, "value"),
                                Boarding::Joined(None) => {}
                                Boarding::Circle => panic!("nobody waits for anybody who waits"),
                            }
                        }
                    })
                })
                .collect();
            for thread in threads {
                thread.join().unwrap();
            }
            assert!(made.load(Ordering::SeqCst) >= 1);
            let table = lock();
            assert!(table.flights.is_empty() && table.waiting.is_empty());
        };
        shuttle::check_random(model, RUNS);
        shuttle::check_pct(model, RUNS, 3);
    }

    #[test]
    fn threads_that_would_wait_in_a_circle_do_not() {
        let model = || {
            let place = Place::in_memory();
            let threads = [0, 1, 2].map(|number: u8| {
                let place = place.clone();
                thread::spawn(move || {
                    let key = |number: u8| Key::from_bytes([number % 3; 32]);
                    let ticket = match board(&place, key(number)) {
                        Boarding::Owner(ticket) => Some(ticket),
                        _ => None,
                    };
                    // A thread that waits holds what the one before wants.
                    let next = board(&place, key(number + 1));
                    drop((ticket, next));
                })
            });
            for thread in threads {
                thread.join().unwrap();
            }
            let table = lock();
            assert!(table.flights.is_empty() && table.waiting.is_empty());
        };
        shuttle::check_random(model, RUNS);
        shuttle::check_pct(model, RUNS, 3);
    }
}

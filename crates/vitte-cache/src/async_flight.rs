//! Single flight for futures: as [`flight`](crate::flight), but who waits does not block a thread.
//!
//! Circles are not found: futures have no identity to find them by. A memoised async function that calls itself with the
//! same arguments would not end without a cache either.

use std::collections::HashMap;
use std::pin::Pin;
use std::sync::{Arc, PoisonError};
#[cfg(not(all(test, vitte_shuttle)))]
use std::sync::{LazyLock, Mutex, MutexGuard};
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
#[cfg(all(test, vitte_shuttle))]
use shuttle::sync::{Mutex, MutexGuard};

use crate::flight::Route;

#[cfg(not(all(test, vitte_shuttle)))]
static TABLE: LazyLock<Mutex<HashMap<Route, Arc<Mutex<Flight>>>>> = LazyLock::new(Mutex::default);
#[cfg(all(test, vitte_shuttle))]
shuttle::lazy_static! {
    static ref TABLE: Mutex<HashMap<Route, Arc<Mutex<Flight>>>> = Mutex::default();
}

#[derive(Default)]
struct Flight {
    ended: bool,
    /// The value in bytes, if it has ended and the owner came to have one.
    landed: Option<Bytes>,
    waiting: HashMap<u64, Waker>,
    next: u64,
}

/// What came of asking for a flight.
pub(crate) enum Boarding {
    /// Nobody else is at it: make the value.
    Owner(Ticket),
    /// Somebody else is at it: wait for the end.
    Waiting(Waiting),
}

/// Holds a flight until it is dropped, be it because its future is.
pub(crate) struct Ticket {
    route: Route,
    value: Option<Bytes>,
}

/// Waits for the end of somebody else's flight: the value in bytes, or nothing if there came to be none.
pub(crate) struct Waiting {
    flight: Arc<Mutex<Flight>>,
    number: Option<u64>,
}

/// Asks for the flight of a value.
pub(crate) fn board(route: Route) -> Boarding {
    let mut table = lock(&TABLE);
    if let Some(flight) = table.get(&route) {
        return Boarding::Waiting(Waiting { flight: Arc::clone(flight), number: None });
    }
    table.insert(route.clone(), Arc::default());
    Boarding::Owner(Ticket { route, value: None })
}

impl Ticket {
    /// Ends the flight and gives `value` to all who wait.
    pub(crate) fn land(mut self, value: Bytes) {
        self.value = Some(value);
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        let Some(flight) = lock(&TABLE).remove(&self.route) else { return };
        let waiting = {
            let mut flight = lock(&flight);
            (flight.ended, flight.landed) = (true, self.value.take());
            std::mem::take(&mut flight.waiting)
        };
        // Wakers are code of others: no lock is held.
        waiting.into_values().for_each(Waker::wake);
    }
}

impl Future for Waiting {
    type Output = Option<Bytes>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        let mut flight = lock(&this.flight);
        if flight.ended {
            return Poll::Ready(flight.landed.clone());
        }
        let number = *this.number.get_or_insert_with(|| {
            flight.next += 1;
            flight.next
        });
        flight.waiting.insert(number, context.waker().clone());
        Poll::Pending
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        let waker = self.number.and_then(|number| lock(&self.flight).waiting.remove(&number));
        drop(waker);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Both are whole between any two statements.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
#[cfg(not(vitte_shuttle))]
mod tests {
    use std::pin::pin;

    use cache_core::Key;

    use super::*;
    use crate::place::Place;

    fn poll(future: Pin<&mut Waiting>) -> Poll<Option<Bytes>> {
        future.poll(&mut Context::from_waker(Waker::noop()))
    }

    fn waiting(route: &Route) -> Waiting {
        match board(route.clone()) {
            Boarding::Waiting(waiting) => waiting,
            Boarding::Owner(_) => panic!("somebody is at it"),
        }
    }

    #[test]
    fn all_who_wait_get_what_lands_and_nothing_stays() {
        let route = (Place::in_memory(), Key::from_bytes([1; 32]));
        let Boarding::Owner(ticket) = board(route.clone()) else { panic!("nobody else is at it") };
        let (mut one, mut two, given_up) = (pin!(waiting(&route)), pin!(waiting(&route)), waiting(&route));
        let flight = Arc::clone(&given_up.flight);
        assert!(poll(one.as_mut()).is_pending() && poll(two.as_mut()).is_pending());
        assert!(poll(pin!(given_up)).is_pending());
        assert_eq!(lock(&flight).waiting.len(), 2, "who gives up is forgotten");
        ticket.land("value".into());
        assert_eq!(poll(one.as_mut()), Poll::Ready(Some("value".into())));
        assert_eq!(poll(two.as_mut()), Poll::Ready(Some("value".into())));
        assert!(!lock(&TABLE).contains_key(&route));
    }

    #[test]
    fn a_dropped_ticket_sends_all_away() {
        let route = (Place::in_memory(), Key::from_bytes([1; 32]));
        let ticket = board(route.clone());
        let mut one = pin!(waiting(&route));
        assert!(poll(one.as_mut()).is_pending());
        drop(ticket);
        assert_eq!(poll(one), Poll::Ready(None));
        assert!(matches!(board(route), Boarding::Owner(_)));
    }
}

/// The orders in which tasks can meet at flights.
#[cfg(test)]
#[cfg(vitte_shuttle)]
mod orders {
    use std::sync::atomic::{AtomicU32, Ordering};

    use cache_core::Key;
    use shuttle::future::{block_on, spawn, yield_now};

    use super::*;
    use crate::place::Place;

    /// Orders that are tried: all of them are too many.
    const RUNS: usize = 20_000;

    #[test]
    fn one_makes_it_at_a_time_and_all_come_to_an_end() {
        let model = || {
            let route = (Place::in_memory(), Key::from_bytes([1; 32]));
            let (making, made) = (Arc::new(AtomicU32::new(0)), Arc::new(AtomicU32::new(0)));
            let mut tasks: Vec<_> = (0..4)
                .map(|_| {
                    let (route, making, made) = (route.clone(), Arc::clone(&making), Arc::clone(&made));
                    spawn(async move {
                        loop {
                            match board(route.clone()) {
                                Boarding::Owner(ticket) => {
                                    let one = Making::new(&making);
                                    yield_now().await;
                                    drop(one);
                                    made.fetch_add(1, Ordering::SeqCst);
                                    return ticket.land("value".into());
                                }
                                Boarding::Waiting(waiting) => {
                                    if let Some(value) = waiting.await {
                                        return assert_eq!(value, "value");
                                    }
                                }
                            }
                        }
                    })
                })
                .collect();
            // Maybe the one that makes it, maybe one that waits, maybe one that has ended.
            tasks.pop().unwrap().abort();
            for task in tasks {
                block_on(task).unwrap();
            }
            assert!(made.load(Ordering::SeqCst) >= 1);
        };
        shuttle::check_random(model, RUNS);
        shuttle::check_pct(model, RUNS, 3);
    }

    /// Somebody who makes it; there must be no other.
    struct Making(Arc<AtomicU32>);

    impl Making {
        fn new(making: &Arc<AtomicU32>) -> Self {
            assert_eq!(making.fetch_add(1, Ordering::SeqCst), 0, "two make it at once");
            Self(Arc::clone(making))
        }
    }

    impl Drop for Making {
        fn drop(&mut self) {
            self.0.fetch_sub(1, Ordering::SeqCst);
        }
    }
}

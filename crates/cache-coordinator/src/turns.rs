//! Who may call a tier next: at most so many calls at once, and look-ups that somebody waits for before all else.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::oneshot;

/// For what a tier is called.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Urgency {
    /// Somebody waits for the answer.
    Urgent,
    /// It may be needed soon: prefetches, promotions, revalidation.
    Prefetch,
    /// Nobody waits: uploads of the write-back queue.
    Upload,
}

impl Urgency {
    const ALL: [Self; 3] = [Self::Urgent, Self::Prefetch, Self::Upload];

    const fn index(self) -> usize {
        match self {
            Self::Urgent => 0,
            Self::Prefetch => 1,
            Self::Upload => 2,
        }
    }
}

/// How many turns each [`Urgency`] gets of a tier while others wait as well. None of them starves: 0 counts as 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Weights {
    /// Turns of look-ups that somebody waits for.
    pub urgent: u32,
    /// Turns of prefetches and promotions.
    pub prefetch: u32,
    /// Turns of uploads.
    pub upload: u32,
}

impl Default for Weights {
    /// Returns weights by which background work takes a fifth of a tier that is busy.
    fn default() -> Self {
        Self { urgent: 16, prefetch: 3, upload: 1 }
    }
}

impl Weights {
    const fn of(&self, urgency: Urgency) -> u32 {
        let weight = match urgency {
            Urgency::Urgent => self.urgent,
            Urgency::Prefetch => self.prefetch,
            Urgency::Upload => self.upload,
        };
        if weight == 0 { 1 } else { weight }
    }
}

/// Gives out turns.
#[derive(Debug)]
pub(crate) struct Turns {
    weights: Weights,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    free: usize,
    /// Who waits, oldest first; each removes itself when it stops waiting.
    waiting: [BTreeMap<u64, oneshot::Sender<Turn>>; 3],
    arrivals: u64,
    /// Smooth weighted round robin, as in nginx: who has the most credit is next and pays with the sum of all weights.
    credit: [i64; 3],
}

impl Turns {
    pub(crate) fn new(limit: usize, weights: Weights) -> Arc<Self> {
        let state = State { free: limit.max(1), waiting: Default::default(), arrivals: 0, credit: [0; 3] };
        Arc::new(Self { weights, state: Mutex::new(state) })
    }

    /// Waits for a turn. The caller bounds the time.
    ///
    /// # Cancel safety
    /// Whoever stops waiting leaves the queue; a turn that was given at that very moment goes to the next.
    pub(crate) async fn next(self: &Arc<Self>, urgency: Urgency) -> Turn {
        loop {
            let (place, receiver) = {
                let mut state = self.lock();
                // While a turn is free nobody waits: it is offered to those who wait before it is free.
                if state.free > 0 {
                    state.free -= 1;
                    return Turn(Some(Arc::clone(self)));
                }
                let (sender, receiver) = oneshot::channel();
                let number = state.arrivals;
                state.arrivals += 1;
                state.waiting[urgency.index()].insert(number, sender);
                (Place { turns: self, urgency, number }, receiver)
            };
            let given = receiver.await;
            drop(place);
            if let Ok(turn) = given {
                return turn;
            }
        }
    }

    /// Returns how many wait.
    #[cfg(test)]
    fn waiting(&self) -> usize {
        self.lock().waiting.iter().map(BTreeMap::len).sum()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn release(self: &Arc<Self>) {
        loop {
            let next = {
                let mut state = self.lock();
                let next = state.choose(&self.weights);
                if next.is_none() {
                    state.free += 1;
                    return;
                }
                next
            };
            let Some(next) = next else { return };
            // Outside the lock, and in a loop: the turn that comes back from somebody who has just left is offered to
            // the next; to drop it would come here again, once for each who left.
            match next.send(Turn(Some(Arc::clone(self)))) {
                Ok(()) => return,
                Err(mut turn) => turn.0 = None,
            }
        }
    }
}

impl State {
    fn choose(&mut self, weights: &Weights) -> Option<oneshot::Sender<Turn>> {
        let mut total = 0;
        let mut best: Option<Urgency> = None;
        for urgency in Urgency::ALL {
            let index = urgency.index();
            if self.waiting[index].is_empty() {
                self.credit[index] = 0;
                continue;
            }
            let weight = i64::from(weights.of(urgency));
            total += weight;
            self.credit[index] += weight;
            if best.is_none_or(|best| self.credit[index] > self.credit[best.index()]) {
                best = Some(urgency);
            }
        }
        let best = best?.index();
        self.credit[best] -= total;
        self.waiting[best].pop_first().map(|(_, sender)| sender)
    }
}

/// A place in the queue, which is left when this is dropped.
struct Place<'a> {
    turns: &'a Turns,
    urgency: Urgency,
    number: u64,
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.turns.lock().waiting[self.urgency.index()].remove(&self.number);
    }
}

/// A turn; the next one starts when it is dropped. Empty once somebody else goes on with it.
#[derive(Debug)]
#[must_use]
pub(crate) struct Turn(Option<Arc<Turns>>);

impl Drop for Turn {
    fn drop(&mut self) {
        if let Some(turns) = self.0.take() {
            turns.release();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;

    use cache_testkit::{BoxFuture, block_on, poll_at_most};

    use super::*;

    fn waiter(turns: &Arc<Turns>, urgency: Urgency) -> BoxFuture<'static, Turn> {
        let turns = Arc::clone(turns);
        Box::pin(async move { turns.next(urgency).await })
    }

    /// Lets each in `crowd` queue up, then gives out turns one at a time; returns who came in which order.
    fn order(weights: Weights, crowd: &[Urgency]) -> Vec<Urgency> {
        let turns = Turns::new(1, weights);
        let mut held = Some(block_on(turns.next(Urgency::Urgent)));
        let mut waiting: Vec<_> = crowd.iter().map(|urgency| (*urgency, waiter(&turns, *urgency))).collect();
        let mut order = Vec::new();
        for (_, waiter) in &mut waiting {
            assert!(block_on(poll_at_most(1, waiter)).is_none());
        }
        while !waiting.is_empty() {
            held.take();
            let ready = waiting.iter_mut().position(|(_, waiter)| {
                held = block_on(poll_at_most(1, waiter));
                held.is_some()
            });
            order.push(waiting.remove(ready.expect("somebody's turn")).0);
        }
        order
    }

    #[test]
    fn who_waits_longest_is_next_and_the_urgent_come_first() {
        use Urgency::{Prefetch, Upload, Urgent};
        let came = order(Weights::default(), &[Upload, Prefetch, Urgent, Urgent, Urgent]);
        assert_eq!(came, [Urgent, Urgent, Prefetch, Urgent, Upload]);
        // With equal weights nobody goes twice before each went once.
        let equal = Weights { urgent: 1, prefetch: 1, upload: 0 };
        let came = order(equal, &[Urgent, Urgent, Urgent, Prefetch, Prefetch, Upload]);
        assert_eq!(came, [Urgent, Prefetch, Upload, Urgent, Prefetch, Urgent]);
    }

    #[test]
    fn background_work_gets_its_share() {
        let weights = Weights { urgent: 8, prefetch: 1, upload: 1 };
        let crowd: Vec<_> = (0..100).flat_map(|_| Urgency::ALL).collect();
        let came = order(weights, &crowd);
        let urgent = came[..50].iter().filter(|urgency| **urgency == Urgency::Urgent).count();
        assert_eq!(urgent, 40, "8 of 10");
    }

    #[test]
    fn no_more_than_the_limit_and_no_turn_is_lost() {
        let turns = Turns::new(2, Weights::default());
        let (first, second) = (block_on(turns.next(Urgency::Urgent)), block_on(turns.next(Urgency::Upload)));
        let mut third = waiter(&turns, Urgency::Prefetch);
        let mut fourth = waiter(&turns, Urgency::Upload);
        assert!(block_on(poll_at_most(1, &mut third)).is_none());
        assert!(block_on(poll_at_most(1, &mut fourth)).is_none());
        drop(first);
        // It was given the turn and leaves without having looked: the next one gets it.
        drop(third);
        let fourth = block_on(fourth);
        let mut fifth = pin!(turns.next(Urgency::Urgent));
        assert!(block_on(poll_at_most(1, &mut fifth)).is_none());
        drop((fourth, second));
        drop(block_on(fifth));
        assert_eq!(turns.waiting(), 0);
        assert_eq!(turns.lock().free, 2);
        assert_eq!(Arc::strong_count(&turns), 1);
    }

    #[test]
    fn whoever_gives_up_leaves_the_queue() {
        let turns = Turns::new(1, Weights::default());
        let held = block_on(turns.next(Urgency::Urgent));
        for _ in 0..100 {
            assert!(block_on(poll_at_most(1, turns.next(Urgency::Prefetch))).is_none());
        }
        assert_eq!(turns.waiting(), 0);
        drop(held);
        assert_eq!(turns.lock().free, 1);
    }
}

//! A number of places that can change while they are taken.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Places, of which each is taken by one at a time.
#[derive(Debug)]
pub(crate) struct Slots {
    semaphore: Arc<Semaphore>,
    /// Places that are to go as soon as who has them leaves.
    excess: Arc<AtomicUsize>,
    count: Mutex<usize>,
}

/// A place among [`Slots`], free again when this is dropped.
#[derive(Debug)]
pub(crate) struct Slot {
    permit: Option<OwnedSemaphorePermit>,
    excess: Arc<AtomicUsize>,
}

impl Slots {
    pub(crate) fn new(count: usize) -> Self {
        let count = count.min(Semaphore::MAX_PERMITS);
        Self { semaphore: Arc::new(Semaphore::new(count)), excess: Arc::default(), count: Mutex::new(count) }
    }

    /// Changes how many there are. Whoever has a place keeps it.
    pub(crate) fn resize(&self, count: usize) {
        let count = count.min(Semaphore::MAX_PERMITS);
        let mut before = self.count.lock().unwrap_or_else(PoisonError::into_inner);
        if count < *before {
            let gone = *before - count;
            let free = self.semaphore.forget_permits(gone);
            self.excess.fetch_add(gone - free, Ordering::Relaxed);
        } else {
            let more = count - *before;
            let keep = |excess: usize| Some(excess.saturating_sub(more));
            let excess = self.excess.fetch_update(Ordering::Relaxed, Ordering::Relaxed, keep);
            self.semaphore.add_permits(more - excess.unwrap_or_default().min(more));
        }
        *before = count;
    }

    /// Returns a place if one is free right now.
    pub(crate) fn try_enter(&self) -> Option<Slot> {
        Arc::clone(&self.semaphore).try_acquire_owned().ok().map(|permit| self.slot(permit))
    }

    /// Waits for a place. The first to come is the first to get one.
    ///
    /// # Cancel safety
    /// Dropping the future gives up the place in the queue.
    pub(crate) async fn enter(&self) -> Option<Slot> {
        Arc::clone(&self.semaphore).acquire_owned().await.ok().map(|permit| self.slot(permit))
    }

    /// Returns how many are taken.
    pub(crate) fn taken(&self) -> usize {
        let count = *self.count.lock().unwrap_or_else(PoisonError::into_inner);
        (count + self.excess.load(Ordering::Relaxed)).saturating_sub(self.semaphore.available_permits())
    }

    fn slot(&self, permit: OwnedSemaphorePermit) -> Slot {
        Slot { permit: Some(permit), excess: Arc::clone(&self.excess) }
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        let fewer = |excess: usize| excess.checked_sub(1);
        if self.excess.fetch_update(Ordering::Relaxed, Ordering::Relaxed, fewer).is_ok()
            && let Some(permit) = self.permit.take()
        {
            permit.forget();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_that_are_taken_go_when_they_are_left() {
        let slots = Slots::new(3);
        let mut held: Vec<_> = (0..3).map(|_| slots.try_enter().unwrap()).collect();
        assert!(slots.try_enter().is_none());
        slots.resize(1);
        assert_eq!(slots.taken(), 3);
        held.truncate(1);
        assert_eq!(slots.taken(), 1);
        assert!(slots.try_enter().is_none());
        held.clear();
        assert_eq!(slots.taken(), 0);
        let one = slots.try_enter().unwrap();
        assert!(slots.try_enter().is_none());
        slots.resize(2);
        let two = slots.try_enter().unwrap();
        assert!(slots.try_enter().is_none());
        drop((one, two));
        assert_eq!(slots.taken(), 0);
    }

    #[test]
    fn growing_again_first_keeps_those_that_were_to_go() {
        let slots = Slots::new(2);
        let held = [slots.try_enter().unwrap(), slots.try_enter().unwrap()];
        slots.resize(1);
        slots.resize(3);
        let third = slots.try_enter().unwrap();
        assert!(slots.try_enter().is_none());
        drop((held, third));
        assert_eq!((0..).map_while(|_| slots.try_enter()).collect::<Vec<_>>().len(), 3);
    }
}

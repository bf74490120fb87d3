//! The background thread.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod common;

use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use cache_core::{Clock, Event, ManualClock, Observer, Observers, PutMode};
use cache_memory::{Cleaner, MemoryStore, Options};
use common::{START, expiring, key};

/// Longer than any test: a cleaner that is waited for must not wait for this.
const HOUR: Duration = Duration::from_hours(1);
const MS: Duration = Duration::from_millis(1);
/// How long a test waits for what a thread should do at once.
const PATIENCE: Duration = Duration::from_mins(1);

type Told = Mutex<Box<dyn FnMut(u64) + Send>>;

struct Evictions(Told);

impl Observer for Evictions {
    fn on_event(&self, store: &str, event: &Event<'_>) {
        assert_eq!(store, "memory");
        if let Event::Evicted { items, .. } = event {
            (self.0.lock().unwrap())(*items);
        }
    }
}

fn store(told: impl FnMut(u64) + Send + 'static) -> (MemoryStore, Arc<ManualClock>) {
    let clock = Arc::new(ManualClock::new(START));
    let observers = Observers::new(Arc::new(Evictions(Mutex::new(Box::new(told)))));
    let clock_of_store: Arc<dyn Clock> = Arc::<ManualClock>::clone(&clock);
    (MemoryStore::new(Options { clock: clock_of_store, observers, ..Options::default() }), clock)
}

fn telling() -> (MemoryStore, Arc<ManualClock>, Receiver<u64>) {
    let (sender, receiver) = channel();
    let (store, clock) = store(move |items| sender.send(items).unwrap());
    (store, clock, receiver)
}

#[test]
fn it_drops_what_is_over_without_anybody_asking() {
    let (store, clock, told) = telling();
    let _ = store.put(&key(1), &expiring(START.plus(MS)), PutMode::Overwrite).unwrap();
    let cleaner = store.start_cleaner(MS).unwrap();
    clock.advance(MS);
    assert_eq!(told.recv_timeout(PATIENCE), Ok(1));
    assert_eq!((store.stats().entries, store.stats().expired), (0, 1));
    let _ = store.put(&key(2), &expiring(START.plus(2 * MS)), PutMode::Overwrite).unwrap();
    clock.advance(MS);
    assert_eq!(told.recv_timeout(PATIENCE), Ok(1), "it goes on");
    cleaner.stop();
}

/// Each of these would take an hour if the thread slept.
#[test]
fn it_ends_promptly() {
    let (store, _, _told) = telling();
    store.start_cleaner(HOUR).unwrap().stop();
    drop(store.start_cleaner(HOUR).unwrap());
    let (one, two) = (store.start_cleaner(HOUR).unwrap(), store.start_cleaner(HOUR).unwrap());
    one.stop();
    two.stop();
}

#[test]
fn an_observer_may_drop_the_cleaner_that_calls_it() {
    let (sender, told) = channel();
    let slot: Arc<Mutex<Option<Cleaner>>> = Arc::default();
    let owned = Arc::clone(&slot);
    let (store, clock) = store(move |items| {
        drop(owned.lock().unwrap().take());
        sender.send(items).unwrap();
    });
    let _ = store.put(&key(1), &expiring(START.plus(MS)), PutMode::Overwrite).unwrap();
    {
        let mut slot = slot.lock().unwrap();
        *slot = Some(store.start_cleaner(MS).unwrap());
    }
    clock.advance(MS);
    assert_eq!(told.recv_timeout(PATIENCE), Ok(1));
}

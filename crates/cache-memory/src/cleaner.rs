//! Dropping what is over before anybody asks for it.

use std::fmt;
use std::sync::{Arc, PoisonError, Weak};
use std::time::Duration;
#[cfg(not(all(test, vitte_shuttle)))]
use std::{
    sync::{Condvar, Mutex, MutexGuard},
    thread::{self, JoinHandle},
};

use cache_core::{Error, Event, MissReason, Result};
#[cfg(all(test, vitte_shuttle))]
use shuttle::{
    sync::{Condvar, Mutex, MutexGuard},
    thread::{self, JoinHandle},
};

use crate::MemoryStore;
use crate::entries::Look;
use crate::item::Item;
use crate::store::Shared;

/// A cleaner sweeps no more often than this, so that it leaves the processor to others.
const LEAST_INTERVAL: Duration = Duration::from_millis(1);

/// What a sweep dropped.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Swept {
    /// Entries and blobs whose time was over.
    pub expired: u64,
    /// Entries that name a blob which is gone.
    pub incomplete: u64,
    /// Bytes freed by both.
    pub bytes: u64,
}

impl MemoryStore {
    /// Drops what is over and what is incomplete, and returns how much that was. It holds no lock for longer than it takes
    /// to look at one item.
    ///
    /// Nobody needs to call it: what is over is absent for everybody anyway. It only gives the memory back sooner.
    pub fn sweep(&self) -> Swept {
        self.0.sweep(&|| false)
    }

    /// Starts a thread that calls [`sweep`](Self::sweep) each `interval`, until the handle is dropped, or the store is
    /// closed, or its last clone is dropped.
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// let store = cache_memory::MemoryStore::default();
    /// let cleaner = store.start_cleaner(Duration::from_mins(1))?;
    /// cleaner.stop();
    /// # Ok::<(), cache_core::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Io`] if the system gives no thread, [`Error::Closed`] after [`close`](Self::close).
    pub fn start_cleaner(&self, interval: Duration) -> Result<Cleaner> {
        let bell = Arc::new(Bell::default());
        let (store, heard) = (Arc::downgrade(&self.0), Arc::clone(&bell));
        self.0.cleaners.hang(&bell);
        // From here on closing rings it, so it cannot be missed.
        self.0.ensure_open()?;
        let thread = thread::Builder::new()
            .name("cache-memory cleaner".to_owned())
            .spawn(move || clean(&store, &heard, interval.max(LEAST_INTERVAL)))
            .map_err(|source| Error::Io {
                what: "cannot start the thread that drops what is over".to_owned(),
                source,
            })?;
        Ok(Cleaner { bell, thread: Some(thread) })
    }
}

impl Shared {
    /// Sweeps until the end or until `stop` says so.
    fn sweep(&self, stop: &dyn Fn() -> bool) -> Swept {
        let mut swept = Swept::default();
        for (address, item) in self.cache.iter() {
            if stop() {
                break;
            }
            let count = match (&item, address.key()) {
                (Item::Entry(stored, _), Some(key)) => match self.flaw(stored, Look::Peek) {
                    Some(reason) if self.drop_seen(&key, stored) => match reason {
                        MissReason::Expired { .. } => &mut swept.expired,
                        _ => &mut swept.incomplete,
                    },
                    _ => continue,
                },
                (Item::Blob(blob), _) => {
                    let idle = self.idle().and_then(|idle| blob.used.over(idle, self.clock.now()));
                    if idle.is_none() || !self.drop_blob(&address, blob) {
                        continue;
                    }
                    &mut swept.expired
                }
                (Item::Entry(..), None) => continue,
            };
            *count += 1;
            swept.bytes += item.weight();
        }
        self.counters.expired(swept.expired);
        let items = swept.expired + swept.incomplete;
        if items > 0 {
            self.emit(|| Event::Evicted { items, bytes: swept.bytes });
        }
        swept
    }
}

fn clean(store: &Weak<Shared>, bell: &Bell, interval: Duration) {
    while !bell.wait(interval) {
        let Some(store) = store.upgrade() else { return };
        store.sweep(&|| bell.is_rung());
    }
}

/// The thread that sweeps a store. Dropping it ends the thread, and waits until it has ended.
#[must_use = "dropping it ends the cleaner"]
pub struct Cleaner {
    bell: Arc<Bell>,
    thread: Option<JoinHandle<()>>,
}

impl Cleaner {
    /// Ends the thread, in the middle of a sweep if need be, and waits until it has ended.
    pub fn stop(self) {
        drop(self);
    }
}

impl Drop for Cleaner {
    fn drop(&mut self) {
        self.bell.ring();
        if let Some(thread) = self.thread.take()
            // An observer may own the cleaner that calls it. It ends soon enough by itself.
            && thread.thread().id() != thread::current().id()
        {
            // If it panicked, in an observer, it has said so already.
            let _ = thread.join();
        }
    }
}

impl fmt::Debug for Cleaner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cleaner").finish_non_exhaustive()
    }
}

/// What tells a cleaner to end.
#[derive(Debug, Default)]
pub(crate) struct Bell {
    rung: Mutex<bool>,
    changed: Condvar,
}

impl Bell {
    fn ring(&self) {
        *lock(&self.rung) = true;
        self.changed.notify_all();
    }

    fn is_rung(&self) -> bool {
        *lock(&self.rung)
    }

    /// Waits for `interval`, or until it rings, and returns whether it rang.
    fn wait(&self, interval: Duration) -> bool {
        let rung = lock(&self.rung);
        let waited = self.changed.wait_timeout_while(rung, interval, |rung| !*rung);
        let (rung, _) = waited.unwrap_or_else(PoisonError::into_inner);
        *rung
    }
}

/// The bells of all cleaners of a store.
#[derive(Debug, Default)]
pub(crate) struct Bells(Mutex<Vec<Weak<Bell>>>);

impl Bells {
    fn hang(&self, bell: &Arc<Bell>) {
        let mut bells = lock(&self.0);
        bells.retain(|bell| bell.strong_count() > 0);
        bells.push(Arc::downgrade(bell));
    }

    /// Rings all of them.
    pub(crate) fn ring(&self) {
        for bell in lock(&self.0).iter().filter_map(Weak::upgrade) {
            bell.ring();
        }
    }
}

/// Locks what stays whole even if a thread panics while it holds the lock.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
#[cfg(not(vitte_shuttle))]
mod tests {
    use std::sync::mpsc::channel;

    use super::*;

    /// Longer than any test.
    const HOUR: Duration = Duration::from_hours(1);
    /// How long a test waits for what a thread should do at once.
    const PATIENCE: Duration = Duration::from_mins(1);

    /// Waits until the thread has ended although nobody stopped it.
    fn ensure_ends(mut cleaner: Cleaner) {
        let (ended, told) = channel();
        let thread = cleaner.thread.take().unwrap();
        thread::spawn(move || ended.send(thread.join().is_ok()));
        assert_eq!(told.recv_timeout(PATIENCE), Ok(true));
    }

    #[test]
    fn it_ends_with_the_last_clone_of_the_store() {
        let store = MemoryStore::default();
        let cleaner = store.start_cleaner(HOUR).unwrap();
        let left = Arc::downgrade(&store.0);
        drop(store);
        assert_eq!(left.strong_count(), 0, "the cleaner keeps the store");
        ensure_ends(cleaner);
    }

    #[test]
    fn it_ends_when_the_store_is_closed() {
        let store = MemoryStore::default();
        let cleaner = store.start_cleaner(HOUR).unwrap();
        store.close();
        ensure_ends(cleaner);
        assert!(matches!(store.start_cleaner(HOUR), Err(Error::Closed { .. })));
    }

    #[test]
    fn it_ends_in_the_middle_of_a_sweep() {
        let store = MemoryStore::default();
        for number in 0..9 {
            let mut entry = cache_core::Entry::default();
            entry.meta.expires = Some(cache_core::Timestamp::default());
            let key = cache_core::Key::from_bytes([number; 32]);
            let _ = store.put(&key, &entry, cache_core::PutMode::Overwrite).unwrap();
        }
        let looked = std::cell::Cell::new(0);
        let swept = store.0.sweep(&|| looked.replace(looked.get() + 1) == 4);
        assert_eq!((swept.expired, store.stats().entries), (4, 5));
    }
}

/// All orders in which a cleaner, who stops it, and who closes its store can meet. Its interval never ends here: whoever
/// misses the bell waits for ever.
#[cfg(test)]
#[cfg(vitte_shuttle)]
mod orders {
    use super::*;

    #[test]
    fn whoever_ends_it_does_not_wait_for_ever() {
        let model = || {
            let store = MemoryStore::default();
            let closer = {
                let store = store.clone();
                thread::spawn(move || store.close())
            };
            // Closed before, meanwhile or afterwards.
            if let Ok(cleaner) = store.start_cleaner(Duration::MAX) {
                cleaner.stop();
            }
            closer.join().unwrap();
            assert!(store.start_cleaner(Duration::MAX).is_err());
        };
        shuttle::check_dfs(model, None);
    }

    #[test]
    fn it_ends_with_its_store() {
        let model = || {
            let store = MemoryStore::default();
            let closer = {
                let store = store.clone();
                thread::spawn(move || store.close())
            };
            if let Ok(mut cleaner) = store.start_cleaner(Duration::MAX) {
                let thread = cleaner.thread.take().unwrap();
                assert!(thread.join().is_ok());
            }
            closer.join().unwrap();
        };
        shuttle::check_dfs(model, None);
    }
}

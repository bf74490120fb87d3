//! Hearing from the system which files change.

use std::collections::BTreeSet;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::thread::JoinHandle;

use notify::{Event, EventKind, RecommendedWatcher, RecursiveMode, Watcher};
use tokio::sync::watch;

use super::cache::LiveCache;
use super::trace::Durability;

/// How many paths wait to be looked at: a checkout of another branch goes through, and a megabyte or so is the most that
/// they take. Beyond, all entries are put in doubt, which costs one number.
const MAX_WAITING: usize = 1 << 13;
/// How many paths are taken from the queue at a time; each of those that changed several times is looked at once.
const BATCH: usize = 1 << 10;

/// Puts entries in doubt as their files change, until it is dropped.
///
/// What was missed puts all entries in doubt: when the system or this program could not keep up. If the system refuses to
/// watch a directory, nothing is served unchecked any more as long as this lives. So what is missed costs checks, and never
/// serves a wrong byte. What the system tells late is served late: a [`look_up`](LiveCache::look_up) is as of what was told, and
/// [`look_up_revalidate`](LiveCache::look_up_revalidate) asks no watcher.
pub struct Watch {
    live: LiveCache,
    inbox: Arc<Inbox>,
    changes: watch::Receiver<Changes>,
    /// Dropped first: it is what fills the queue.
    watcher: Option<RecommendedWatcher>,
    worker: Option<JoinHandle<()>>,
}

/// What a [`Watch`] has seen since it was made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Changes {
    /// Paths that were reported; one that changed several times in a row may count once.
    pub paths: u64,
    /// Entries that named them when they were, and were put in doubt.
    pub entries: u64,
    /// How often all entries were put in doubt, as something may have been missed.
    pub rescans: u64,
    /// Whether the system refuses to watch a part of the tree, so that each entry is checked before it is served.
    pub is_blind: bool,
}

/// Why files are not watched. Look-ups go on without: what is reported otherwise counts.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WatchError {
    /// The system has no way, or no more room.
    #[error("cannot watch for changes of files: {0}")]
    Start(#[source] notify::Error),
    /// A directory cannot be watched.
    #[error("cannot watch {} for changes: {source}", path.display())]
    Root {
        /// Which one.
        path: PathBuf,
        /// What the system said.
        source: notify::Error,
    },
    /// There is no thread for it.
    #[error("cannot start a thread to watch for changes of files: {0}")]
    Thread(#[source] std::io::Error),
}

/// Where what the system tells waits, and what did not fit.
#[derive(Debug)]
struct Inbox {
    queue: SyncSender<Message>,
    has_missed: AtomicBool,
    is_blind: AtomicBool,
    is_over: AtomicBool,
}

#[derive(Debug)]
enum Message {
    Path(PathBuf),
    /// Look at the flags.
    Wake,
}

impl Inbox {
    fn new(capacity: usize) -> (Arc<Self>, Receiver<Message>) {
        let (queue, receiver) = sync_channel(capacity);
        let flag = || AtomicBool::new(false);
        (Arc::new(Self { queue, has_missed: flag(), is_blind: flag(), is_over: flag() }), receiver)
    }

    /// Takes what the system tells, and never waits.
    fn take(&self, event: notify::Result<Event>) {
        match event {
            Ok(event) if event.need_rescan() => self.miss(),
            // Reading changes nothing, and checks read.
            Ok(Event { kind: EventKind::Access(_), .. }) => {}
            Ok(event) => {
                for path in event.paths {
                    if let Err(TrySendError::Full(_)) = self.queue.try_send(Message::Path(path)) {
                        return self.miss();
                    }
                }
            }
            Err(_) => {
                self.is_blind.store(true, Ordering::SeqCst);
                self.miss();
            }
        }
    }

    fn miss(&self) {
        self.has_missed.store(true, Ordering::SeqCst);
        self.wake();
    }

    fn wake(&self) {
        // If the queue is full, the worker looks at the flags anyhow.
        let _ = self.queue.try_send(Message::Wake);
    }

    /// Puts in doubt what is told, until it is over.
    fn work(&self, live: &LiveCache, receiver: &Receiver<Message>, changes: &watch::Sender<Changes>) {
        let _blind = BlindOnPanic { live, changes };
        while let Ok(first) = receiver.recv() {
            let mut paths = BTreeSet::new();
            let further = std::iter::from_fn(|| receiver.try_recv().ok());
            for message in std::iter::once(first).chain(further.take(BATCH)) {
                if let Message::Path(path) = message {
                    paths.insert(path);
                }
            }
            if self.is_over.load(Ordering::SeqCst) {
                return;
            }
            let mut now = *changes.borrow();
            if self.is_blind.load(Ordering::SeqCst) && !now.is_blind {
                live.inner.state().graph.go_blind();
                now.is_blind = true;
            }
            if self.has_missed.swap(false, Ordering::SeqCst) {
                live.report_durability(Durability::Toolchain);
                now.rescans += 1;
            }
            for path in &paths {
                now.entries += live.mark_path_dirty(path) as u64;
                now.paths += 1;
            }
            changes.send_replace(now);
        }
    }
}

/// Trusts nothing any more if nobody listens to what the system tells.
struct BlindOnPanic<'a> {
    live: &'a LiveCache,
    changes: &'a watch::Sender<Changes>,
}

impl Drop for BlindOnPanic<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() && !self.changes.borrow().is_blind {
            self.live.inner.state().graph.go_blind();
            self.changes.send_modify(|changes| changes.is_blind = true);
        }
    }
}

impl LiveCache {
    /// Watches the directories `roots`, absolute or relative to the base, with all that is in them, and puts entries in doubt as
    /// files change. Once at the start all are put in doubt: from then on, nothing is missed.
    ///
    /// Name all directories that entries have files in. What a symbolic link leads to, elsewhere, is not watched.
    ///
    /// # Errors
    /// If the system refuses, as it does when there are more directories than it watches (`fs.inotify.max_user_watches`).
    pub fn watch<P: AsRef<Path>>(&self, roots: &[P]) -> Result<Watch, WatchError> {
        let (inbox, receiver) = Inbox::new(MAX_WAITING);
        let told = Arc::clone(&inbox);
        let mut watcher =
            notify::recommended_watcher(move |event| told.take(event)).map_err(WatchError::Start)?;
        for root in roots {
            let path = self.files().base().join(root);
            if let Err(source) = watcher.watch(&path, RecursiveMode::Recursive) {
                return Err(WatchError::Root { path, source });
            }
        }
        self.report_durability(Durability::Toolchain);
        let (sender, changes) = watch::channel(Changes::default());
        let (live, worker) = (self.clone(), Arc::clone(&inbox));
        let worker = std::thread::Builder::new()
            .name("live-watch".to_owned())
            .spawn(move || worker.work(&live, &receiver, &sender))
            .map_err(WatchError::Thread)?;
        Ok(Watch { live: self.clone(), inbox, changes, watcher: Some(watcher), worker: Some(worker) })
    }
}

impl Watch {
    /// Waits until files changed after the last call, and returns all that was seen since the start.
    ///
    /// # Cancel safety
    /// Dropping the future loses nothing.
    pub async fn changed(&mut self) -> Changes {
        if self.changes.changed().await.is_err() {
            // The worker has panicked: nothing more is told.
            std::future::pending::<()>().await;
        }
        *self.changes.borrow_and_update()
    }

    /// Returns all that was seen since the start.
    pub fn changes(&self) -> Changes {
        *self.changes.borrow()
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.watcher = None;
        self.inbox.is_over.store(true, Ordering::SeqCst);
        self.inbox.wake();
        if let Some(worker) = self.worker.take() {
            // It panics only if this program does; there is nothing to be done about it here.
            let _ = worker.join();
        }
        if self.changes().is_blind {
            self.live.inner.state().graph.see_again();
        }
    }
}

impl fmt::Debug for Watch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Watch").field("changes", &self.changes()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::action::FileStates;
    use crate::live::Lookup;
    use cache_core::{Key, Namespace};
    use cache_testkit::{MemoryStore, block_on};
    use notify::event::{AccessKind, CreateKind, Flag};

    struct World {
        dir: tempfile::TempDir,
        live: LiveCache,
        inbox: Arc<Inbox>,
        receiver: Receiver<Message>,
        changes: watch::Sender<Changes>,
    }

    const KEY: Key = Key::from_bytes([1; 32]);

    impl World {
        fn new(capacity: usize) -> Self {
            let dir = tempfile::tempdir().unwrap();
            std::fs::write(dir.path().join("a"), "a").unwrap();
            let files = Arc::new(FileStates::new(dir.path()).unwrap());
            let live = block_on(LiveCache::open(Arc::new(MemoryStore::new()), files, Namespace::default()));
            let roots = block_on(live.snapshot(&["a"])).unwrap();
            block_on(live.persist(&KEY, "a", "test", roots)).unwrap();
            let (inbox, receiver) = Inbox::new(capacity);
            Self { dir, live, inbox, receiver, changes: watch::channel(Changes::default()).0 }
        }

        fn tell(&self, kind: EventKind, name: &str) {
            self.inbox.take(Ok(Event::new(kind).add_path(self.dir.path().join(name))));
        }

        /// Does all that waits, and ends.
        fn work(self) -> (Changes, Lookup, LiveCache) {
            let Self { dir, live, inbox, receiver, changes } = self;
            let mut seen = changes.subscribe();
            let (worker_live, worker_inbox) = (live.clone(), Arc::clone(&inbox));
            let worker = std::thread::spawn(move || worker_inbox.work(&worker_live, &receiver, &changes));
            block_on(seen.changed()).unwrap();
            inbox.is_over.store(true, Ordering::SeqCst);
            inbox.wake();
            worker.join().unwrap();
            let lookup = block_on(live.look_up(&KEY));
            // The tree stays until here.
            drop(dir);
            (*seen.borrow(), lookup, live)
        }
    }

    #[test]
    fn reading_is_no_change() {
        let world = World::new(8);
        world.tell(EventKind::Access(AccessKind::Read), "a");
        assert!(world.receiver.try_recv().is_err());
    }

    #[test]
    fn a_path_that_changes_often_is_looked_at_once() {
        let world = World::new(8);
        std::fs::write(world.dir.path().join("a"), "edited").unwrap();
        for _ in 0..5 {
            world.tell(EventKind::Create(CreateKind::Any), "a");
        }
        let (changes, lookup, _) = world.work();
        assert_eq!((changes.paths, changes.entries, changes.rescans), (1, 1, 0));
        assert!(matches!(lookup, Lookup::Invalidated(_)), "{lookup:?}");
    }

    #[test]
    fn what_does_not_fit_puts_all_in_doubt() {
        let world = World::new(2);
        std::fs::write(world.dir.path().join("a"), "edited").unwrap();
        for name in ["x", "y", "a"] {
            world.tell(EventKind::Any, name);
        }
        let (changes, lookup, _) = world.work();
        assert_eq!((changes.entries, changes.rescans), (0, 1));
        assert!(matches!(lookup, Lookup::Invalidated(_)), "{lookup:?}");
    }

    #[test]
    fn what_the_system_missed_puts_all_in_doubt() {
        let world = World::new(2);
        std::fs::write(world.dir.path().join("a"), "edited").unwrap();
        world.inbox.take(Ok(Event::new(EventKind::Other).set_flag(Flag::Rescan)));
        let (changes, lookup, _) = world.work();
        assert_eq!((changes.entries, changes.rescans, changes.is_blind), (0, 1, false));
        assert!(matches!(lookup, Lookup::Invalidated(_)), "{lookup:?}");
    }

    #[test]
    fn whoever_is_blind_trusts_nothing() {
        let world = World::new(2);
        world.inbox.take(Err(notify::Error::new(notify::ErrorKind::MaxFilesWatch)));
        let dir = world.dir.path().to_owned();
        let (changes, lookup, live) = world.work();
        assert_eq!((changes.rescans, changes.is_blind), (1, true));
        assert!(lookup.is_hit());
        // The tree is gone, and only somebody who looks knows.
        assert!(!dir.exists());
        assert!(!block_on(live.look_up(&KEY)).is_hit());
        live.inner.state().graph.see_again();
        block_on(live.persist(&KEY, "a", "test", Vec::new())).unwrap();
        assert!(block_on(live.look_up(&KEY)).is_hit());
    }
}

//! The live cache.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use cache_core::{Entry, FileDependency, Key, ListFilter, Namespace, Result, Store, TreePath};

use super::answer::{Absence, Found, Invalidation, Lookup};
use super::check::Verdict;
use super::persist::MAX_BYTES;
use super::resolve::lexical;
use super::state::State;
use super::stats::LiveStats;
use super::trace::{KIND, Mark, Trace, Upstream};
use crate::action::{FileError, FileStates};

/// How many entries are listed at a time when a graph is rebuilt.
const PAGE: usize = 1000;
/// How many entries are known in memory, unless told otherwise: one to two gigabytes.
const MAX_ENTRIES: usize = 4 << 20;
/// How often an entry is checked anew if something is reported meanwhile.
const ATTEMPTS: usize = 4;
/// Writers of entries whose keys fall into the same of so many parts wait for each other.
const STRIPES: usize = 64;

/// A cache of what is computed from files and from other entries: the memory of a language server, or of an incremental
/// compiler, that outlives the process.
///
/// See the [module](super) for what it promises. It is cheap to clone; clones are the same cache.
#[derive(Clone, Debug)]
pub struct LiveCache {
    pub(super) inner: Arc<Inner>,
}

#[derive(Debug)]
pub(super) struct Inner {
    pub(super) store: Arc<dyn Store>,
    pub(super) files: Arc<FileStates>,
    pub(super) namespace: Namespace,
    state: Mutex<State>,
    /// Held while an entry is written to the store or removed from it, so that memory and store agree on who was last.
    stripes: Vec<tokio::sync::Mutex<()>>,
    rebuilt: Rebuilt,
}

/// Makes a [`LiveCache`].
#[derive(Debug)]
pub struct LiveCacheBuilder {
    store: Arc<dyn Store>,
    files: Arc<FileStates>,
    namespace: Namespace,
    max_entries: usize,
}

/// What a [`LiveCache`] found in its store when it was opened. Entries that it does not know are found when they are looked
/// up; until then, what is reported about their files passes them by, and they are checked before they are served.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Rebuilt {
    /// All entries.
    All,
    /// As many entries as it may know.
    UpToLimit,
    /// The store cannot list.
    CannotList,
    /// The store failed while it listed.
    Failed {
        /// What it said.
        why: String,
    },
}

impl LiveCacheBuilder {
    /// Sets how many entries are known in memory, those among them that are only named by others; 4 Mi unless told
    /// otherwise, and at least one. Beyond, those are forgotten that were not used for longest and that nothing depends on.
    /// They stay in the store.
    #[must_use]
    pub fn max_entries(mut self, entries: usize) -> Self {
        self.max_entries = entries.max(1);
        self
    }

    /// Opens the cache: rebuilds from the store what is known about its entries, and reads none of their bytes. That the
    /// store fails is no error: see [`LiveCache::rebuilt`].
    ///
    /// # Cancel safety
    /// Dropping the future changes nothing.
    pub async fn open(self) -> LiveCache {
        let mut state = State::new(self.max_entries);
        let rebuilt = self.rebuild(&mut state).await;
        state.graph.settle_durabilities();
        let Self { store, files, namespace, .. } = self;
        let stripes = (0..STRIPES).map(|_| tokio::sync::Mutex::default()).collect();
        let inner = Inner { store, files, namespace, state: Mutex::new(state), stripes, rebuilt };
        LiveCache { inner: Arc::new(inner) }
    }

    async fn rebuild(&self, state: &mut State) -> Rebuilt {
        if !self.store.capabilities().list {
            return Rebuilt::CannotList;
        }
        let filter = ListFilter {
            namespace: Some(self.namespace.clone()),
            kind: Some(KIND.to_owned()),
            ..ListFilter::default()
        };
        let mut after = None;
        loop {
            let page = match self.store.list(&filter, after.as_deref(), PAGE).await {
                Ok(page) => page,
                Err(error) => return Rebuilt::Failed { why: error.to_string() },
            };
            for item in page.items {
                let Some(trace) = Trace::of_meta(item.meta, &self.namespace) else { continue };
                if !state.has_room(&item.key, &trace) {
                    return Rebuilt::UpToLimit;
                }
                state.insert(item.key, &trace, false);
            }
            after = page.next;
            if after.is_none() {
                return Rebuilt::All;
            }
        }
    }
}

impl Inner {
    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until nobody else writes or removes the entry under `key`.
    pub(super) async fn exclusive(&self, key: &Key) -> tokio::sync::MutexGuard<'_, ()> {
        self.stripes[usize::from(key.as_bytes()[0]) % STRIPES].lock().await
    }

    /// Removes entries from the store that were dropped, the oldest first.
    pub(super) async fn remove_dropped(&self) -> Result<()> {
        // What others drop meanwhile, they remove.
        let count = self.state().removals.len();
        for _ in 0..count {
            let Some((key, report)) = self.state().removals.first() else { break };
            let _exclusive = self.exclusive(&key).await;
            if self.state().removals.dropped_by(&key) != Some(report) {
                continue;
            }
            self.store.remove(&key).await?;
            let mut state = self.state();
            if state.removals.dropped_by(&key) == Some(report) {
                state.removals.done(&key);
            }
        }
        Ok(())
    }

    async fn look_up(&self, key: &Key, again: bool) -> Lookup {
        let mut answer = None;
        for _ in 0..ATTEMPTS {
            answer = self.attempt(key, again).await;
            if answer.is_some() {
                break;
            }
        }
        let answer = answer.unwrap_or(Lookup::Invalidated(Invalidation::Restless));
        self.state().stats.looked_up(&answer);
        answer
    }

    /// Looks an entry up; returns nothing if something was reported meanwhile.
    async fn attempt(&self, key: &Key, again: bool) -> Option<Lookup> {
        let (drops, revision) = {
            let state = self.state();
            if state.removals.dropped_by(key).is_some() {
                return Some(state.gone(key));
            }
            (state.drops, state.graph.revision())
        };
        let entry = match self.store.get(key).await {
            Ok(entry) => entry,
            Err(error) => return Some(Lookup::Miss(Absence::StoreFailed { why: error.to_string() })),
        };
        let Some(mut entry) = entry else {
            let mut state = self.state();
            if let Some(id) = state.graph.find_known(key) {
                if state.graph.is_touched_since(id, revision) {
                    return None;
                }
                // It was evicted, or another process removed it.
                state.graph.remove(id);
            }
            return Some(state.gone(key));
        };
        let Some(trace) = Trace::of_meta(std::mem::take(&mut entry.meta), &self.namespace) else {
            return Some(Lookup::Miss(Absence::Unreadable));
        };
        {
            let mut state = self.state();
            let known = state.graph.find_known(key);
            let is_touched = known.is_some_and(|id| state.graph.is_touched_since(id, revision));
            if state.drops != drops || is_touched {
                return None;
            }
            let fingerprint = trace.fingerprint();
            let id = match known.filter(|id| state.graph.has_trace(*id, fingerprint)) {
                Some(id) => id,
                // Another process wrote it, or nobody listed it.
                None => match state.insert(*key, &trace, false) {
                    Some(id) => id,
                    None => return Some(Lookup::Miss(Absence::NoRoom)),
                },
            };
            state.graph.used(id);
        }
        match self.check(key, again).await {
            Verdict::Valid => {}
            Verdict::Restless => return None,
            Verdict::Invalid(why) => {
                // If the store fails, it is tried again with the next one.
                let _ = self.remove_dropped().await;
                return Some(Lookup::Invalidated(why));
            }
        }
        let bytes = match self.bytes(entry).await {
            Ok(Some(bytes)) if Mark::of(&bytes) == trace.result => bytes,
            Ok(_) => return Some(Lookup::Miss(Absence::Unreadable)),
            Err(error) => return Some(Lookup::Miss(Absence::StoreFailed { why: error.to_string() })),
        };
        let upstream = Upstream { key: *key, result: trace.result };
        Some(Lookup::Hit(Found { bytes, kind: trace.kind, upstream }))
    }

    async fn bytes(&self, entry: Entry) -> Result<Option<Bytes>> {
        let Some((digest, len)) = entry.blobs().next() else { return Ok(Some(entry.value)) };
        if len > MAX_BYTES {
            return Ok(None);
        }
        match self.store.read(digest, None).await? {
            Some(body) => body.into_bytes(len).await.map(Some),
            None => Ok(None),
        }
    }
}

impl LiveCache {
    /// Returns a builder of the cache that is in `namespace` of `store`, for the checkout that `files` knows.
    pub fn builder(store: Arc<dyn Store>, files: Arc<FileStates>, namespace: Namespace) -> LiveCacheBuilder {
        LiveCacheBuilder { store, files, namespace, max_entries: MAX_ENTRIES }
    }

    /// Opens the cache that is in `namespace` of `store`, for the checkout that `files` knows, as
    /// [`LiveCacheBuilder::open`] does.
    ///
    /// # Cancel safety
    /// Dropping the future changes nothing.
    pub async fn open(store: Arc<dyn Store>, files: Arc<FileStates>, namespace: Namespace) -> Self {
        Self::builder(store, files, namespace).open().await
    }

    /// Returns the files of the checkout.
    pub fn files(&self) -> &Arc<FileStates> {
        &self.inner.files
    }

    /// Returns how much was found in the store when this was opened.
    pub fn rebuilt(&self) -> &Rebuilt {
        &self.inner.rebuilt
    }

    /// Returns the entry under `key`, as of what was last reported.
    ///
    /// An entry that was found valid in this process, and of which nothing was reported since, is served without a look at
    /// any file. One that is in doubt, and so every one that another process wrote, is checked as
    /// [`look_up_revalidate`](Self::look_up_revalidate) does.
    ///
    /// # Cancel safety
    /// Dropping the future changes nothing; a removal that was under way is made later.
    pub async fn look_up(&self, key: &Key) -> Lookup {
        self.inner.look_up(key, false).await
    }

    /// Returns the entry under `key` if what it was computed from is as it was when this was called: its files and those
    /// of all entries upstream, each checked as [`Validation`](super::Validation) says, and the results of those.
    ///
    /// Only entries that are [durable](super::Durability) in all that they were computed from are not checked again. What is found
    /// to have changed is dropped, here and in the store.
    ///
    /// # Cancel safety
    /// Dropping the future changes nothing; a removal that was under way is made later.
    pub async fn look_up_revalidate(&self, key: &Key) -> Lookup {
        self.inner.look_up(key, true).await
    }

    /// Returns the state of the files at `paths`, absolute or relative to the base, for
    /// [`persist`](Self::persist). Take it **before** they are read.
    ///
    /// # Errors
    /// If a file cannot be read or keeps changing, or a path names a FIFO, a socket, a device, or the base itself.
    ///
    /// # Cancel safety
    /// Dropping the future changes nothing; reading goes on in the background to the end of the files.
    pub async fn snapshot<P: AsRef<Path>>(&self, paths: &[P]) -> Result<Vec<FileDependency>, FileError> {
        let base = self.inner.files.base();
        let name = |path: &P| Ok(TreePath::new(base, &lexical(&base.join(path)))?);
        let paths: Result<Vec<TreePath>, FileError> = paths.iter().map(name).collect();
        self.inner.files.snapshot(&paths?).await
    }

    /// Returns the kinds that there are entries of.
    pub fn known_kinds(&self) -> BTreeSet<String> {
        self.inner.state().graph.kinds()
    }

    /// Returns how many entries are known.
    pub fn entry_count(&self) -> usize {
        self.inner.state().graph.known()
    }

    /// Returns what was done so far.
    pub fn stats(&self) -> LiveStats {
        let state = self.inner.state();
        let mut numbers = state.stats.clone();
        numbers.visited += state.graph.visited;
        numbers.removals_waiting = state.removals.len() as u64;
        numbers.memory_bytes = state.graph.bytes() as u64;
        numbers
    }

    /// Removes from the store what was dropped and could not be removed yet.
    ///
    /// # Errors
    /// If the store refuses.
    ///
    /// # Cancel safety
    /// Dropping the future leaves the rest for the next call.
    pub async fn flush(&self) -> Result<()> {
        self.inner.remove_dropped().await
    }

    /// Does what [`flush`](Self::flush) does. The store stays open: it belongs to the caller. Closing twice is fine.
    ///
    /// # Errors
    /// If the store refuses.
    ///
    /// # Cancel safety
    /// Dropping the future leaves the rest for the next call.
    pub async fn close(&self) -> Result<()> {
        self.flush().await
    }
}

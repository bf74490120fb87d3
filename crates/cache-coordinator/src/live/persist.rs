//! Putting results into the cache.

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;
use cache_core::{FileDependency, FileState, Key, PutMode, TreePath};

use super::answer::Invalidation;
use super::cache::{Inner, LiveCache};
use super::check::content;
use super::resolve::{Spot, spots};
use super::trace::{Durability, Mark, Trace, Upstream, Validation, entry};
use crate::action::{Claim, FileStates, offload};

/// Most bytes of an entry: it is held in memory as a whole.
pub(super) const MAX_BYTES: u64 = 64 << 20;
/// Most files of an entry, and most entries that it may name. They are listed with the entry, so they are no place for a
/// whole workspace.
const MAX_INPUTS: usize = 1 << 16;
/// Longest kind in bytes. It appears in listings.
const MAX_KIND: usize = 200;

/// A result, and what it was computed from.
///
/// ```
/// use cache_coordinator::live::{Durability, LiveEntry, Validation};
///
/// let entry = LiveEntry {
///     validation: Validation::Mtime,
///     durability: Durability::Vendored,
///     ..LiveEntry::new("symbols", "main")
/// };
/// assert_eq!(entry.bytes, "main");
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LiveEntry {
    /// The result, of at most 64 MiB.
    pub bytes: Bytes,
    /// What it means, in the caller's words, in at most 200 bytes.
    pub kind: String,
    /// The state of the files **before** they were read, from [`LiveCache::snapshot`]. A path at which there was nothing
    /// and must be nothing is one of them. Of a directory only counts that there is one.
    pub file_roots: Vec<FileDependency>,
    /// The entries that it was computed from, with the results that were used.
    pub upstreams: Vec<Upstream>,
    /// How its files are checked.
    pub validation: Validation,
    /// How seldom its files change.
    pub durability: Durability,
    /// How many milliseconds it took to compute.
    pub cost_ms: u64,
}

impl LiveEntry {
    /// Returns an entry that was computed from nothing.
    pub fn new(kind: impl Into<String>, bytes: impl Into<Bytes>) -> Self {
        Self { kind: kind.into(), bytes: bytes.into(), ..Self::default() }
    }
}

/// What came of persisting an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Persisted {
    /// What an entry names that is computed from this one.
    pub upstream: Upstream,
    /// Whether the result is the one that the entry had before: then what was computed from it need not be computed anew.
    pub unchanged: bool,
}

/// Why an entry was not persisted. It is as if it had not been computed: a program goes on without.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PersistError {
    /// A file is not as it was before the computation, so nobody knows which state was used.
    #[error("not persisted, as a file changed while it was used: {}", .0)]
    FileChanged(Invalidation),
    /// The entry was dropped while it was persisted.
    #[error("not persisted, as the entry was dropped meanwhile")]
    Dropped,
    /// It is larger than the cache allows.
    #[error("not persisted: {what} of the entry would be {size}, and the limit is {limit}")]
    TooLarge {
        /// What is too large.
        what: &'static str,
        /// How large it is.
        size: u64,
        /// How large it may be.
        limit: u64,
    },
    /// The store refused.
    #[error("not persisted: {0}")]
    Store(#[from] cache_core::Error),
    /// Looking at files ended before its time.
    #[error("not persisted, as looking at its files was interrupted; this is a mistake in the program")]
    Interrupted,
}

impl LiveCache {
    /// Persists what was computed from files alone: [`persist_entry`](Self::persist_entry), checked by content.
    ///
    /// # Errors
    /// As [`persist_entry`](Self::persist_entry).
    ///
    /// # Cancel safety
    /// As [`persist_entry`](Self::persist_entry).
    pub async fn persist(
        &self,
        key: &Key,
        bytes: impl Into<Bytes>,
        kind: &str,
        file_roots: Vec<FileDependency>,
    ) -> Result<Persisted, PersistError> {
        self.persist_entry(key, LiveEntry { file_roots, ..LiveEntry::new(kind, bytes) }).await
    }

    /// Persists what was computed from files and from other entries: [`persist_entry`](Self::persist_entry), checked by
    /// content.
    ///
    /// # Errors
    /// As [`persist_entry`](Self::persist_entry).
    ///
    /// # Cancel safety
    /// As [`persist_entry`](Self::persist_entry).
    pub async fn persist_with_upstreams(
        &self,
        key: &Key,
        bytes: impl Into<Bytes>,
        kind: &str,
        file_roots: Vec<FileDependency>,
        upstreams: Vec<Upstream>,
    ) -> Result<Persisted, PersistError> {
        self.persist_entry(key, LiveEntry { file_roots, upstreams, ..LiveEntry::new(kind, bytes) }).await
    }

    /// Persists `entry` under `key`, in place of what was there.
    ///
    /// What was computed from an entry that has the same result as before stays valid. Entries upstream need not be there
    /// yet; until they are, and have the results that were used, the entry is not served.
    ///
    /// # Errors
    /// If a file is not as it was when the snapshot was taken, the entry was dropped meanwhile, it is too large, or the store
    /// refuses. What was persisted before stays then.
    ///
    /// # Cancel safety
    /// Dropping the future leaves the old entry or the new one.
    pub async fn persist_entry(&self, key: &Key, entry: LiveEntry) -> Result<Persisted, PersistError> {
        self.inner.persist(key, entry).await
    }
}

impl Inner {
    async fn persist(&self, key: &Key, new: LiveEntry) -> Result<Persisted, PersistError> {
        let LiveEntry { bytes, kind, mut file_roots, upstreams, validation, durability, cost_ms } = new;
        within("the result", bytes.len() as u64, MAX_BYTES)?;
        within("the kind", kind.len() as u64, MAX_KIND as u64)?;
        within("the number of files", file_roots.len() as u64, MAX_INPUTS as u64)?;
        within("the number of entries upstream", upstreams.len() as u64, MAX_INPUTS as u64)?;
        file_roots.sort_unstable_by(|a, b| a.path.cmp(&b.path));
        file_roots.dedup();
        let reports = self.state().reports;
        let files = if file_roots.is_empty() {
            file_roots
        } else {
            let states = Arc::clone(&self.files);
            offload(move || named(&states, file_roots)).await.ok_or(PersistError::Interrupted)??
        };
        within("the number of names of files", files.len() as u64, 2 * MAX_INPUTS as u64)?;
        let trace = Trace { kind, result: Mark::of(&bytes), files, upstreams, validation, durability };
        let meta = trace.to_meta(&self.namespace, self.files.clock().now(), cost_ms);
        let (entry, blob) = entry(meta, bytes, self.store.capabilities().max_value);

        let _exclusive = self.exclusive(key).await;
        if let Some((digest, bytes)) = blob {
            self.store.write(&digest, bytes.len() as u64, bytes.into()).await?;
        }
        let _ = self.store.put(key, &entry, PutMode::Overwrite).await?;
        let mut state = self.state();
        if state.removals.dropped_by(key).is_some_and(|report| report > reports) {
            return Err(PersistError::Dropped);
        }
        state.removals.done(key);
        state.stats.persisted += 1;
        let unchanged = state.last_result(key) == Some(trace.result);
        state.stats.unchanged += u64::from(unchanged);
        // What was reported while the files were looked at may be about one of them.
        let is_valid = state.reports == reports;
        if state.insert(*key, &trace, is_valid).is_none() {
            // There is no room to know it: it is found when it is looked up, if there is room then.
            state.stats.forgotten += 1;
        }
        Ok(Persisted { upstream: Upstream { key: *key, result: trace.result }, unchanged })
    }
}

fn within(what: &'static str, size: u64, limit: u64) -> Result<(), PersistError> {
    if size > limit { Err(PersistError::TooLarge { what, size, limit }) } else { Ok(()) }
}

/// Returns `roots`, and the other names that the files have on their way, if the files are as they were.
fn named(files: &FileStates, roots: Vec<FileDependency>) -> Result<Vec<FileDependency>, PersistError> {
    let mut wanted: HashMap<TreePath, Vec<Claim>> = HashMap::new();
    for root in &roots {
        let claims = wanted.entry(root.path.clone()).or_default();
        if let (FileState::File { digest, .. }, Some(stat)) = (root.state, root.stat) {
            claims.push((stat, digest));
        }
    }
    // Before the files are looked at: a link that is turned in between is found out by what is behind it.
    let mut names = Vec::new();
    for root in &roots {
        let Ok(native) = root.path.locate(files.base()) else { continue };
        for spot in spots(files.base(), &native) {
            let Spot::At(path) = spot else { continue };
            if !wanted.contains_key(&path) {
                wanted.insert(path.clone(), Vec::new());
                names.push(path);
            }
        }
    }
    let view = files.view(wanted);
    if let Some(why) = roots.iter().find_map(|root| content(root, &view)) {
        return Err(PersistError::FileChanged(why));
    }
    let mut all = roots;
    for path in names {
        // What cannot be read under another name has changed under its own.
        let Some(Ok(seen)) = view.at(&path) else { continue };
        all.push(FileDependency { path, state: seen.behind, stat: seen.stat });
    }
    all.sort_unstable_by(|a, b| a.path.cmp(&b.path));
    Ok(all)
}

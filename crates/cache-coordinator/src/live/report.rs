//! Telling the cache what changed.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use cache_core::{Key, Result};

use super::answer::Invalidation;
use super::cache::LiveCache;
use super::resolve::{Spot, spots};
use super::state::State;
use super::trace::Durability;
use crate::action::offload;

impl LiveCache {
    /// Puts the entry under `key` in doubt, and all that depend on it: they are checked before they are served again. Returns
    /// whether it is known.
    ///
    /// A check looks at files and entries. If something else has changed, [drop](Self::invalidate) the entry instead.
    pub fn mark_dirty(&self, key: &Key) -> bool {
        let mut state = self.inner.state();
        state.reports += 1;
        let known = state.graph.find_known(key);
        if let Some(id) = known {
            state.graph.doubt(&[id]);
        }
        known.is_some()
    }

    /// Puts all entries in doubt that name `path`, absolute or relative to the base, or a path below it, and all that depend
    /// on them. Returns how many name it. This is what a watcher does.
    ///
    /// Symbolic links on the way are looked up in the file system.
    pub fn mark_path_dirty(&self, path: impl AsRef<Path>) -> usize {
        let spots = spots(self.inner.files.base(), path.as_ref());
        let mut state = self.inner.state();
        state.reports += 1;
        let naming = naming(&mut state, &spots);
        state.graph.doubt(&naming);
        naming.len()
    }

    /// Puts all entries in doubt that are as durable as `class` or less: the next look-up checks them again. For
    /// [`Durability::Vendored`] that is what a program says after a package manager ran. Costs the same for any number of
    /// entries.
    pub fn report_durability(&self, class: Durability) {
        let mut state = self.inner.state();
        state.reports += 1;
        state.graph.doubt_class(class);
    }

    /// Drops the entry under `key`, and puts all in doubt that depend on it: they are valid again if its result turns out the
    /// same. Returns whether it was known.
    ///
    /// # Errors
    /// If the store refuses to remove it. It is not served any more all the same, and the removal is tried again with the
    /// next one.
    ///
    /// # Cancel safety
    /// Once polled, the entry is dropped here; what is not removed from the store yet is removed with the next one.
    pub async fn invalidate(&self, key: &Key) -> Result<bool> {
        let known = {
            let mut state = self.inner.state();
            state.reports += 1;
            state.drops += 1;
            let known = state.graph.find_known(key);
            match known {
                Some(id) => state.drop_entry(id, Invalidation::Dropped),
                // It may be in the store all the same, if nobody listed it.
                None => state.await_removal(*key),
            }
            known.is_some()
        };
        self.inner.remove_dropped().await?;
        Ok(known)
    }

    /// Drops all entries that were computed from the entry under `key`, directly or not, each once. That entry itself is
    /// dropped only if it was computed from itself. Returns how many were dropped.
    ///
    /// # Errors
    /// As [`invalidate`](Self::invalidate).
    ///
    /// # Cancel safety
    /// As [`invalidate`](Self::invalidate).
    pub async fn invalidate_upstream(&self, key: &Key) -> Result<usize> {
        let dropped = {
            let mut state = self.inner.state();
            state.reports += 1;
            state.drops += 1;
            let downstream = state.graph.find(key).map_or_else(Vec::new, |id| state.graph.downstream(id));
            // The ids are used again as soon as nobody names them.
            let keys: Vec<Key> = downstream.iter().map(|id| state.graph.key(*id)).collect();
            drop_all(&mut state, &keys, &Invalidation::UpstreamReported { key: *key })
        };
        self.inner.remove_dropped().await?;
        Ok(dropped)
    }

    /// Drops all entries that name `path`, absolute or relative to the base, or a path below it, and puts all in doubt that
    /// depend on them: they are valid again if those have the same results again. Returns how many were dropped.
    ///
    /// A file is found under the name that an entry gives it, under its own, and under that of each symbolic link on the way.
    ///
    /// # Errors
    /// As [`invalidate`](Self::invalidate).
    ///
    /// # Cancel safety
    /// Dropping the future may leave all as it was. Once entries are dropped here, what is not removed from the store yet is
    /// removed with the next one.
    pub async fn invalidate_path(&self, path: impl AsRef<Path>) -> Result<usize> {
        let (files, path): (_, PathBuf) = (Arc::clone(&self.inner.files), path.as_ref().to_owned());
        let found = offload(move || spots(files.base(), &path)).await;
        let interrupted = || cache_core::Error::Invalid("looking a path up was interrupted".to_owned());
        let found = found.ok_or_else(interrupted)?;
        let dropped = {
            let mut state = self.inner.state();
            state.reports += 1;
            state.drops += 1;
            let naming = naming(&mut state, &found);
            let keys: Vec<Key> = naming.iter().map(|id| state.graph.key(*id)).collect();
            drop_all(&mut state, &keys, &Invalidation::PathReported)
        };
        self.inner.remove_dropped().await?;
        Ok(dropped)
    }
}

/// Returns the entries that name one of `spots` or something below.
fn naming(state: &mut State, spots: &[Spot]) -> Vec<u32> {
    let mut naming = Vec::new();
    for spot in spots {
        let top = match spot {
            Spot::At(path) => state.graph.paths.find(path),
            Spot::Top(top) => Some(*top),
        };
        if let Some(top) = top {
            naming.extend(state.graph.naming(top));
        }
    }
    naming.sort_unstable();
    naming.dedup();
    naming
}

/// Drops the entries under `keys`, and returns how many there were.
fn drop_all(state: &mut State, keys: &[Key], why: &Invalidation) -> usize {
    let mut dropped = 0;
    for key in keys {
        if let Some(id) = state.graph.find_known(key) {
            state.drop_entry(id, why.clone());
            dropped += 1;
        }
    }
    dropped
}

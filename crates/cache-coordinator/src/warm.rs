//! Fetching what will be needed before somebody asks for it.

use std::path::PathBuf;
use std::sync::Arc;

use cache_core::{Entry, Error, Key, PutMode, Result};
use tokio::task::JoinSet;

use crate::Coordinator;
use crate::chain::Chain;
use crate::slots::Hold;
use crate::turns::Urgency;
use crate::usage::UsedKeys;

/// Keys that are asked for at a time: few round trips, and what is fetched first is what is needed first.
const BATCH: usize = 256;

/// What [`Coordinator::warm`] fetches, and how much of it.
#[derive(Clone, Debug)]
pub struct WarmPlan {
    /// Which entries.
    pub source: WarmSource,
    /// Entries that are copied at once.
    pub at_once: usize,
    /// Bytes of entries and their blobs that are fetched at most. What comes later in the order stays where it is.
    pub max_bytes: u64,
}

/// Where the keys come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WarmSource {
    /// These, in their order.
    Keys(Vec<Key>),
    /// Those in a file that [`UsedKeys::save`] or a chain wrote; none if there is no such file.
    Manifest(PathBuf),
    /// Those that the last process used before it closed its chain, in the order in which it used them; see
    /// [`CoordinatorBuilder::record_usage`](crate::CoordinatorBuilder::record_usage).
    PreviousBuild,
}

impl WarmPlan {
    /// Copies at once: as many as hide the latency of a server and leave turns to others.
    pub const AT_ONCE: usize = 8;
    /// Bytes that are fetched at most: a large build.
    pub const MAX_BYTES: u64 = 4 << 30;

    /// Returns the plan to fetch what comes from `source` with the default limits.
    pub const fn new(source: WarmSource) -> Self {
        Self { source, at_once: Self::AT_ONCE, max_bytes: Self::MAX_BYTES }
    }
}

/// What [`Coordinator::warm`] did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Warmed {
    /// Entries that were in the fastest tiers already.
    pub present: u64,
    /// Entries that are there now.
    pub fetched: u64,
    /// Keys that no tier has.
    pub absent: u64,
    /// Keys that a tier could not answer for, and entries that could not be copied.
    pub failed: u64,
    /// Entries that were not fetched because of the limit of bytes.
    pub skipped: u64,
    /// Bytes of the entries that were fetched, with all of their blobs.
    pub bytes: u64,
}

impl Coordinator {
    /// Copies entries and their blobs from slower tiers into the faster ones, in the order of the plan, and returns when it is
    /// done. Look-ups that somebody waits for go first.
    ///
    /// # Errors
    /// If the chain is closed, the plan wants what the last build used and nothing is recorded here, or the file cannot be read.
    /// What could not be fetched is in the numbers.
    ///
    /// # Cancel safety
    /// Whole entries that were copied stay.
    pub async fn warm(&self, plan: &WarmPlan) -> Result<Warmed> {
        self.chain.ensure_open()?;
        let keys = self.keys_of(&plan.source)?;
        let mut warmed = Warmed::default();
        let mut copies = Copies { running: JoinSet::new(), at_once: plan.at_once.max(1) };
        for keys in keys.chunks(BATCH) {
            // Before any tier is asked, so that no write goes unnoticed.
            let holds: Vec<_> = keys.iter().map(|key| self.chain.watch(key)).collect();
            let (found, certain) = self.chain.locate_many(keys, Urgency::Prefetch).await;
            for ((key, (hold, writes)), found) in keys.iter().zip(holds).zip(found) {
                match found {
                    None => *(if certain { &mut warmed.absent } else { &mut warmed.failed }) += 1,
                    Some((from, _)) if self.chain.promotion_targets(from).next().is_none() => {
                        warmed.present += 1;
                    }
                    Some((_, entry)) if warmed.bytes.saturating_add(entry.size()) > plan.max_bytes => {
                        warmed.skipped += 1;
                    }
                    Some((from, entry)) => {
                        // Counted before it is there, so that what is on its way counts as well.
                        warmed.bytes += entry.size();
                        copies.room(&mut warmed).await;
                        let chain = Arc::clone(&self.chain);
                        let copy = Copy { key: *key, entry, from, hold, writes };
                        copies.running.spawn_on(chain.fetch(copy), &self.chain.runtime);
                    }
                }
            }
        }
        copies.finish(&mut warmed).await;
        Ok(warmed)
    }

    fn keys_of(&self, source: &WarmSource) -> Result<Vec<Key>> {
        let path = match source {
            WarmSource::Keys(keys) => return Ok(UsedKeys::new(keys.iter().copied()).keys().to_vec()),
            WarmSource::Manifest(path) => path,
            WarmSource::PreviousBuild => {
                self.usage.as_ref().map(crate::usage::Usage::path).ok_or_else(|| {
                    let why = "this chain does not record what is used; build it with `record_usage`";
                    Error::Invalid(why.to_owned())
                })?
            }
        };
        Ok(UsedKeys::load(path)?.unwrap_or_default().keys().to_vec())
    }
}

/// An entry that is to be copied into the faster tiers.
struct Copy {
    key: Key,
    entry: Entry,
    from: usize,
    hold: Hold,
    writes: u64,
}

/// The copies that are being made. Dropping it ends them.
struct Copies {
    /// Each returns its bytes, and whether it is done.
    running: JoinSet<(u64, bool)>,
    at_once: usize,
}

impl Copies {
    /// Waits until one more may begin.
    async fn room(&mut self, warmed: &mut Warmed) {
        while self.running.len() >= self.at_once {
            self.next(warmed).await;
        }
    }

    async fn finish(mut self, warmed: &mut Warmed) {
        while !self.running.is_empty() {
            self.next(warmed).await;
        }
    }

    async fn next(&mut self, warmed: &mut Warmed) {
        match self.running.join_next().await {
            Some(Ok((_, true))) => warmed.fetched += 1,
            Some(Ok((bytes, false))) => {
                warmed.failed += 1;
                warmed.bytes -= bytes;
            }
            // It panicked, or its runtime ends.
            Some(Err(_)) => warmed.failed += 1,
            None => {}
        }
    }
}

impl Chain {
    async fn fetch(self: Arc<Self>, copy: Copy) -> (u64, bool) {
        let Copy { key, entry, from, hold, writes } = copy;
        let targets = self.promotion_targets(from).collect();
        let held = (&hold, writes);
        let done = self.promote_one_entry(&key, &entry, from, targets, PutMode::IfAbsent, held).await;
        (entry.size(), done)
    }
}

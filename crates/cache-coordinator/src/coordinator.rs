//! A chain of tiers as one store.

use std::ops::Range;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use cache_core::signing::Keyring;
use cache_core::{
    Body, Capabilities, Clock, Collected, Digest, Entry, Error, Key, ListFilter, MissReason, Page, PutMode,
    PutOutcome, Result, Store, SystemClock,
};
use tokio::runtime::Handle;
use tokio::task::JoinHandle;

use crate::chain::{Chain, Counters, Unstored};
use crate::deadline::within;
use crate::deletions::Deletions;
use crate::errands::push_all;
use crate::event::{ChainObserver, Listener, TierEvent};
use crate::flight::Flights;
use crate::kinds::Kinds;
use crate::link::{Call, Link};
use crate::promote::{PromotionLimits, Promotions, promote_all};
use crate::push::{Pushes, WriteBack};
use crate::recent::Recent;
use crate::signed::Unsigned;
use crate::slots::Slots;
use crate::stats::Stats;
use crate::tier::Tier;
use crate::turns::Urgency;
use crate::usage::Usage;

/// Describes a [`Coordinator`]; made by [`Coordinator::builder`].
#[derive(Debug)]
#[must_use]
pub struct CoordinatorBuilder {
    name: String,
    tiers: Vec<Tier>,
    strict: bool,
    clock: Arc<dyn Clock>,
    listener: Listener,
    remember_misses: Duration,
    remembered_misses: usize,
    revalidate_after: Option<Duration>,
    promotions: PromotionLimits,
    write_back: WriteBack,
    close_within: Duration,
    usage: Option<PathBuf>,
    runtime: Option<Handle>,
    signing: Option<(Keyring, Unsigned)>,
}

impl CoordinatorBuilder {
    /// How long it is remembered that the slower tiers do not have a key: longer than a build tool takes to ask again,
    /// shorter than another machine takes to build it.
    pub const REMEMBER_MISSES: Duration = Duration::from_secs(5);
    /// Keys for which that is remembered, at most: about 10 MB.
    pub const REMEMBERED_MISSES: usize = 100_000;
    /// Keys for which it is remembered when they were compared with slower tiers, at most: about 10 MB.
    pub const COMPARED: usize = 100_000;
    /// How long [`close`](Store::close) waits for what is on its way to slower tiers.
    pub const CLOSE_WITHIN: Duration = Duration::from_secs(10);

    /// Adds the next tier; the fastest comes first.
    pub fn tier(mut self, tier: Tier) -> Self {
        self.tiers.push(tier);
        self
    }

    /// Sets the name of the chain in messages; `tiers` unless told otherwise.
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = name.into();
        self
    }

    /// Sets whether a tier that fails makes an error: of what would be a miss because of it, and of every write but to tiers
    /// that are written in the background and get it later.
    pub fn strict(mut self, strict: bool) -> Self {
        self.strict = strict;
        self
    }

    /// Reads the time from `clock`.
    pub fn clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = clock;
        self
    }

    /// Tells `observer` what happens.
    pub fn observer(mut self, observer: Arc<dyn ChainObserver>) -> Self {
        self.listener = Listener::new(observer);
        self
    }

    /// Sets for how long, and for how many keys, it is remembered that the slower tiers have nothing.
    pub fn remember_misses(mut self, keep: Duration, count: usize) -> Self {
        (self.remember_misses, self.remembered_misses) = (keep, count);
        self
    }

    /// Has an entry that is found in a fast tier compared with what slower tiers have, if nobody did for so long. The
    /// caller gets it at once, stale as it may be; one that was made later replaces it for the next caller.
    ///
    /// For entries that others overwrite, such as the latest state of a branch. Entries whose keys come from their
    /// inputs never change, and asking for them is a waste: by default, nobody does.
    pub fn stale_while_revalidate(mut self, fresh_for: Duration) -> Self {
        self.revalidate_after = Some(fresh_for);
        self
    }

    /// Sets how much may wait to be copied into faster tiers.
    pub fn promotions(mut self, limits: PromotionLimits) -> Self {
        self.promotions = limits;
        self
    }

    /// Sets what is written in the background, and how much of it may wait.
    pub fn write_back(mut self, settings: WriteBack) -> Self {
        self.write_back = settings;
        self
    }

    /// Keeps the journal of what is still to be written in `directory`.
    pub fn journal(mut self, directory: impl Into<PathBuf>) -> Self {
        self.write_back.journal = Some(directory.into());
        self
    }

    /// Has the keys of entries that are found or stored written down in `file`, in the order of their first use, when the chain is
    /// closed or dropped; for [`WarmSource::PreviousBuild`](crate::WarmSource::PreviousBuild) of the next process. A process
    /// that uses nothing leaves the file as it is.
    pub fn record_usage(mut self, file: impl Into<PathBuf>) -> Self {
        self.usage = Some(file.into());
        self
    }

    /// Sets how long [`close`](Store::close) waits for what is on its way to slower tiers.
    pub fn close_within(mut self, deadline: Duration) -> Self {
        self.close_within = deadline;
        self
    }

    /// Has the entries of all tiers signed and checked, as [`Tier::signed`] does for one; tiers that have said so themselves
    /// keep what they said.
    pub fn signing(mut self, ring: Keyring, unsigned: Unsigned) -> Self {
        self.signing = Some((ring, unsigned));
        self
    }

    /// Runs timers and background work on `runtime` instead of the one that this is built in.
    pub fn runtime(mut self, runtime: Handle) -> Self {
        self.runtime = Some(runtime);
        self
    }

    /// Returns the chain, with its background work started and what an earlier process left behind picked up.
    ///
    /// # Errors
    /// If there is no tier or no tokio runtime. A journal that cannot be used is told and counted, no error.
    pub fn build(self) -> Result<Coordinator> {
        if self.tiers.is_empty() {
            return Err(Error::Invalid("a chain of tiers needs at least one tier".to_owned()));
        }
        let runtime = match self.runtime {
            Some(runtime) => runtime,
            None => Handle::try_current().map_err(|_| {
                Error::Invalid("build the chain of tiers inside a tokio runtime, or give it one".to_owned())
            })?,
        };
        let mut links: Vec<Link> = Vec::new();
        for mut tier in self.tiers {
            tier.signing = tier.signing.or_else(|| self.signing.clone());
            // What is written in the background is read from a faster tier then.
            let source = links.iter().any(|link| link.tier.read && link.writes_through());
            let background = tier.write && tier.write_back && source;
            let same = |name: &str| links.iter().any(|link| link.name() == name);
            let plain = tier.name.clone();
            let mut number = 2;
            while same(&tier.name) {
                tier.name = format!("{plain} {number}");
                number += 1;
            }
            let (clock, runtime) = (Arc::clone(&self.clock), runtime.clone());
            links.push(Link::new(tier, background, clock, runtime, self.listener.clone()));
        }
        let pushes = Pushes::new(self.write_back, &links, &self.listener);
        let chain = Arc::new(Chain {
            name: self.name,
            links,
            strict: self.strict,
            absent: Recent::new(Arc::clone(&self.clock), self.remember_misses, self.remembered_misses),
            checked: self
                .revalidate_after
                .map(|keep| Recent::new(Arc::clone(&self.clock), keep, CoordinatorBuilder::COMPARED)),
            clock: self.clock,
            runtime: runtime.clone(),
            listener: self.listener,
            closed: AtomicBool::default(),
            flights: Flights::default(),
            slots: Slots::default(),
            deletions: Deletions::default(),
            unstored: Unstored::default(),
            promotions: Promotions::new(self.promotions),
            pushes,
            counters: Counters::default(),
            kinds: Kinds::default(),
        });
        let work =
            vec![runtime.spawn(promote_all(Arc::clone(&chain))), runtime.spawn(push_all(Arc::clone(&chain)))];
        let usage = self.usage.map(Usage::new);
        Ok(Coordinator { chain, work: Mutex::new(work), close_within: self.close_within, usage })
    }
}

/// A chain of stores, from the fastest to the slowest, that is a store itself.
///
/// See the [crate's documentation](crate) for what it does, and what bounds it.
///
/// Dropping it without [`close`](Store::close) stops the background work; what is in the journal is left to the next
/// process.
#[derive(Debug)]
pub struct Coordinator {
    pub(crate) chain: Arc<Chain>,
    work: Mutex<Vec<JoinHandle<()>>>,
    close_within: Duration,
    /// What is used, if anybody wants to know.
    pub(crate) usage: Option<Usage>,
}

/// What a flush left undone.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[must_use]
pub struct Flushed {
    /// Writes that have not arrived in slower tiers. With a journal, they are kept for later or for the next process.
    pub left: u64,
    /// Bytes of them.
    pub left_bytes: u64,
}

impl Coordinator {
    /// Returns a builder for a chain without tiers.
    pub fn builder() -> CoordinatorBuilder {
        CoordinatorBuilder {
            name: "tiers".to_owned(),
            tiers: Vec::new(),
            strict: false,
            clock: Arc::new(SystemClock),
            listener: Listener::default(),
            remember_misses: CoordinatorBuilder::REMEMBER_MISSES,
            remembered_misses: CoordinatorBuilder::REMEMBERED_MISSES,
            revalidate_after: None,
            promotions: PromotionLimits::default(),
            write_back: WriteBack::default(),
            close_within: CoordinatorBuilder::CLOSE_WITHIN,
            usage: None,
            runtime: None,
            signing: None,
        }
    }

    /// Returns why an entry under `key` was refused in a [signed](Tier::signed) tier, if it was lately and nobody has stored
    /// another one there since.
    pub fn refusal(&self, key: &Key) -> Option<MissReason> {
        self.chain.refusal(key)
    }

    /// Queues an entry that a faster tier has under `key` already for the tiers that are written in the background, as if it had
    /// been stored through the chain. For programs that store in their local tier themselves.
    pub fn offer(&self, key: &Key, entry: &Entry) {
        self.chain.refresh(key);
        self.chain.push_entry(key, entry, PutMode::Overwrite, &[]);
    }

    /// Returns what the chain has done so far.
    pub fn stats(&self) -> Stats {
        self.chain.stats()
    }

    /// Looks for `keys` as if somebody will need them soon, so that they are copied into faster tiers, and returns how
    /// many were found. Look-ups that somebody waits for go first.
    ///
    /// # Errors
    /// As [`get_many`](Store::get_many).
    ///
    /// # Cancel safety
    /// Copies that were begun are made.
    pub async fn prefetch(&self, keys: &[Key]) -> Result<usize> {
        let found = self.chain.look_up_many(keys, Urgency::Prefetch).await?;
        Ok(found.iter().flatten().count())
    }

    /// Waits until all copies into faster tiers are made and all writes to slower ones have arrived, for as long as
    /// `deadline`, and returns what is left of the writes.
    ///
    /// # Cancel safety
    /// There is nothing to lose: the work goes on.
    pub async fn flush(&self, deadline: Duration) -> Flushed {
        let idle = async {
            // A copy may cause a write.
            self.chain.promotions.idle().await;
            self.chain.pushes.idle().await;
        };
        // What is not done in time is in the numbers.
        let _ = within(&self.chain.runtime, deadline, None, idle).await;
        let stats = self.chain.pushes.stats();
        Flushed { left: stats.waiting, left_bytes: stats.waiting_bytes }
    }

    /// Refuses further calls, waits as [`flush`](Self::flush) does, stops the background work and closes the tiers.
    ///
    /// # Errors
    /// If a tier that callers write to themselves could not be closed; any tier, if the chain is strict.
    ///
    /// # Cancel safety
    /// The chain stays closed to callers; close again to do the rest.
    pub async fn close_within(&self, deadline: Duration) -> Result<Flushed> {
        self.chain.closed.store(true, Ordering::SeqCst);
        // Closed once before, nobody works any more.
        let stopped = self.work.lock().unwrap_or_else(PoisonError::into_inner).is_empty();
        let left = self.flush(if stopped { Duration::ZERO } else { deadline }).await;
        self.stop();
        let mut result = Ok(left);
        for (index, link) in self.chain.links.iter().enumerate() {
            // Not through the breaker: a tier that failed has something to let go of all the same.
            let closed = within(&self.chain.runtime, link.tier.deadline, None, link.store().close()).await;
            let closed = closed.unwrap_or_else(|| {
                let why = format!("it did not close within {:?}", link.tier.deadline);
                Err(Error::Unavailable { store: link.name().to_owned(), why })
            });
            if let Err(error) = closed {
                self.chain.blame(index, "close", &error);
                if link.writes_through() || self.chain.strict {
                    result = Err(error);
                }
            }
        }
        result
    }

    /// Stops the background work, which leaves behind what the journal says, and writes down what was used.
    fn stop(&self) {
        if let Some(usage) = &self.usage
            && let Err(error) = usage.save()
        {
            self.chain.listener.tell(|| TierEvent::Usage { error: &error });
        }
        let work = std::mem::take(&mut *self.work.lock().unwrap_or_else(PoisonError::into_inner));
        work.iter().for_each(JoinHandle::abort);
        self.chain.promotions.clear();
        self.chain.pushes.release(&self.chain.listener);
    }
}

impl Drop for Coordinator {
    fn drop(&mut self) {
        self.chain.closed.store(true, Ordering::SeqCst);
        self.stop();
    }
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl Store for Coordinator {
    fn name(&self) -> &str {
        &self.chain.name
    }

    /// Returns what the tiers that are written through can do together: values and blobs as large as any of them takes.
    fn capabilities(&self) -> Capabilities {
        let all = || self.chain.written_through().map(|(_, link)| link.store().capabilities());
        let max_value = all().map(|capabilities| capabilities.max_value).max().unwrap_or(0);
        let mut capabilities = Capabilities::all(max_value);
        capabilities.max_blob = if all().any(|tier| tier.max_blob.is_none()) {
            None
        } else {
            all().filter_map(|tier| tier.max_blob).max()
        };
        capabilities.list = self.chain.listing().is_some();
        // Among processes, the fastest tier decides; a slower one that others share may have an entry all the same.
        capabilities.conditional_put = self.chain.links.len() == 1 && all().all(|tier| tier.conditional_put);
        capabilities.persistent = all().any(|tier| tier.persistent);
        capabilities.local = self.chain.links.iter().all(|link| link.store().capabilities().local);
        capabilities
    }

    async fn get(&self, key: &Key) -> Result<Option<Entry>> {
        let found = self.chain.look_up(key, Urgency::Urgent).await?;
        if let (Some(usage), Some(_)) = (&self.usage, &found) {
            usage.note([key]);
        }
        Ok(found.map(|found| *found))
    }

    async fn get_many(&self, keys: &[Key]) -> Result<Vec<Option<Entry>>> {
        let found = self.chain.look_up_many(keys, Urgency::Urgent).await?;
        if let Some(usage) = &self.usage {
            usage.note(keys.iter().zip(&found).filter(|(_, found)| found.is_some()).map(|(key, _)| key));
        }
        Ok(found)
    }

    async fn put(&self, key: &Key, entry: &Entry, mode: PutMode) -> Result<PutOutcome> {
        let outcome = self.chain.put_entry(key, entry, mode).await?;
        if let Some(usage) = &self.usage {
            usage.note([key]);
        }
        Ok(outcome)
    }

    async fn remove(&self, key: &Key) -> Result<bool> {
        self.chain.remove_entry(key).await
    }

    /// Lists the fastest tier that callers write to and that can list, or else the fastest that is read.
    async fn list(&self, filter: &ListFilter, after: Option<&str>, limit: usize) -> Result<Page> {
        self.chain.ensure_open()?;
        let Some(link) = self.chain.listing() else {
            return Err(Error::Unsupported { store: self.chain.name.clone(), operation: "list entries" });
        };
        link.call(Call::new("list", Urgency::Urgent), link.store().list(filter, after, limit)).await
    }

    async fn missing(&self, digests: &[Digest]) -> Result<Vec<Digest>> {
        self.chain.missing_blobs(digests).await
    }

    async fn read(&self, digest: &Digest, range: Option<Range<u64>>) -> Result<Option<Body>> {
        self.chain.read_blob(digest, range).await
    }

    async fn write(&self, digest: &Digest, len: u64, body: Body) -> Result<()> {
        self.chain.write_blob(digest, len, body).await
    }

    async fn delete(&self, digest: &Digest) -> Result<bool> {
        self.chain.delete_blob(digest).await
    }

    /// Returns the sum of what [`Coordinator::gc`] does in each tier. Only a strict chain reports that one of them failed.
    async fn gc(&self) -> Result<Collected> {
        let mut sum = Collected::default();
        let mut result = Ok(());
        for tier in Self::gc(self).await? {
            match tier.outcome {
                Ok(collected) => sum += collected,
                Err(error) if self.chain.strict => result = Err(error),
                Err(_) => {}
            }
        }
        result.map(|()| sum)
    }

    /// Waits as [`Coordinator::flush`] does, for as long as [`close`](Store::close) would, then flushes the tiers that callers
    /// write to themselves. What has not arrived then is an error; it stays in the queue, and in the journal if there is one.
    async fn flush(&self) -> Result<()> {
        self.chain.ensure_open()?;
        let Flushed { left, left_bytes } = Self::flush(self, self.close_within).await;
        for (_, link) in self.chain.written_through() {
            link.call(Call::new("flush", Urgency::Upload), link.store().flush()).await?;
        }
        if left == 0 {
            return Ok(());
        }
        let why =
            format!("{left} writes of {left_bytes} bytes have not arrived in slower tiers and still wait");
        Err(Error::Unavailable { store: self.chain.name.clone(), why })
    }

    /// Closes within the time that the builder was told; see [`Coordinator::close_within`].
    async fn close(&self) -> Result<()> {
        self.close_within(self.close_within).await.map(drop)
    }
}

impl Chain {
    fn listing(&self) -> Option<&Link> {
        let can = |link: &&Link| link.tier.read && link.store().capabilities().list;
        let own = self.links.iter().filter(|link| link.writes_through()).find(can);
        own.or_else(|| self.links.iter().find(can))
    }
}

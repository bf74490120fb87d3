//! Copies of what was found in slower tiers, into faster ones. Callers never wait for them.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use cache_core::{Digest, Entry, Key, PutMode, PutOutcome};
use tokio::sync::Notify;

use crate::background::{Work, work_off};
use crate::chain::Chain;
use crate::event::{Listener, TierEvent};
use crate::link::{Call, count};
use crate::push::Errand;
use crate::sending::Sending;
use crate::slots::Hold;
use crate::stats::PromotionStats;
use crate::turns::Urgency;

/// How much may wait to be copied into faster tiers. What is beyond that stays where it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PromotionLimits {
    /// Copies that wait.
    pub count: usize,
    /// Bytes in memory that they hold.
    pub bytes: u64,
    /// Bytes of a blob that is kept on its way to a caller; a larger one comes with the entry that names it.
    pub blob: u64,
    /// Copies made at once.
    pub at_once: usize,
}

impl Default for PromotionLimits {
    /// Returns limits that hold the outputs of some hundred compilations.
    fn default() -> Self {
        Self { count: 4096, bytes: 64 << 20, blob: 8 << 20, at_once: 4 }
    }
}

/// One copy to make.
#[derive(Debug)]
enum Job {
    Entry {
        key: Key,
        entry: Box<Entry>,
        from: usize,
        hold: Hold,
        writes: u64,
    },
    /// Not a copy yet: a look whether one is due.
    Check {
        key: Key,
        entry: Box<Entry>,
        from: usize,
        hold: Hold,
        writes: u64,
    },
    Blob {
        digest: Digest,
        content: Bytes,
        from: usize,
        deletions: u64,
    },
    Copy {
        digest: Digest,
        len: u64,
        from: usize,
    },
}

impl Job {
    /// Returns the bytes in memory that it holds.
    fn bytes(&self) -> u64 {
        match self {
            // What an output takes besides its path, roughly.
            Self::Entry { entry, .. } | Self::Check { entry, .. } => {
                entry.value.len() as u64 + 256 * (1 + entry.outputs.len() as u64)
            }
            Self::Blob { content, .. } => content.len() as u64,
            Self::Copy { .. } => 0,
        }
    }

    fn what(&self) -> String {
        match self {
            Self::Entry { key, .. } | Self::Check { key, .. } => format!("entry {key}"),
            Self::Blob { digest, .. } | Self::Copy { digest, .. } => format!("blob {digest}"),
        }
    }
}

/// The copies that wait, and those that are made.
#[derive(Debug)]
pub(crate) struct Promotions {
    limits: PromotionLimits,
    queue: Mutex<Queue>,
    changed: Arc<Notify>,
    idle: Notify,
}

#[derive(Debug, Default)]
struct Queue {
    jobs: VecDeque<Job>,
    running: usize,
    stats: PromotionStats,
}

impl Promotions {
    pub(crate) fn new(limits: PromotionLimits) -> Self {
        Self { limits, queue: Mutex::default(), changed: Arc::default(), idle: Notify::new() }
    }

    pub(crate) fn largest_blob(&self) -> u64 {
        self.limits.blob.min(self.limits.bytes)
    }

    pub(crate) fn add_blob(
        &self,
        listener: &Listener,
        digest: &Digest,
        content: Bytes,
        from: usize,
        deletions: u64,
    ) {
        self.add(listener, Job::Blob { digest: *digest, content, from, deletions });
    }

    pub(crate) fn add_copy(&self, listener: &Listener, digest: &Digest, len: u64, from: usize) {
        self.add(listener, Job::Copy { digest: *digest, len, from });
    }

    fn add(&self, listener: &Listener, job: Job) {
        let bytes = job.bytes();
        let mut queue = self.lock();
        let room = queue.jobs.len() < self.limits.count
            && queue.stats.waiting_bytes.saturating_add(bytes) <= self.limits.bytes;
        if room {
            queue.stats.waiting_bytes += bytes;
            queue.jobs.push_back(job);
            drop(queue);
            self.changed.notify_one();
        } else {
            queue.stats.dropped += 1;
            drop(queue);
            let what = job.what();
            listener.tell(|| TierEvent::NotPromoted { what: &what, why: "too many copies wait" });
        }
    }

    /// Counts `bytes` more that are kept in memory, if that is allowed.
    fn reserve(&self, bytes: u64) -> bool {
        let mut queue = self.lock();
        let room = queue.stats.waiting_bytes.saturating_add(bytes) <= self.limits.bytes;
        if room {
            queue.stats.waiting_bytes += bytes;
        }
        room
    }

    fn take(&self) -> Option<Job> {
        let mut queue = self.lock();
        let job = queue.jobs.pop_front()?;
        queue.running += 1;
        Some(job)
    }

    pub(crate) fn stats(&self) -> PromotionStats {
        let queue = self.lock();
        PromotionStats { waiting: (queue.jobs.len() + queue.running) as u64, ..queue.stats }
    }

    /// Waits until no copy waits or is made.
    pub(crate) async fn idle(&self) {
        loop {
            let idle = self.idle.notified();
            {
                let queue = self.lock();
                if queue.jobs.is_empty() && queue.running == 0 {
                    return;
                }
            }
            idle.await;
        }
    }

    /// Forgets what waits: it is still where it was.
    pub(crate) fn clear(&self) {
        let mut queue = self.lock();
        let waiting: u64 = queue.jobs.iter().map(Job::bytes).sum();
        queue.stats.dropped += queue.jobs.len() as u64;
        queue.stats.waiting_bytes -= waiting;
        let jobs = std::mem::take(&mut queue.jobs);
        drop(queue);
        // Outside the lock: each gives back its slot.
        drop(jobs);
        self.idle.notify_waiters();
    }

    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Tells the queue when a copy ends, however it ends.
struct Running {
    chain: Arc<Chain>,
    bytes: u64,
    done: bool,
}

impl Running {
    fn end(mut self, done: bool) {
        self.done = done;
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let promotions = &self.chain.promotions;
        let mut queue = promotions.lock();
        queue.running -= 1;
        queue.stats.waiting_bytes -= self.bytes;
        if self.done {
            queue.stats.done += 1;
        } else {
            queue.stats.failed += 1;
        }
        drop(queue);
        promotions.idle.notify_waiters();
    }
}

/// The start of a blob that is kept on its way to a caller.
pub(crate) struct Kept {
    chain: Arc<Chain>,
    pieces: Vec<Bytes>,
    bytes: u64,
}

impl Kept {
    pub(crate) fn new(chain: &Arc<Chain>) -> Self {
        Self { chain: Arc::clone(chain), pieces: Vec::new(), bytes: 0 }
    }

    /// Keeps one more piece, and returns whether that is allowed.
    pub(crate) fn push(&mut self, piece: &Bytes) -> bool {
        let promotions = &self.chain.promotions;
        let len = piece.len() as u64;
        let kept = self.bytes + len <= promotions.largest_blob() && promotions.reserve(len);
        if kept {
            self.bytes += len;
            self.pieces.push(piece.clone());
        }
        kept
    }

    pub(crate) fn take(mut self) -> Vec<Bytes> {
        std::mem::take(&mut self.pieces)
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        self.chain.promotions.lock().stats.waiting_bytes -= self.bytes;
    }
}

/// Makes copies for as long as it is polled.
pub(crate) async fn promote_all(chain: Arc<Chain>) {
    let (changed, at_once) = (Arc::clone(&chain.promotions.changed), chain.promotions.limits.at_once);
    let take = |chain: &Arc<Chain>| match chain.promotions.take() {
        Some(job) => Work::Job((Running { chain: Arc::clone(chain), bytes: job.bytes(), done: false }, job)),
        None => Work::Nothing(None),
    };
    work_off(chain, changed, at_once, take, |chain, (running, job)| async move {
        let done = chain.promote(job).await;
        running.end(done);
    })
    .await;
}

impl Chain {
    /// Has an entry that was found in the tier `from` copied into faster ones. `writes` is what the slot showed before
    /// that tier was asked.
    pub(crate) fn promote_entry(
        self: &Arc<Self>,
        key: &Key,
        entry: &Entry,
        from: usize,
        hold: Hold,
        writes: u64,
    ) {
        // Where one of its blobs does not fit, the entry would be incomplete.
        let largest = entry.blobs().map(|(_, len)| len).max().unwrap_or(0);
        if self.wants_blob(from, largest) {
            let job = Job::Entry { key: *key, entry: Box::new(entry.clone()), from, hold, writes };
            self.promotions.add(&self.listener, job);
        }
    }

    /// Has an entry that was found in the tier `from` compared with what slower tiers have.
    pub(crate) fn check_entry(&self, key: &Key, entry: &Entry, from: usize, (hold, writes): (Hold, u64)) {
        let job = Job::Check { key: *key, entry: Box::new(entry.clone()), from, hold, writes };
        self.promotions.add(&self.listener, job);
    }

    /// Makes one copy, and returns whether it is in all tiers that want it.
    async fn promote(self: Arc<Self>, job: Job) -> bool {
        let what = job.what();
        match job {
            Job::Entry { key, entry, from, hold, writes } => {
                let targets = self.promotion_targets(from).collect();
                self.promote_one_entry(&key, &entry, from, targets, PutMode::IfAbsent, (&hold, writes)).await
            }
            Job::Check { key, entry, from, hold, writes } => {
                let Some((newer, source)) = self.newer(&key, &entry, from).await else { return true };
                let targets = self.promotion_targets(from + 1).collect();
                self.promote_one_entry(&key, &newer, source, targets, PutMode::Overwrite, (&hold, writes))
                    .await
            }
            Job::Blob { digest, content, from, deletions } => {
                let copying = self.deletions.begin_copy(deletions, &digest);
                let mut all = copying.is_some();
                let targets = self.promotion_targets(from).filter(|_| copying.is_some());
                for to in targets.collect::<Vec<_>>() {
                    let len = content.len() as u64;
                    let mut sending = Sending::new(digest, len, content.clone().into());
                    let sent = self.send(to, &digest, len, &mut sending, Urgency::Prefetch).await;
                    all &= sent.is_ok()
                        && self
                            .undo_if_deleted(to, &digest, deletions, Urgency::Prefetch)
                            .await
                            .is_ok_and(|stays| stays);
                }
                self.tell_not_promoted(all, &what)
            }
            Job::Copy { digest, len, from } => {
                let mut all = true;
                for to in self.promotion_targets(from).collect::<Vec<_>>() {
                    all &= self.copy_blob(to, &digest, len, Urgency::Prefetch).await.is_ok_and(|found| found);
                }
                self.tell_not_promoted(all, &what)
            }
        }
    }

    fn tell_not_promoted(&self, done: bool, what: &str) -> bool {
        if !done {
            self.listener.tell(|| TierEvent::NotPromoted { what, why: "a tier did not take it" });
        }
        done
    }

    pub(crate) async fn promote_one_entry(
        self: &Arc<Self>,
        key: &Key,
        entry: &Entry,
        from: usize,
        targets: Vec<usize>,
        mode: PutMode,
        (hold, writes): (&Hold, u64),
    ) -> bool {
        let not = |why: &str| {
            let what = format!("entry {key}");
            self.listener.tell(|| TierEvent::NotPromoted { what: &what, why });
            false
        };
        let mut all = true;
        for to in targets {
            let link = self.link(to);
            match self.complete(to, entry, Urgency::Prefetch).await {
                Ok(true) => {}
                Ok(false) => return not("a blob that it names is gone"),
                Err(_) => {
                    all = not("a tier could not take its blobs");
                    continue;
                }
            }
            // While this is held nobody puts or removes; and if nobody has since the entry was read, it still counts.
            let _nobody_writes = hold.copy().await;
            if hold.writes() != writes {
                return not("it was written or removed meanwhile");
            }
            // What the tier has under a key for which it is skipped is an old entry.
            let mode = if link.shadow.contains(key) { PutMode::Overwrite } else { mode };
            let call = Call::new("put", Urgency::Prefetch);
            match link.call(call, link.store().put(key, entry, mode)).await {
                Ok(PutOutcome::Stored) => {
                    link.shadow.remove(key);
                    count(&link.counters.promoted);
                    self.listener.tell(|| TierEvent::Promoted { tier: link.name(), key });
                }
                Ok(PutOutcome::Present) => {}
                Err(_) => all = not("a tier did not take it"),
            }
        }
        // Slower than memory and disk, faster than where it was: a cache of the office in front of one far away.
        for to in (0..from).filter(|to| self.links[*to].background && self.links[*to].tier.promote) {
            self.pushes.add(&self.listener, to, self.link(to).name(), key, Errand::PutIfAbsent, entry.size());
        }
        all
    }
}

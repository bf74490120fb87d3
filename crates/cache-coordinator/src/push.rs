//! The write-back queue: what callers have stored in a fast tier, and a slow one still has to get.

use std::collections::{HashMap, VecDeque};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use cache_core::{Entry, Fingerprint, Key};
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::background::Work;
use crate::event::{Listener, TierEvent};
use crate::journal::{Journal, left_behind};
use crate::link::Link;
use crate::stats::PushStats;

/// What is written in the background, how much of it may wait, and where that is remembered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WriteBack {
    /// Directory of the journal, by which the next process learns what this one left; none is kept if nothing. It
    /// makes sense beside a tier that outlives the process as well.
    pub journal: Option<PathBuf>,
    /// Writes that wait.
    pub count: usize,
    /// Bytes of the entries that wait, their blobs included.
    pub bytes: u64,
    /// Entries with more bytes than this, blobs included, are not sent.
    pub max_entry: u64,
    /// Entries that took less time than this to make are not sent: they are made again faster than fetched.
    pub min_cost_ms: u64,
    /// Writes that are made at once.
    pub at_once: usize,
    /// How often one is tried while the tier answers. While its breaker is open, nothing is tried.
    pub attempts: u32,
}

impl Default for WriteBack {
    /// Returns limits that hold a large build: 10,000 entries and 4 GiB, of 256 MiB at most each.
    fn default() -> Self {
        Self {
            journal: None,
            count: 10_000,
            bytes: 4 << 30,
            max_entry: 256 << 20,
            min_cost_ms: 0,
            at_once: 4,
            attempts: 5,
        }
    }
}

/// Pause before the second attempt; it doubles with each further one.
const FIRST_PAUSE: Duration = Duration::from_millis(500);
/// Pause after which a tier whose breaker says nothing about time is looked at again.
const LOOK_AGAIN: Duration = Duration::from_secs(1);
/// Shortest pause, whatever clocks say.
const SHORTEST_PAUSE: Duration = Duration::from_millis(10);

/// What is to be done in a tier.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Errand {
    Put,
    PutIfAbsent,
    Remove,
}

impl Errand {
    /// Returns the number in the journal. Never renumbered.
    pub(crate) const fn code(self) -> u8 {
        match self {
            Self::Put => 1,
            Self::PutIfAbsent => 2,
            Self::Remove => 3,
        }
    }

    pub(crate) fn from_code(code: u8) -> Option<Self> {
        [Self::Put, Self::PutIfAbsent, Self::Remove].into_iter().find(|errand| errand.code() == code)
    }

    /// Returns what is to be done if this was, and then `next`.
    fn then(self, next: Self) -> Self {
        match next {
            // It was absent here because of what came before: what the tier still has is old.
            Self::PutIfAbsent if self != Self::PutIfAbsent => Self::Put,
            next => next,
        }
    }
}

/// A tier, by its place in the chain, and a key.
type Id = (usize, Key);

#[derive(Debug)]
struct Job {
    errand: Errand,
    bytes: u64,
    attempts: u32,
    not_before: Option<Instant>,
    running: bool,
    /// What to do when that which is running has ended.
    then: Option<(Errand, u64)>,
    /// Whether something newer was stored since it runs, so that what arrives is old.
    overtaken: bool,
}

/// How an errand ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// It is done, and the tier has what it should.
    Done,
    /// It is done, and the tier kept what it had.
    Kept,
    /// It failed, and may succeed later.
    Failed(String),
    /// The tier is not asked for now.
    Paused,
    /// It cannot be done any more.
    Lost(String),
}

/// The queue.
#[derive(Debug)]
pub(crate) struct Pushes {
    pub(crate) settings: WriteBack,
    queue: Mutex<Queue>,
    pub(crate) changed: Arc<Notify>,
    idle: Notify,
}

#[derive(Debug, Default)]
struct Queue {
    jobs: HashMap<Id, Job>,
    /// Keys of those that wait for each tier, in order; stale ones are skipped.
    order: Vec<VecDeque<Key>>,
    /// The tier that is looked at first, in turn.
    turn: usize,
    bytes: u64,
    journal: Option<Journal>,
    /// Names of the tiers, as the journal knows them.
    tiers: Vec<Fingerprint>,
    stats: PushStats,
}

impl Pushes {
    /// Returns the queue of `links`, with what earlier processes left behind.
    pub(crate) fn new(settings: WriteBack, links: &[Link], listener: &Listener) -> Self {
        let tiers = links.iter().map(|link| Fingerprint::of(link.name().as_bytes())).collect();
        let order = vec![VecDeque::new(); links.len()];
        let mut queue = Queue { order, tiers, ..Queue::default() };
        if let Some(directory) =
            settings.journal.as_ref().filter(|_| links.iter().any(|link| link.background))
        {
            match Journal::create(directory) {
                Ok(journal) => {
                    queue.journal = Some(journal);
                    queue.pick_up(&settings, links, listener);
                }
                Err(error) => queue.journal_failed(listener, &error),
            }
        }
        Self { settings, queue: Mutex::new(queue), changed: Arc::default(), idle: Notify::new() }
    }

    /// Queues something for a tier, unless the queue is full.
    pub(crate) fn add(
        &self,
        listener: &Listener,
        tier: usize,
        name: &str,
        key: &Key,
        errand: Errand,
        bytes: u64,
    ) {
        let mut queue = self.lock();
        if queue.add(&self.settings, (tier, *key), errand, bytes) {
            queue.stats.queued += 1;
            let fingerprint = queue.tiers[tier];
            queue.note(listener, |journal| journal.queued(fingerprint, key, errand, bytes));
            drop(queue);
            self.changed.notify_one();
        } else {
            queue.stats.dropped += 1;
            drop(queue);
            listener.tell(|| TierEvent::NotPushed { tier: name, key, why: "the queue is full" });
        }
    }

    /// Counts and tells that an entry is not sent because of the filters.
    pub(crate) fn filtered(&self, listener: &Listener, tier: usize, name: &str, key: &Key) {
        self.cancel(tier, key, listener);
        self.lock().stats.filtered += 1;
        listener.tell(|| TierEvent::NotPushed { tier: name, key, why: "the filters keep it out" });
    }

    /// Returns whether the filters let `entry` through to `link`.
    pub(crate) fn wants(&self, link: &Link, entry: &Entry) -> bool {
        entry.size() <= self.settings.max_entry
            && entry.meta.cost_ms >= self.settings.min_cost_ms
            && entry.value.len() as u64 <= link.store().capabilities().max_value
    }

    /// Skips `link` for `key` from now on, whatever is on its way there, and returns whether it was not skipped before.
    pub(crate) fn outdate(&self, tier: usize, link: &Link, key: &Key) -> bool {
        let mut queue = self.lock();
        if let Some(job) = queue.jobs.get_mut(&(tier, *key)) {
            // One that waits may begin and end before the new entry is in the faster tiers.
            job.overtaken = true;
        }
        // Under the lock: what has just arrived must not make the tier count again after this.
        link.shadow.insert(key)
    }

    /// Takes what waits under `key` out of the queue; returns whether something is under way, which cannot be stopped.
    pub(crate) fn cancel(&self, tier: usize, key: &Key, listener: &Listener) -> bool {
        let mut queue = self.lock();
        let id = (tier, *key);
        let Some(job) = queue.jobs.get_mut(&id) else { return false };
        if job.running {
            job.overtaken = true;
            let replaced = job.then.take();
            if let Some((_, bytes)) = replaced {
                queue.bytes -= bytes;
                queue.stats.replaced += 1;
            }
            return true;
        }
        queue.stats.replaced += 1;
        queue.end(listener, &id);
        drop(queue);
        self.idle.notify_waiters();
        false
    }

    /// Returns the next errand for a tier that `allows` passes.
    pub(crate) fn take(&self, links: &[Link]) -> Work<(usize, Key, Errand)> {
        let now = Instant::now();
        let mut queue = self.lock();
        let mut pause: Option<Duration> = None;
        let mut wait = |time: Duration| pause = Some(pause.map_or(time, |other| other.min(time)));
        queue.turn = queue.turn.wrapping_add(1);
        for tier in (0..links.len()).map(|step| (queue.turn + step) % links.len()).collect::<Vec<_>>() {
            let link = &links[tier];
            if queue.order[tier].is_empty() {
                continue;
            }
            if !link.allows() {
                wait(link.closed_for().unwrap_or(LOOK_AGAIN).max(SHORTEST_PAUSE));
                continue;
            }
            for _ in 0..queue.order[tier].len() {
                let Some(key) = queue.order[tier].pop_front() else { break };
                let Some(job) = queue.jobs.get_mut(&(tier, key)).filter(|job| !job.running) else { continue };
                let rest = job.not_before.map_or(Duration::ZERO, |time| time.saturating_duration_since(now));
                if rest.is_zero() {
                    job.running = true;
                    return Work::Job((tier, key, job.errand));
                }
                wait(rest.max(SHORTEST_PAUSE));
                queue.order[tier].push_back(key);
            }
        }
        Work::Nothing(pause)
    }

    /// Takes notice of how an errand ended. `arrived` runs, under the lock, if the tier has what it should now.
    pub(crate) fn finish(
        &self,
        listener: &Listener,
        (tier, key): (usize, &Key),
        name: &str,
        end: End,
        arrived: impl FnOnce(),
    ) {
        let id = (tier, *key);
        let mut queue = self.lock();
        let Some(job) = queue.jobs.get_mut(&id) else { return };
        job.running = false;
        let overtaken = job.overtaken;
        let mut why = None;
        if let Some((errand, bytes)) = job.then.take() {
            job.overtaken = false;
            let before = std::mem::replace(&mut job.bytes, bytes);
            (job.errand, job.attempts, job.not_before) = (errand, 0, None);
            queue.bytes -= before;
            queue.order[tier].push_back(*key);
            if matches!(end, End::Done | End::Kept) {
                queue.stats.done += 1;
            } else {
                queue.stats.replaced += 1;
            }
        } else {
            match end {
                End::Done | End::Kept => {
                    if end == End::Done && !overtaken {
                        arrived();
                    }
                    queue.stats.done += 1;
                    queue.end(listener, &id);
                }
                End::Paused => queue.order[tier].push_back(*key),
                End::Failed(_) if job.attempts + 1 < self.settings.attempts => {
                    job.not_before =
                        Some(Instant::now() + FIRST_PAUSE * 2_u32.saturating_pow(job.attempts.min(8)));
                    job.attempts += 1;
                    queue.order[tier].push_back(*key);
                }
                End::Failed(last) => why = Some(last),
                End::Lost(reason) => why = Some(reason),
            }
        }
        if why.is_some() {
            queue.stats.lost += 1;
            queue.end(listener, &id);
        }
        drop(queue);
        if let Some(why) = why {
            listener.tell(|| TierEvent::NotPushed { tier: name, key, why: &why });
        }
        self.idle.notify_waiters();
        self.changed.notify_one();
    }

    /// Returns the entries that wait or are under way, each with the tier that it goes to.
    pub(crate) fn waiting(&self) -> Vec<(usize, Key)> {
        let queue = self.lock();
        let sends = |job: &Job| job.then.map_or(job.errand, |(errand, _)| errand) != Errand::Remove;
        queue.jobs.iter().filter(|(_, job)| sends(job)).map(|(id, _)| *id).collect()
    }

    pub(crate) fn stats(&self) -> PushStats {
        let queue = self.lock();
        PushStats { waiting: queue.jobs.len() as u64, waiting_bytes: queue.bytes, ..queue.stats }
    }

    /// Waits until nothing waits and nothing is under way.
    pub(crate) async fn idle(&self) {
        loop {
            let idle = self.idle.notified();
            if self.lock().jobs.is_empty() {
                return;
            }
            idle.await;
        }
    }

    /// Lets go of the journal: removes it if nothing waits, leaves it to the next process if something does.
    pub(crate) fn release(&self, listener: &Listener) {
        let mut queue = self.lock();
        let Some(journal) = queue.journal.take() else { return };
        if queue.jobs.is_empty()
            && let Err(error) = journal.discard()
        {
            queue.journal_failed(listener, &error);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Queue {
    /// Returns whether there was room.
    fn add(&mut self, settings: &WriteBack, id: Id, errand: Errand, bytes: u64) -> bool {
        let others = self.jobs.get(&id).map_or(0, |job| if job.running { 0 } else { job.bytes });
        let waiting = self.bytes - others;
        // A removal has no bytes and matters more than the count, up to twice of it.
        let count = if errand == Errand::Remove { settings.count.saturating_mul(2) } else { settings.count };
        let known = self.jobs.contains_key(&id);
        if (!known && self.jobs.len() >= count) || waiting.saturating_add(bytes) > settings.bytes {
            return false;
        }
        match self.jobs.get_mut(&id) {
            Some(job) if job.running => {
                let (before, others) = job.then.map_or((job.errand, 0), |(errand, bytes)| (errand, bytes));
                self.stats.replaced += u64::from(job.then.is_some());
                job.then = Some((before.then(errand), bytes));
                job.overtaken = true;
                self.bytes = self.bytes - others + bytes;
            }
            Some(job) => {
                self.stats.replaced += 1;
                self.bytes = waiting + bytes;
                (job.errand, job.bytes) = (job.errand.then(errand), bytes);
                (job.attempts, job.not_before, job.overtaken) = (0, None, false);
            }
            None => {
                self.bytes += bytes;
                let job = Job {
                    errand,
                    bytes,
                    attempts: 0,
                    not_before: None,
                    running: false,
                    then: None,
                    overtaken: false,
                };
                self.jobs.insert(id, job);
                self.order[id.0].push_back(id.1);
            }
        }
        true
    }

    /// Takes a job out for good.
    fn end(&mut self, listener: &Listener, id: &Id) {
        if let Some(job) = self.jobs.remove(id) {
            self.bytes -= job.bytes;
        }
        let tier = self.tiers[id.0];
        self.note(listener, |journal| journal.done(tier, &id.1));
    }

    /// Writes to the journal, if there is one, and keeps it small.
    fn note(&mut self, listener: &Listener, write: impl FnOnce(&mut Journal) -> cache_core::Result<()>) {
        let Some(journal) = &mut self.journal else { return };
        let tiers = &self.tiers;
        let wanted = self.jobs.iter().map(|((tier, key), job)| {
            let (errand, bytes) = job.then.unwrap_or((job.errand, job.bytes));
            (tiers[*tier], *key, errand, bytes)
        });
        if let Err(error) = write(journal).and_then(|()| journal.compact(wanted)) {
            self.journal_failed(listener, &error);
        }
    }

    fn journal_failed(&mut self, listener: &Listener, error: &cache_core::Error) {
        self.stats.journal_failures += 1;
        listener.tell(|| TierEvent::Journal { error });
    }

    /// Takes over what processes that are gone left behind.
    fn pick_up(&mut self, settings: &WriteBack, links: &[Link], listener: &Listener) {
        let Some(journal) = &self.journal else { return };
        let Some(directory) = &settings.journal else { return };
        let (left, errors) = left_behind(directory, journal.path());
        for error in errors {
            self.journal_failed(listener, &error);
        }
        for left in left {
            let place = |fingerprint: &Fingerprint| {
                self.tiers.iter().zip(links).position(|(tier, link)| tier == fingerprint && link.background)
            };
            let known: Option<Vec<_>> = left
                .wanted
                .iter()
                .map(|((tier, key), (errand, bytes))| Some(((place(tier)?, *key), *errand, *bytes)))
                .collect();
            let bytes = left.wanted.values().fold(0_u64, |sum, (_, bytes)| sum.saturating_add(*bytes));
            let room = self.jobs.len() + left.wanted.len() <= settings.count
                && self.bytes.saturating_add(bytes) <= settings.bytes;
            // For a chain with other tiers, or for a process with more room: it stays.
            let Some(known) = known.filter(|_| room) else { continue };
            for (id, errand, bytes) in known {
                if self.add(settings, id, errand, bytes) {
                    self.stats.picked_up += 1;
                    links[id.0].shadow.insert(&id.1);
                    let tier = self.tiers[id.0];
                    self.note(listener, |journal| journal.queued(tier, &id.1, errand, bytes));
                }
            }
            if let Err(error) = left.discard() {
                self.journal_failed(listener, &error);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Errand::{Put, PutIfAbsent, Remove};
    use super::*;

    #[test]
    fn of_two_errands_one_is_run() {
        for first in [Put, PutIfAbsent, Remove] {
            assert_eq!((first.then(Put), first.then(Remove)), (Put, Remove));
            assert_eq!(Errand::from_code(first.code()), Some(first));
        }
        // What a put or a removal would have replaced must go.
        assert_eq!([Put, PutIfAbsent, Remove].map(|first| first.then(PutIfAbsent)), [Put, PutIfAbsent, Put]);
        assert_eq!(Errand::from_code(4), None, "that is another record of the journal");
    }
}

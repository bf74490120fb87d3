//! Eviction: the oldest segment goes, and what was used in it gets a second life in the main log.
//!
//! Source: Yang et al., "FIFO queues are all you need for cache eviction", SOSP 2023 (S3-FIFO), here by segment instead
//! of by object.

use std::fs::File;
use std::io;
use std::sync::PoisonError;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use super::control::State;
use super::index::Spot;
use super::record::{ALIGN, Class, Place, Position, Worth};
use super::seal::Item;
use super::{Log, files, sys};

/// Part of the limit that belongs to the probation log, in percent.
const PROBATION_PERCENT: u64 = 10;
/// Most of a segment that gets a second life, in percent: reclaiming one always makes room.
const KEEP_PERCENT: u64 = 65;
/// Most of a segment that gets a second life where somebody has pinned it.
const PINNED_PERCENT: u64 = 75;
/// From this many records in a segment on, all of the index is looked at to learn which were used.
const MANY: usize = 20_000;
/// How long a waiting process sleeps before it asks for the evictor's lock again.
const POLL: Duration = Duration::from_millis(2);

/// What a writer has not finished for this long it will not finish.
pub(crate) const LEFTOVER: Duration = Duration::from_hours(1);

/// Fewest records that are looked at for a second life in a slice.
const FEWEST: usize = 64;

/// A record that may be kept, and why.
#[derive(Debug)]
struct Candidate {
    item: Item,
    /// How often it was used; [`PINNED`] if somebody needs it.
    hits: u8,
}

/// More than any record is hit.
const PINNED: u8 = u8::MAX;

/// The reclaiming of a segment, which may be done piece by piece.
#[derive(Debug)]
pub(super) struct Job {
    class: Class,
    number: u64,
    /// Records in the segment.
    records: u64,
    /// What is in it, until it is known what of that was used.
    items: Vec<Item>,
    /// What was used, the most used last.
    used: Vec<Candidate>,
    /// Bytes that may still be kept, and those that may be if somebody needs them.
    budget: u64,
    pinned_budget: u64,
    kept: u64,
    /// Bytes of the large payloads that were kept.
    kept_large: u64,
    buffer: Vec<u8>,
}

/// What the thread that evicts has.
#[derive(Debug, Default)]
pub(super) struct Evictor {
    /// The lock that makes it the only one among all processes, once it was needed.
    lock: Option<File>,
    /// What it has begun and not finished.
    job: Option<Job>,
}

/// How much of the work somebody does who makes room.
#[derive(Clone, Copy, Debug)]
pub(super) enum Effort {
    /// All of it. Waits until this moment for somebody else who is at it.
    All(Instant),
    /// A segment. Waits until this moment, if there is one, for somebody else who is at it.
    Segment(Option<Instant>),
    /// A part of it, unless somebody else is at it: as much as has to be done for each lease of so many bytes, so that all of it
    /// is done when half of the room that is left is used.
    Slice(u64),
}

impl Log {
    /// Makes room for a segment. Returns whether anything was done, or somebody else is about to.
    pub(super) fn make_room(&self, effort: Effort) -> io::Result<bool> {
        self.make_room_for(0, effort)
    }

    /// As [`make_room`](Self::make_room), for `more` bytes besides a segment.
    pub(super) fn make_room_for(&self, more: u64, effort: Effort) -> io::Result<bool> {
        let limit = self.settings.max_bytes.unwrap_or(u64::MAX);
        if more.saturating_add(self.index.bytes()).saturating_add(2 * self.segment()) > limit {
            return Ok(false);
        }
        let goal = limit.saturating_sub(more).saturating_sub(self.segment());
        let deadline = match effort {
            Effort::All(deadline) => Some(deadline),
            Effort::Segment(deadline) => deadline,
            Effort::Slice(_) => None,
        };
        self.evicting(deadline, |unfinished| {
            let mut done = false;
            // A bounded number of steps: each takes the oldest segment of a log.
            while let Some(state) = self.control.peek() {
                let bytes = self.index.bytes().saturating_add(state.bytes());
                let crowded = self.settings.max_records.is_some_and(|max| state.counters.records >= max);
                let low = self.is_disk_low_for(self.segment().saturating_add(more));
                let full = bytes > goal || crowded || (low && !done);
                if !full {
                    break;
                }
                let going_on =
                    unfinished.take().filter(|job| job.number >= state.logs[job.class as usize].oldest);
                let began = going_on.is_none();
                let next = match going_on {
                    Some(job) => Some(job),
                    None => self.begin_next(&state)?,
                };
                let Some(mut job) = next else { break };
                if let Effort::Slice(lease) = effort {
                    let left = limit.saturating_sub(bytes).max(2 * lease);
                    let share = job.used.len() as u128 * u128::from(2 * lease) / u128::from(left);
                    // To learn what is there takes long enough, and so does to learn what was used.
                    let learned = began || self.judge(&mut job)?;
                    if learned || !self.keep_some(&mut job, FEWEST.max(share as usize))? {
                        *unfinished = Some(job);
                    } else {
                        self.finish(&job)?;
                    }
                    break;
                }
                self.keep_some(&mut job, usize::MAX)?;
                self.finish(&job)?;
                done = true;
                // The next segment is for the next lease.
                if matches!(effort, Effort::Segment(_)) {
                    break;
                }
            }
            // Somebody else may have made room meanwhile.
            Ok(true)
        })
        .map(|done| done.unwrap_or(deadline.is_some()))
    }

    fn is_disk_low_for(&self, more: u64) -> bool {
        crate::disk::space(&self.root)
            .is_some_and(|space| space.free < self.settings.free_space_floor.saturating_add(more))
    }

    /// Runs `work` as the one process that evicts; nothing if another one is at it.
    pub(super) fn evicting<T>(
        &self,
        deadline: Option<Instant>,
        work: impl FnOnce(&mut Option<Job>) -> io::Result<T>,
    ) -> io::Result<Option<T>> {
        let mut evictor = loop {
            match self.evictor.try_lock() {
                Ok(evictor) => break evictor,
                Err(std::sync::TryLockError::Poisoned(poisoned)) => break PoisonError::into_inner(poisoned),
                Err(std::sync::TryLockError::WouldBlock) => {}
            }
            if deadline.is_none_or(|deadline| Instant::now() >= deadline) {
                return Ok(None);
            }
            std::thread::sleep(POLL);
        };
        let Evictor { lock, job } = &mut *evictor;
        let lock = match lock {
            Some(lock) => lock,
            none => none.insert(sys::open_or_create(&self.root.join("locks").join("evict"))?),
        };
        loop {
            if let Some(_held) = sys::Flock::try_new(lock)? {
                return work(job).map(Some);
            }
            if deadline.is_none_or(|deadline| Instant::now() >= deadline) {
                return Ok(None);
            }
            std::thread::sleep(POLL);
        }
    }

    /// Begins with a segment of the log that has more than its share; nothing if there is none to reclaim.
    fn begin_next(&self, state: &State) -> io::Result<Option<Job>> {
        let segment = self.segment();
        let [probation, main] = &state.logs;
        let limit = self.settings.max_bytes.unwrap_or_else(|| state.bytes());
        let over = probation.bytes() >= limit / 100 * PROBATION_PERCENT;
        let closed = |class: Class| {
            let log = &state.logs[class as usize];
            log.oldest < log.tail.saturating_sub(1) / segment
        };
        let order = if over { Class::ALL } else { [Class::Main, Class::Probation] };
        if let Some(class) = order.into_iter().find(|&class| closed(class)) {
            return self.begin(class, state.logs[class as usize].oldest).map(Some);
        }
        // Only segments that are still written to: the fuller one is closed early.
        let class = if probation.bytes() >= main.bytes() { Class::Probation } else { Class::Main };
        let log = &state.logs[class as usize];
        if log.tail == log.oldest * segment {
            return Ok(None);
        }
        self.control.update(
            || self.recover(),
            |state| {
                state.log(class).close(segment);
                Ok(())
            },
        )?;
        self.begin(class, log.oldest).map(Some)
    }

    /// Gives what was used in a segment a second life, and removes the segment.
    pub(super) fn reclaim(&self, class: Class, number: u64) -> io::Result<()> {
        let mut job = self.begin(class, number)?;
        self.keep_some(&mut job, usize::MAX)?;
        self.finish(&job)
    }

    /// Removes a segment of which all is kept that should be.
    fn finish(&self, job: &Job) -> io::Result<()> {
        let &Job { class, number, records, kept, kept_large, .. } = job;
        let (held, large) = (self.files.bytes(class, number), self.large_bytes(class, number));
        // A segment that somebody has removed was counted all the same: then what is left is counted anew.
        let gone = self.files.path(class, number).symlink_metadata().is_err();
        let actual = if gone { Some(self.count_files(class)?) } else { None };
        let now = self.now();
        // First it is no more counted, then it goes: what a kill in between leaves is below the oldest and swept away.
        self.control.update(
            || self.recover(),
            |state| {
                let main = state.log(Class::Main);
                main.large = main.large.saturating_add(kept_large);
                main.large_here = main.large_here.saturating_add(kept_large);
                let log = state.log(class);
                if log.oldest > number {
                    // Another process has begun later, and was faster.
                    return Ok(());
                }
                log.oldest = number + 1;
                log.tail = log.tail.max(log.oldest * self.segment());
                log.allocated = log.allocated.max(log.oldest * self.segment());
                (log.held, log.large) = match actual {
                    Some(actual) => actual,
                    None => (log.held.saturating_sub(held), log.large.saturating_sub(large)),
                };
                state.reclaimed_at = now;
                let counters = &mut state.counters;
                counters.reclaimed += 1;
                counters.evicted += records.saturating_sub(kept);
                counters.records = counters.records.saturating_sub(records);
                *(if class == Class::Main { &mut counters.kept } else { &mut counters.promoted }) += kept;
                Ok(())
            },
        )?;
        self.note_reclaimed(class, number + 1);
        self.sweep(class, number + 1)?;
        // What processes that died have left there is nobody's.
        let _ = self.remove_leftovers(LEFTOVER, false);
        Ok(())
    }

    /// Removes the segments below `oldest`.
    fn sweep(&self, class: Class, oldest: u64) -> io::Result<()> {
        let dir = self.root.join("log");
        for number in files::numbers(&dir, class)?.into_iter().take_while(|&number| number < oldest) {
            self.remove_segment(class, number)?;
        }
        Ok(())
    }

    fn remove_segment(&self, class: Class, number: u64) -> io::Result<()> {
        self.files.remove(class, number)?;
        match sys::remove_dir_all(&self.large_dir(class, number)) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => Err(e),
            _ => Ok(()),
        }
    }

    /// Begins to reclaim a segment: finds out what is in it.
    fn begin(&self, class: Class, number: u64) -> io::Result<Job> {
        let items = self.items(class, number)?;
        let (records, large) = (items.len() as u64, self.large_bytes(class, number));
        let part = (self.segment() + large) / 100;
        Ok(Job {
            class,
            number,
            records,
            items,
            used: Vec::new(),
            budget: part * KEEP_PERCENT,
            pinned_budget: part * PINNED_PERCENT,
            kept: 0,
            kept_large: 0,
            buffer: Vec::new(),
        })
    }

    /// Finds out what was used in the segment, unless that is known; returns whether there was something to find out.
    fn judge(&self, job: &mut Job) -> io::Result<bool> {
        let items = std::mem::take(&mut job.items);
        let new = !items.is_empty();
        if new {
            let pinned = self.pinned();
            let is_pinned = |item: &Item| !pinned.is_empty() && pinned.contains(&(item.kind, item.key));
            let (needed, others): (Vec<_>, Vec<_>) = items.into_iter().partition(is_pinned);
            job.used = self.used_of(job.class, job.number, others)?;
            job.used.extend(needed.into_iter().map(|item| Candidate { item, hits: PINNED }));
            // Of those that were used as much, the newer ones.
            job.used.sort_unstable_by_key(|candidate| (candidate.hits, candidate.item.offset));
        }
        Ok(new)
    }

    fn used_of(&self, class: Class, number: u64, items: Vec<Item>) -> io::Result<Vec<Candidate>> {
        let start = number * self.segment();
        let mut used: Vec<Candidate> = Vec::new();
        if items.len() >= MANY {
            // A look at all of the index costs less than one at a bucket for each of so many.
            let mut hits_at = vec![0; (self.segment() / ALIGN) as usize];
            self.index.used_in(Position { class, byte: start }, self.segment(), |byte, hits| {
                let most = &mut hits_at[((byte - start) / ALIGN) as usize];
                *most = hits.max(*most);
            })?;
            let hits_of = |item: Item| Candidate { item, hits: hits_at[(item.offset / ALIGN) as usize] };
            used.extend(items.into_iter().map(hits_of).filter(|candidate| candidate.hits > 0));
            return Ok(used);
        }
        for item in items {
            let position = Position { class, byte: start + item.offset };
            let spot = Spot::of_key(item.kind, &item.key);
            // Dead records have no slot.
            let Some(found) = self.index.at(&spot, position)? else { continue };
            let hits = if found.hits > 0 { found.hits } else { self.hits_of_content(&item, position)? };
            if hits > 0 {
                used.push(Candidate { item, hits });
            }
        }
        Ok(used)
    }

    /// Moves the most used of the records that were used to the main log, of at most `count` of them, as many as there is room
    /// for; returns whether that were all.
    fn keep_some(&self, job: &mut Job, count: usize) -> io::Result<bool> {
        self.judge(job)?;
        for _ in 0..count {
            let Some(candidate) = job.used.pop() else { break };
            match self.keep_one(job, &candidate) {
                Ok(Some(large)) => {
                    let bytes = candidate.item.len.saturating_add(large);
                    job.budget = job.budget.saturating_sub(bytes);
                    job.pinned_budget = job.pinned_budget.saturating_sub(bytes);
                    job.kept += 1;
                    job.kept_large += super::large::disk_len(large);
                }
                Ok(None) => {}
                // With no room for what is kept, nothing more is kept: making room goes on.
                Err(e) if super::space::is_full(&e) => job.used.clear(),
                Err(e) => return Err(e),
            }
        }
        Ok(job.used.is_empty())
    }

    /// Returns how often the payload of a record was read for its duplicates.
    fn hits_of_content(&self, item: &Item, position: Position) -> io::Result<u8> {
        if item.len < super::write::DUPLICATES_FROM || !super::write::is_shared(item.kind) {
            return Ok(0);
        }
        let Some(header) = self.read_header(position)? else { return Ok(0) };
        let spot = Spot::of_content(header.fingerprint.to_bytes(), header.payload_len);
        Ok(self.index.at(&spot, position)?.map_or(0, |found| found.hits))
    }

    /// Moves a record to the main log, if the budget allows it; returns the bytes of its large payload.
    fn keep_one(&self, job: &mut Job, candidate: &Candidate) -> io::Result<Option<u64>> {
        let Candidate { item, hits } = candidate;
        let position = Position { class: job.class, byte: job.number * self.segment() + item.offset };
        let Some(header) = self.read_header(position)? else { return Ok(None) };
        let large = if header.place == Place::File { header.payload_len } else { 0 };
        let expired = header.expires != 0 && header.expires <= self.now();
        let (worthy, budget) = match *hits {
            PINNED => (true, job.pinned_budget),
            _ => (header.worth != Worth::Low, job.budget),
        };
        if !worthy || expired || item.len.saturating_add(large) > budget {
            return Ok(None);
        }
        let spot = Spot::of_key(item.kind, &item.key);
        let Some(found) = self.index.at(&spot, position)? else { return Ok(None) };
        let Some(new) = self.keep(&header, &found, &spot, &mut job.buffer)? else {
            return Ok(None);
        };
        if job.class == Class::Main && *hits > 1 && *hits != PINNED {
            self.index.set_hits(&new, hits - 1);
        }
        Ok(Some(large))
    }

    /// Returns the oldest segments, by log, as far as this process knows; nothing if none was ever reclaimed.
    pub(super) fn reclaimed_until(&self) -> Option<[u64; 2]> {
        let oldest = [0, 1].map(|log| self.oldest[log].load(Ordering::Relaxed));
        (oldest != [1, 1]).then_some(oldest)
    }

    pub(super) fn note_reclaimed(&self, class: Class, oldest: u64) {
        self.oldest[class as usize].fetch_max(oldest, Ordering::Relaxed);
    }
}

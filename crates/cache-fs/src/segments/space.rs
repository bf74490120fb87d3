//! Room in the logs: leases, limits, and what a boot changes.

use std::fs::File;
use std::io;
use std::sync::{Arc, PoisonError};
use std::time::Instant;

use super::control::{LogState, State};
use super::reclaim::Effort;
use super::record::{Class, Position};
use super::{Log, PATIENCE, files, sys};

/// Most bytes that a process leases at a time: what it leaves unused when it ends is lost until its segment is reclaimed.
const MAX_LEASE: u64 = 256 << 10;
/// Bytes for which the disk is asked at a time; of a log that is larger already, as many as it has.
const CHUNK: u64 = 4 << 20;
/// Records for which a lease should have room to be worth a preparation.
const MANY: u64 = 4;
/// How often room is made for one put before it is given up.
const ATTEMPTS: u32 = 8;

/// A piece of a log that this process alone writes to.
#[derive(Debug, Default)]
pub(super) struct Lease {
    next: u64,
    end: u64,
    /// Bytes leased so far: who writes much leases much.
    total: u64,
}

/// Room for one record.
#[derive(Debug)]
pub(super) struct Room {
    pub(super) position: Position,
    pub(super) file: Arc<File>,
}

/// What a store has, and what a lease must not take it beyond even if a limit is lower.
#[derive(Clone, Copy, Debug, Default)]
struct Extent {
    bytes: u64,
    records: u64,
}

/// What became of the wish for a lease.
enum Grant {
    /// A lease, and whether room should be made for the next one.
    Lease { start: u64, end: u64, tight: bool, fresh: bool },
    /// Room has to be made first; what the store has until then.
    Full(Extent),
}

impl Log {
    /// Returns room for a record of `len` bytes whose position is greater than `after`. Makes room if there is none,
    /// unless it is room for what the evictor keeps.
    pub(super) fn reserve(&self, class: Class, len: u64, after: u64, evicting: bool) -> io::Result<Room> {
        let deadline = Instant::now() + PATIENCE;
        // A store that is far beyond a limit, because that was lowered, shrinks by a segment for each lease. To make it fit at
        // once, somebody would have to wait for all of that.
        let mut before = None;
        for _ in 0..ATTEMPTS {
            let mut lease = self.leases[class as usize].lock().unwrap_or_else(PoisonError::into_inner);
            if lease.next <= after {
                // What another process has stored since this lease was taken comes before what is stored now.
                lease.next = lease.end;
            }
            let mut tight = false;
            let mut fresh = None;
            if lease.end - lease.next < len {
                let size = lease.total.clamp(len, MAX_LEASE.max(len));
                match self.grant(class, len, size, after, evicting, before)? {
                    Grant::Lease { start, end, tight: is_tight, fresh: is_fresh } => {
                        *lease = Lease { next: start, end, total: lease.total + (end - start) };
                        if (end - start) / MANY >= len {
                            self.warm(class, start, end);
                        }
                        tight = is_tight;
                        fresh = is_fresh.then_some(start / self.segment());
                    }
                    Grant::Full(_) if evicting => return Err(io::ErrorKind::StorageFull.into()),
                    Grant::Full(extent) => {
                        drop(lease);
                        if Instant::now() >= deadline || !self.make_room(Effort::Segment(Some(deadline)))? {
                            return Err(io::ErrorKind::StorageFull.into());
                        }
                        before = Some(extent);
                        continue;
                    }
                }
            }
            let byte = lease.next;
            lease.next += len;
            // Who stores much comes by often enough to do the work in pieces.
            let often = lease.total > MAX_LEASE / 4;
            let effort = if often { Effort::Slice(MAX_LEASE) } else { Effort::Segment(None) };
            drop(lease);
            // Whoever has begun a segment seals the one before the last: nobody writes to it any more.
            if let Some(number) = fresh {
                let _ = self.seal(class, number.saturating_sub(2));
            }
            if tight && !evicting && before.is_none() && !(often && fresh.is_some()) {
                // This put has its room; that none could be made for the next one is for the next one to say.
                let _ = self.make_room(effort);
            }
            if let Some(file) = self.files.get(class, byte / self.segment())? {
                return Ok(Room { position: Position { class, byte }, file });
            }
            // The segment has been reclaimed while this process kept its lease; or it was lost, and no other lease should be
            // in it.
            *self.leases[class as usize].lock().unwrap_or_else(PoisonError::into_inner) = Lease::default();
            self.control.update(
                || self.recover(),
                |state| {
                    let (log, segment) = (state.log(class), self.segment());
                    if log.tail / segment == byte / segment {
                        log.close(segment);
                    }
                    Ok(())
                },
            )?;
        }
        Err(io::ErrorKind::StorageFull.into())
    }

    /// Writes zeros to a lease that is for many records. The page cache makes room for all of it at once then, which costs a
    /// third of making room for each record.
    fn warm(&self, class: Class, start: u64, end: u64) {
        // Where it fails, the records say so.
        if let Ok(Some(file)) = self.files.get(class, start / self.segment()) {
            let _ = sys::write_zeros(&file, start % self.segment(), end - start);
        }
    }

    /// Lets what is stored from now on come after all that has been stored.
    pub(super) fn drop_leases(&self) {
        for lease in &self.leases {
            *lease.lock().unwrap_or_else(PoisonError::into_inner) = Lease::default();
        }
    }

    fn grant(
        &self,
        class: Class,
        len: u64,
        size: u64,
        after: u64,
        evicting: bool,
        before: Option<Extent>,
    ) -> io::Result<Grant> {
        let segment = self.segment();
        let index = self.index.bytes();
        let limit = self.settings.max_bytes.unwrap_or(u64::MAX);
        let counted = self.tally.take();
        let granted = self.control.update(
            || self.recover(),
            |state| {
                state.counters.add(counted);
                self.note_boot(state)?;
                for class in Class::ALL {
                    self.note_reclaimed(class, state.log(class).oldest);
                }
                let others = state.logs[1 - class as usize].bytes();
                let records = state.counters.records;
                let least = before.unwrap_or_default();
                let extent = Extent { bytes: index.saturating_add(state.bytes()), records };
                let log = state.log(class);
                // The state may be older than the records, if the power failed and the system does not tell of it.
                if log.tail <= after {
                    log.tail = after;
                    log.close(segment);
                }
                let (mut start, rest) = (log.tail, segment - log.tail % segment);
                if rest < len {
                    start += rest;
                }
                let segment_end = (start / segment + 1) * segment;
                let end = (start + size).min(segment_end);
                if end > Position::END {
                    return Ok(Grant::Full(extent));
                }
                let mut grown = LogState { tail: end, ..*log };
                let fresh = start.is_multiple_of(segment);
                if fresh {
                    grown.large_here = 0;
                }
                let from = log.allocated.max(segment_end - segment);
                if end > log.allocated {
                    // Near the limit in small steps, or there would be none left for making room in pieces.
                    let near = index.saturating_add(others).saturating_add(log.bytes() + 4 * segment) > limit;
                    let chunk = if near { CHUNK } else { log.held.max(CHUNK) };
                    grown.allocated = (start + chunk).max(end).min(segment_end);
                    grown.held += grown.allocated - from;
                }
                let bytes = index.saturating_add(others).saturating_add(grown.bytes());
                // The evictor may go one segment beyond, or it could not keep anything when the store is full.
                let bound = if evicting { limit.saturating_add(segment) } else { limit.max(least.bytes) };
                let crowded = |max: u64| records >= max.max(least.records) && !evicting;
                if bytes > bound || self.settings.max_records.is_some_and(crowded) {
                    return Ok(Grant::Full(extent));
                }
                if grown.allocated != log.allocated {
                    let more = grown.allocated - from;
                    if self.is_disk_low(more) {
                        return Ok(Grant::Full(extent));
                    }
                    let file = self.files.get_or_create(class, start / segment)?;
                    match sys::allocate(&file, from % segment, from % segment + more) {
                        Err(e) if is_full(&e) => return Ok(Grant::Full(extent)),
                        done => done?,
                    }
                }
                *log = grown;
                Ok(Grant::Lease { start, end, tight: bytes.saturating_add(segment) > limit, fresh })
            },
        )?;
        Ok(granted)
    }

    /// Returns whether `more` bytes would leave less than the floor free.
    fn is_disk_low(&self, more: u64) -> bool {
        let floor = self.settings.free_space_floor;
        floor > 0
            && crate::disk::space(&self.root).is_some_and(|space| space.free.saturating_sub(more) < floor)
    }

    /// Sees to it that nothing that a power failure may have undone is built upon: where the machine was started anew,
    /// the logs go on in new segments.
    fn note_boot(&self, state: &mut State) -> io::Result<()> {
        let boot = boot();
        if state.boot == boot {
            return Ok(());
        }
        // Also where no boot was noted: that may be what did not reach the disk.
        for class in Class::ALL {
            let numbers = files::numbers(&self.root.join("log"), class)?;
            let newest = numbers.last().copied().unwrap_or(0);
            let counted = self.count_files(class)?;
            let segment = self.segment();
            let log = state.log(class);
            // A power failure may have brought segments back, or taken them.
            log.oldest = numbers.first().copied().unwrap_or(newest + 1);
            (log.held, log.large) = counted;
            let next = (newest + 1).max(log.tail.div_ceil(segment)).max(log.oldest);
            (log.tail, log.allocated, log.large_here) = (next * segment, next * segment, 0);
        }
        state.boot = boot;
        Ok(())
    }

    /// Returns the state that the files of the store show.
    pub(super) fn recover(&self) -> io::Result<State> {
        let mut state = State::default();
        for class in Class::ALL {
            let numbers = files::numbers(&self.root.join("log"), class)?;
            let (oldest, next) = match (numbers.first(), numbers.last()) {
                (Some(oldest), Some(newest)) => (*oldest, newest + 1),
                _ => (1, 1),
            };
            let log = state.log(class);
            *log = LogState::empty(next, self.segment());
            log.oldest = oldest;
            (log.held, log.large) = self.count_files(class)?;
        }
        Ok(state)
    }

    /// Returns the bytes that the segments of a log take on the disk with their seals, and those of its large payloads.
    pub(super) fn count_files(&self, class: Class) -> io::Result<(u64, u64)> {
        let numbers = files::numbers(&self.root.join("log"), class)?;
        let held = numbers.iter().map(|&number| self.files.bytes(class, number)).sum();
        let large = numbers.iter().map(|&number| self.large_bytes(class, number)).sum();
        Ok((held, large))
    }

    /// Returns the bytes of the large payloads of a segment, as they were booked.
    pub(super) fn large_bytes(&self, class: Class, number: u64) -> u64 {
        let Ok(dir) = std::fs::read_dir(self.large_dir(class, number)) else { return 0 };
        let files = dir.filter_map(|item| item.ok()?.metadata().ok());
        files.map(|meta| super::large::disk_len(meta.len())).fold(0, u64::saturating_add)
    }

    /// Writes down what this process has counted.
    pub(super) fn write_down(&self) -> io::Result<()> {
        let counted = self.tally.take();
        if self.settings.read_only || counted == super::Counters::default() {
            return Ok(());
        }
        self.control.update(
            || self.recover(),
            |state| {
                state.counters.add(counted);
                Ok(())
            },
        )
    }

    /// Books room for a large payload, making some if need be; `false` if there is none.
    pub(super) fn book_large(&self, class: Class, len: u64) -> io::Result<bool> {
        let (index, segment) = (self.index.bytes(), self.segment());
        let limit = self.settings.max_bytes.unwrap_or(u64::MAX);
        let deadline = Instant::now() + PATIENCE;
        for _ in 0..ATTEMPTS {
            let mut close = false;
            let booked = self.control.update(
                || self.recover(),
                |state| {
                    let bytes = index.saturating_add(state.bytes()).saturating_add(len);
                    let fits = bytes.saturating_add(segment) <= limit && !self.is_disk_low(len);
                    let log = state.log(class);
                    let crowded = log.large_here > segment.max(limit / 64);
                    if fits {
                        // Large payloads go with their segment: too many of them in one would all go at once.
                        if crowded {
                            log.close(segment);
                            log.large_here = 0;
                        }
                        log.large = log.large.saturating_add(len);
                        log.large_here = log.large_here.saturating_add(len);
                    }
                    close = fits && crowded;
                    Ok(fits)
                },
            )?;
            if close {
                *self.leases[class as usize].lock().unwrap_or_else(PoisonError::into_inner) =
                    Lease::default();
            }
            if booked {
                return Ok(true);
            }
            if Instant::now() >= deadline || !self.make_room_for(len, Effort::All(deadline))? {
                return Ok(false);
            }
        }
        Ok(false)
    }

    /// Gives back what was booked.
    pub(super) fn unbook_large(&self, class: Class, len: u64) {
        let _ = self.control.update(
            || self.recover(),
            |state| {
                let log = state.log(class);
                log.large = log.large.saturating_sub(len);
                log.large_here = log.large_here.saturating_sub(len);
                Ok(())
            },
        );
    }
}

pub(super) fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

/// Returns a number that is another one after the machine was started anew. Where the system does not tell, a store is
/// treated as if it never was.
fn boot() -> u64 {
    static BOOT: std::sync::OnceLock<u64> = std::sync::OnceLock::new();
    #[cfg(test)]
    if let Some(boot) = super::tape::boot() {
        return boot;
    }
    *BOOT.get_or_init(|| {
        let id = std::fs::read("/proc/sys/kernel/random/boot_id").unwrap_or_default();
        u64::from(cache_core::crc32c(&id)) + 1
    })
}

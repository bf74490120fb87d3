//! What goes over the whole store: listing, counting, collecting, scrubbing.

use std::io;

use super::control::State;
use super::index::{Found, Spot, Use};
use super::read::{Depth, Record, Seen};
use super::reclaim::Effort;
use super::record::{Class, Kind};
use super::{Counters, Log, files, sys};

/// Buckets of the index that are counted at a time, sixteen pages; a sixteenth is read at a time for what it leads to.
const STEP: u64 = 256;

/// How a log is filled.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct SegmentStats {
    /// Bytes of a segment.
    pub segment_bytes: u64,
    /// Segments of the probation log, for what was stored for the first time.
    pub probation_segments: u64,
    /// Segments of the main log, for what proved to be used again.
    pub main_segments: u64,
    /// Bytes of payloads that are files of their own.
    pub large_bytes: u64,
    /// Bytes that the index takes on the disk.
    pub index_bytes: u64,
    /// Slots of the index that lead to a record which is there.
    pub live_slots: u64,
    /// Slots that remember what was evicted.
    pub ghost_slots: u64,
    /// What happened since the store was made.
    pub counters: Counters,
}

/// What the slots of the index lead to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Count {
    pub(crate) entries: u64,
    pub(crate) blobs: u64,
    pub(crate) live: u64,
    pub(crate) ghosts: u64,
}

/// What [`Log::visit`] comes by.
pub(crate) enum Visited<'a> {
    /// A record, the buffer that its parts are in, and whether it was used since it was stored or moved.
    Record(&'a Record, &'a [u8], bool),
    /// A record that is damaged, and its key if that can be read.
    Damaged(Option<(Kind, [u8; 32])>),
}

impl Log {
    /// Returns when a segment was last reclaimed, in milliseconds since 1970.
    pub(crate) fn reclaimed_at(&self) -> u64 {
        self.control.peek().unwrap_or_default().reclaimed_at
    }

    /// Counts what the index leads to. It reads the index once: a few milliseconds for a million records.
    pub(crate) fn count(&self) -> io::Result<Count> {
        let state = self.state()?;
        let mut count = Count::default();
        let mut from = self.index.next_used(0);
        while from < self.index.buckets() {
            let chunk = from;
            from = self.index.next_used(chunk + STEP);
            for found in self.index.scan(chunk, STEP)? {
                let position = found.slot.position();
                if position.byte / self.segment() < state.logs[position.class as usize].oldest {
                    count.ghosts += 1;
                    continue;
                }
                count.live += 1;
                match found.slot.role() {
                    Use::Entry => count.entries += 1,
                    Use::Blob => count.blobs += 1,
                    Use::Raw | Use::Content => {}
                }
            }
        }
        Ok(count)
    }

    pub(crate) fn stats(&self) -> io::Result<SegmentStats> {
        let (counters, count, state) = (self.counters(), self.count()?, self.state()?);
        let segments =
            |class: Class| files::numbers(&self.root.join("log"), class).map(|numbers| numbers.len() as u64);
        Ok(SegmentStats {
            segment_bytes: self.segment(),
            probation_segments: segments(Class::Probation)?,
            main_segments: segments(Class::Main)?,
            large_bytes: state.logs.iter().map(|log| log.large).sum(),
            index_bytes: self.index.bytes(),
            live_slots: count.live,
            ghost_slots: count.ghosts,
            counters,
        })
    }

    fn state(&self) -> io::Result<State> {
        self.control.peek().map_or_else(|| self.recover(), Ok)
    }

    /// Calls `visit` with the records of `role` that the next buckets from `from` on lead to, read to `depth`, and returns
    /// the bucket to go on with; nothing at the end.
    pub(crate) fn visit(
        &self,
        blobs: bool,
        from: u64,
        depth: Depth,
        visit: &mut dyn FnMut(Visited<'_>),
    ) -> io::Result<Option<u64>> {
        let role = if blobs { Use::Blob } else { Use::Entry };
        let mut buffer = Vec::new();
        let from = self.index.next_used(from);
        if from >= self.index.buckets() {
            return Ok(None);
        }
        let next = (from + STEP / 16).min(self.index.buckets());
        for found in self.index.scan(from, next - from)?.into_iter().filter(|found| found.slot.role() == role)
        {
            let position = found.slot.position();
            if self.files.get(position.class, position.byte / self.segment())?.is_none() {
                continue;
            }
            let Some(header) = self.read_header(position)? else {
                visit(Visited::Damaged(None));
                continue;
            };
            let hint = found.slot.len_hint();
            match self.read_record(position, header.kind, &header.key, depth, hint, &mut buffer)? {
                Seen::Right(record) => visit(Visited::Record(&record, &buffer, found.hits > 0)),
                Seen::Other | Seen::Gone | Seen::Dead => {}
                Seen::Damaged => {
                    visit(Visited::Damaged(Some((header.kind, header.key))));
                    self.bury(&found);
                }
            }
        }
        Ok((next < self.index.buckets()).then_some(next))
    }

    /// Forgets that a record was used.
    pub(crate) fn forget_hits(&self, kind: Kind, key: &[u8; 32]) -> io::Result<()> {
        if let Some(found) = self.found(kind, key)? {
            self.index.set_hits(&found, 0);
        }
        Ok(())
    }

    /// Returns whether a record was used since that was forgotten.
    pub(crate) fn was_hit(&self, kind: Kind, key: &[u8; 32]) -> io::Result<bool> {
        Ok(self.found(kind, key)?.is_some_and(|found| found.hits > 0))
    }

    fn found(&self, kind: Kind, key: &[u8; 32]) -> io::Result<Option<Found>> {
        self.index.find(&Spot::of_key(kind, key), |found| {
            let header = self.read_header(found.slot.position())?;
            Ok(header.is_some_and(|header| header.kind == kind && header.key == *key).then_some(found))
        })
    }

    /// Returns the number of buckets, which [`visit`](Self::visit) goes along.
    pub(crate) fn buckets(&self) -> u64 {
        self.index.buckets()
    }

    /// Reclaims segments in which nothing was stored since `before`, in milliseconds since 1970; what was used in them is
    /// kept. Returns how many records went.
    pub(crate) fn reclaim_older(&self, before: u64) -> io::Result<u64> {
        let evicted = |log: &Self| log.counters().evicted;
        let first = evicted(self);
        let segment = self.segment();
        for class in Class::ALL {
            // At most as many as there are now: what is kept is younger.
            let state = self.state()?;
            let log = state.logs[class as usize];
            for number in log.oldest..log.tail.div_ceil(segment) {
                if !self.is_older(class, number, before)? {
                    break;
                }
                let done = self.evicting(None, |_| {
                    if log.tail / segment == number {
                        // It is still written to: what is stored from now on goes elsewhere.
                        let close = |state: &mut State| {
                            let log = state.log(class);
                            if log.tail / segment == number {
                                log.close(segment);
                            }
                            Ok(())
                        };
                        self.control.update(|| self.recover(), close)?;
                        if !self.is_older(class, number, before)? {
                            return Ok(());
                        }
                    }
                    self.reclaim(class, number)
                })?;
                if done.is_none() {
                    break;
                }
            }
        }
        Ok(evicted(self).saturating_sub(first))
    }

    /// Returns whether all records of a segment were stored before `before`.
    fn is_older(&self, class: Class, number: u64, before: u64) -> io::Result<bool> {
        for item in self.items(class, number)? {
            let byte = number * self.segment() + item.offset;
            let header = self.read_header(super::record::Position { class, byte })?;
            if header.is_some_and(|header| header.stored >= before) {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Removes what a process that died has left in `tmp`, older than `age`; returns how many files.
    pub(crate) fn remove_leftovers(&self, age: std::time::Duration, dry_run: bool) -> io::Result<(u64, u64)> {
        let (mut removed, mut bytes) = (0, 0);
        for item in std::fs::read_dir(self.root.join("tmp"))? {
            let item = item?;
            let Ok(meta) = item.metadata() else { continue };
            let old = meta.modified().is_ok_and(|at| at.elapsed().is_ok_and(|since| since > age));
            if old && (dry_run || sys::remove_file(&item.path()).is_ok()) {
                removed += 1;
                bytes += files::blocks(&meta);
            }
        }
        Ok((removed, bytes))
    }

    /// Makes room if a limit is exceeded, as a change of the limits may make it.
    pub(crate) fn keep_limits(&self) -> io::Result<()> {
        self.make_room(Effort::All(std::time::Instant::now() + super::PATIENCE)).map(drop)
    }

    /// Counts anew what the logs take on the disk: what a process booked and died before it used is given back.
    pub(crate) fn recount(&self) -> io::Result<()> {
        // Another process that evicts counts well enough.
        self.evicting(None, |_| {
            self.control.update(
                || self.recover(),
                |state| {
                    for class in Class::ALL {
                        let counted = self.count_files(class)?;
                        let log = state.log(class);
                        (log.held, log.large) = counted;
                    }
                    Ok(())
                },
            )
        })
        .map(drop)
    }
}

//! Puts: a record is appended, and then the index leads to it.

use std::fs::File;
use std::io;
use std::path::PathBuf;
use std::sync::atomic::Ordering;

use cache_core::{Fingerprint, crc32c};

use super::index::{Found, Spot, Use};
use super::read::{Depth, Seen};
use super::record::{Class, HEADER, Header, Kind, Place, Position, STATE, State, Worth};
use super::tally::Tally;
use super::{Log, sys};
use crate::options::Durability;

/// Payloads of fewer bytes are not worth the look-up that finds their duplicates.
pub(super) const DUPLICATES_FROM: u64 = 1 << 10;
/// How often a record is written again because another process was faster with the same key.
const ATTEMPTS: u32 = 4;
/// How often a slot is looked at again because somebody else was faster with it. Each time, somebody else got on.
pub(super) const CHANGES: u32 = 1000;

/// Returns whether payloads of this kind are looked for under other keys. Blobs are found by their digests.
pub(super) fn is_shared(kind: Kind) -> bool {
    matches!(kind, Kind::Raw | Kind::Entry)
}

/// What to store.
#[derive(Debug)]
pub(crate) struct Put<'a> {
    pub(crate) kind: Kind,
    pub(crate) key: &'a [u8; 32],
    pub(crate) meta: &'a [u8],
    pub(crate) payload: Source<'a>,
    pub(crate) worth: Worth,
    /// Milliseconds since 1970; never if 0.
    pub(crate) expires: u64,
    /// Whether a record that is there stays.
    pub(crate) if_absent: bool,
}

/// Where the payload comes from.
#[derive(Debug)]
pub(crate) enum Source<'a> {
    Bytes(&'a [u8]),
    /// A file that was booked as large, complete, in the same file system; it is moved.
    File {
        path: PathBuf,
        len: u64,
        fingerprint: Fingerprint,
        class: Class,
    },
}

/// What a put did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    Stored {
        duplicate: bool,
    },
    /// There was one already, and it stays.
    Present,
}

/// What became of a record that was appended.
enum Commit {
    Done,
    Present,
    /// The record that it replaces has a greater position; it has to be written after that.
    Behind(u64),
    /// The index is another one, which may not know yet what this record replaces.
    Exchanged,
}

impl Log {
    /// Stores a record.
    pub(crate) fn put(&self, put: &Put<'_>) -> io::Result<Outcome> {
        let spot = Spot::of_key(put.kind, put.key);
        let class = match &put.payload {
            Source::File { class, .. } => *class,
            Source::Bytes(_) => self.class_for(put, &spot)?,
        };
        let (len, fingerprint) = match &put.payload {
            Source::Bytes(bytes) => (bytes.len() as u64, Fingerprint::of(bytes)),
            Source::File { len, fingerprint, .. } => (*len, *fingerprint),
        };
        let content = Spot::of_content(fingerprint.to_bytes(), len);
        let shared = len >= DUPLICATES_FROM && is_shared(put.kind);
        let mut header = Header {
            state: State::Alive,
            kind: put.kind,
            worth: put.worth,
            place: if matches!(put.payload, Source::File { .. }) { Place::File } else { Place::Inline },
            store: self.control.constant.store,
            position: Position { class, byte: 0 },
            version: 0,
            key: *put.key,
            fingerprint,
            payload_len: len,
            meta_len: put.meta.len() as u32,
            meta_crc: crc32c(put.meta),
            stored: self.now(),
            expires: put.expires,
        };
        let duplicate = match &put.payload {
            Source::Bytes(bytes) if shared => self.find_duplicate(&content, &header, bytes)?,
            _ => None,
        };
        if let Some(target) = duplicate {
            header.place = Place::Alias(target);
        }
        let mut after = 0;
        for _ in 0..ATTEMPTS {
            let file = self.append(&mut header, put, after)?;
            let committed = self.commit(&spot, &header, put.if_absent).or_else(|e| {
                // What was not stored must not be found when the index is made anew.
                self.kill(&header)?;
                Err(e)
            })?;
            match committed {
                Commit::Done => {
                    if shared && duplicate.is_none() {
                        self.note_content(&content, &header)?;
                    }
                    if self.settings.durability == Durability::Flush {
                        sys::sync(&file)?;
                        self.sync_others(&header)?;
                    }
                    self.end_what_was_replaced()?;
                    Tally::count(&self.tally.puts);
                    if duplicate.is_some() {
                        Tally::count(&self.tally.duplicates);
                    }
                    return Ok(Outcome::Stored { duplicate: duplicate.is_some() });
                }
                Commit::Present => {
                    self.kill(&header)?;
                    return Ok(Outcome::Present);
                }
                Commit::Behind(position) => {
                    self.kill(&header)?;
                    after = position;
                }
                Commit::Exchanged => {
                    self.kill(&header)?;
                    self.settle()?;
                }
            }
        }
        // Somebody else stores the same key again and again, and is always later: this put was before theirs.
        Ok(Outcome::Stored { duplicate: false })
    }

    /// Returns the log that a new record begins in. What had to go a short while ago and is wanted again has proved its
    /// worth, as in S3-FIFO: its slot still remembers it.
    fn class_for(&self, put: &Put<'_>, spot: &Spot) -> io::Result<Class> {
        if put.worth == Worth::High {
            return Ok(Class::Main);
        }
        let Some(state) = self.reclaimed_until() else { return Ok(Class::Probation) };
        let segment = self.segment();
        let ghost = self.index.find(spot, |found| {
            let position = found.slot.position();
            Ok((position.byte / segment < state[position.class as usize]).then_some(()))
        })?;
        if ghost.is_none() || put.worth == Worth::Low {
            return Ok(Class::Probation);
        }
        Tally::count(&self.tally.ghost_hits);
        Ok(Class::Main)
    }

    /// Returns the position of a record with the same payload, compared byte by byte.
    fn find_duplicate(&self, spot: &Spot, header: &Header, bytes: &[u8]) -> io::Result<Option<Position>> {
        let mut buffer = Vec::new();
        self.index.find(spot, |found| {
            let position = found.slot.position();
            let Some(super::Payload::Bytes(range)) = self.read_content(header, position, 0, &mut buffer)?
            else {
                return Ok(None);
            };
            let same = buffer.get(range).is_some_and(|there| there == bytes);
            if same {
                self.index.hit(&found);
            }
            Ok(same.then_some(position))
        })
    }

    /// Writes the record behind `after`.
    fn append(&self, header: &mut Header, put: &Put<'_>, after: u64) -> io::Result<std::sync::Arc<File>> {
        let class = header.position.class;
        let room = self.reserve(class, header.record_len(), after, false)?;
        header.position = room.position;
        header.version = room.position.pack();
        if let Source::File { path, .. } = &put.payload {
            self.move_large(header, path)?;
        }
        self.write_record(&room.file, header, put)?;
        Tally::count(&self.tally.records);
        Ok(room.file)
    }

    fn write_record(&self, file: &File, header: &Header, put: &Put<'_>) -> io::Result<()> {
        let payload: &[u8] = match (&put.payload, header.place) {
            (Source::Bytes(bytes), Place::Inline) => bytes,
            _ => &[],
        };
        let parts = [&header.encode()[..], put.meta, payload];
        sys::write_parts_at(file, parts, header.position.byte % self.segment())
    }

    /// Forces onto the disk what a record needs besides itself.
    fn sync_others(&self, header: &Header) -> io::Result<()> {
        match header.place {
            Place::Inline => {}
            Place::Alias(target) => {
                if let Some(file) = self.files.get(target.class, target.byte / self.segment())? {
                    sys::sync(&file)?;
                }
            }
            Place::File => {
                let dir = self.large_dir(header.position.class, header.position.byte / self.segment());
                sys::sync_dir(&dir)?;
                sys::sync_dir(&self.root.join("large"))?;
            }
        }
        sys::sync_dir(&self.root.join("log"))?;
        self.index.sync()
    }

    /// Gives a large payload its place.
    fn move_large(&self, header: &Header, from: &std::path::Path) -> io::Result<()> {
        let to = self.large_path(header);
        match sys::hard_link(from, &to) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => {
                let dir = self.large_dir(header.position.class, header.position.byte / self.segment());
                cache_core::files::create_private_dir(&dir)?;
                sys::hard_link(from, &to)
            }
            // A position that a power failure let be used twice.
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {
                sys::remove_file(&to)?;
                sys::hard_link(from, &to)
            }
            done => done,
        }
    }

    /// Lets the index lead to the record, and ends what it replaces.
    fn commit(&self, spot: &Spot, header: &Header, if_absent: bool) -> io::Result<Commit> {
        let len = header.record_len();
        for _ in 0..CHANGES {
            let own = match self.find_own(spot, header)? {
                None => {
                    let Some(own) = self.insert(spot, header.position, len)? else { continue };
                    own
                }
                // The index is being made anew, and whoever does it has found this record already.
                Some((found, Some(old))) if old.position == header.position => found,
                Some((_, Some(old))) if if_absent && self.is_there(&old) => return Ok(Commit::Present),
                Some((_, Some(old)))
                    if old.version > header.version
                        && Position::unpack(old.version).class == header.position.class =>
                {
                    return Ok(Commit::Behind(Position::unpack(old.version).byte));
                }
                Some((found, old)) => {
                    // In this order, so that a process that dies in between leaves none that counts besides the indexed
                    // one.
                    if let Some(old) = old {
                        self.kill(&old)?;
                    }
                    let Some(own) = self.index.replace(spot, &found, header.position, len)? else { continue };
                    own
                }
            };
            if !if_absent {
                self.end_twins(spot, &own, header)?;
            } else if !self.is_first(spot, &own, header)? {
                self.index.clear(&own)?;
                std::thread::yield_now();
                continue;
            }
            return Ok(if self.index.is_exchanged()? { Commit::Exchanged } else { Commit::Done });
        }
        Err(super::busy())
    }

    /// Returns whether a record was stored where there was none. Somebody else who does the same looks only after that as well,
    /// so that not both find that they are the first. Who is must not end the other's record, or its own, as
    /// [`end_twins`](Self::end_twins) would: the other one takes its back, and would find nothing in its way then.
    fn is_first(&self, spot: &Spot, own: &Found, header: &Header) -> io::Result<bool> {
        let twins = self.twins(spot, own, header)?;
        if twins.iter().any(|(_, twin)| twin.state == State::Alive && self.is_there(twin)) {
            return Ok(false);
        }
        for (found, twin) in twins {
            self.kill(&twin)?;
            self.index.clear(&found)?;
        }
        Ok(true)
    }

    /// Lets the index lead to a record, and returns how it is found; nothing if somebody else took the room. What has to make
    /// way for it is found no more, and so must end.
    pub(super) fn insert(&self, spot: &Spot, position: Position, len: u64) -> io::Result<Option<Found>> {
        let vacancy = self.index.vacancy(spot, |position| self.age(position))?;
        if let Some(slot) = vacancy.displaced.filter(|slot| slot.role() != Use::Content)
            && let Some(header) = self.read_header(slot.position())?
        {
            self.kill(&header)?;
        }
        self.index.fill(spot, &vacancy, position, len)
    }

    /// Returns by how many bytes a position lies behind the beginning of its log, as far as this process knows.
    fn age(&self, position: Position) -> i64 {
        let oldest = self.oldest[position.class as usize].load(Ordering::Relaxed);
        position.byte as i64 - (oldest * self.segment()) as i64
    }

    /// Returns the slot of the same key, with the record that it leads to if that is alive.
    fn find_own(&self, spot: &Spot, header: &Header) -> io::Result<Option<(Found, Option<Header>)>> {
        let mut ghost = None;
        let own = self.index.find(spot, |found| {
            match self.read_header(found.slot.position())? {
                Some(old) if old.kind == header.kind && old.key == header.key => Ok(Some((found, old))),
                Some(_) => Ok(None),
                // Its segment is gone: the slot is most likely a memory of this key, and of no other use.
                None => {
                    ghost = ghost.or(Some(found));
                    Ok(None)
                }
            }
        })?;
        Ok(match own {
            Some((found, old)) => Some((found, (old.state == State::Alive).then_some(old))),
            None => ghost.map(|found| (found, None)),
        })
    }

    fn is_there(&self, header: &Header) -> bool {
        let alive = header.expires == 0 || header.expires > self.now();
        alive && (header.place != Place::File || self.large_path(header).symlink_metadata().is_ok())
    }

    /// Lets the index know where this content is. It is a help only: that two do it at once matters to nobody.
    fn note_content(&self, spot: &Spot, header: &Header) -> io::Result<()> {
        let vacancy = self.index.vacancy(spot, |position| self.age(position))?;
        // What is found under its key matters more.
        if vacancy.displaced.is_none_or(|slot| slot.role() == Use::Content) {
            self.index.fill(spot, &vacancy, header.position, header.record_len())?;
        }
        Ok(())
    }

    /// Marks a record as dead, so that no index that is made anew leads to it.
    pub(super) fn kill(&self, header: &Header) -> io::Result<()> {
        self.set_state(header.position, State::Dead)
    }

    pub(super) fn set_state(&self, position: Position, state: State) -> io::Result<()> {
        let segment = self.segment();
        match self.files.get(position.class, position.byte / segment)? {
            Some(file) => sys::write_at(&file, &[state as u8], position.byte % segment + STATE),
            None => Ok(()),
        }
    }

    /// Removes a record that proved to be of no use from the index, unless it was replaced meanwhile.
    pub(super) fn bury(&self, seen: &Found) {
        // It stays a miss if this fails.
        if !self.settings.read_only && self.index.clear(seen).is_ok_and(|done| done) {
            let _ = self.set_state(seen.slot.position(), State::Dead);
        }
    }

    /// Removes the record under `key` and returns whether there was one.
    pub(crate) fn remove(&self, kind: Kind, key: &[u8; 32]) -> io::Result<bool> {
        let spot = Spot::of_key(kind, key);
        for _ in 0..ATTEMPTS {
            // A rebuild that comes by later would bring it back.
            self.finish_rebuild()?;
            let (mut freed, mut ended) = (Vec::new(), Vec::new());
            let removed = self.remove_indexed(kind, key, &spot, &mut freed, &mut ended)?;
            for (class, len) in freed {
                self.unbook_large(class, super::large::disk_len(len));
            }
            if self.settings.durability == Durability::Flush {
                for position in ended {
                    if let Some(file) = self.files.get(position.class, position.byte / self.segment())? {
                        sys::sync(&file)?;
                    }
                }
                self.index.sync()?;
            }
            if let Some(removed) = removed {
                return Ok(removed);
            }
            self.settle()?;
        }
        Err(super::handle::made_anew())
    }

    /// Removes what the index knows; nothing if that is another one than at the last change.
    fn remove_indexed(
        &self,
        kind: Kind,
        key: &[u8; 32],
        spot: &Spot,
        freed: &mut Vec<(Class, u64)>,
        ended: &mut Vec<Position>,
    ) -> io::Result<Option<bool>> {
        let mut removed = false;
        for _ in 0..CHANGES {
            let own = self.index.find(spot, |found| {
                let header = self.read_header(found.slot.position())?;
                // A record that cannot be read here may be read by a process that has its file open since long.
                let own = header.as_ref().is_none_or(|it| it.kind == kind && it.key == *key);
                Ok(own.then_some((found, header)))
            })?;
            let Some((found, header)) = own else {
                return Ok(if self.index.is_exchanged()? { None } else { Some(removed) });
            };
            let Some(header) = header else {
                self.index.clear(&found)?;
                continue;
            };
            removed |= header.state == State::Alive && self.is_there(&header);
            self.kill(&header)?;
            ended.push(header.position);
            if self.index.clear(&found)?
                && header.place == Place::File
                && sys::remove_file(&self.large_path(&header)).is_ok()
            {
                freed.push((header.position.class, header.payload_len));
            }
        }
        Err(super::busy())
    }

    /// Returns whether there is a record under `key`, and counts that as a use if `used`.
    pub(crate) fn contains(&self, kind: Kind, key: &[u8; 32], used: bool) -> io::Result<bool> {
        let mut buffer = Vec::new();
        Ok(self.look_up(kind, key, Depth::Header, used, &mut buffer)?.into_record().is_some())
    }

    /// Moves a record to the main log, if it is still what its slot leads to, and returns its new slot.
    pub(super) fn keep(
        &self,
        old: &Header,
        seen: &Found,
        spot: &Spot,
        buffer: &mut Vec<u8>,
    ) -> io::Result<Option<Found>> {
        let len = old.record_len();
        if len > self.segment() {
            return Ok(None);
        }
        let Seen::Right(_) =
            self.read_record(old.position, old.kind, &old.key, Depth::Meta, len as usize, buffer)?
        else {
            return Ok(None);
        };
        // Of one that was cut off, only the metadata were found right.
        let Some(rest) = buffer.get(HEADER..len as usize) else { return Ok(None) };
        // This process may have leased a piece of the very segment that is being reclaimed.
        let segment = self.segment();
        let after = (old.position.byte / segment + 1) * segment - 1;
        let after = if old.position.class == Class::Main { after } else { 0 };
        let room = self.reserve(Class::Main, len, after, true)?;
        // It counts from when the index leads to it; the old one counts until then.
        let new = Header { position: room.position, state: State::Dead, stored: self.now(), ..old.clone() };
        if old.place == Place::File {
            self.move_large(&new, &self.large_path(old))?;
        }
        let parts = [&new.encode()[..], rest, &[]];
        sys::write_parts_at(&room.file, parts, room.position.byte % self.segment())?;
        Tally::count(&self.tally.records);
        // One after the other, so that a process that dies in between leaves none that counts and is not indexed.
        self.kill(old)?;
        let Some(moved) = self.index.replace(spot, seen, new.position, len)? else { return Ok(None) };
        self.set_state(new.position, State::Alive)?;
        // It was replaced or removed before it counted, by somebody who found it dead.
        let leads = self.index.find(spot, |found| Ok((found.slot == moved.slot).then_some(())))?;
        if leads.is_none() {
            self.kill(&new)?;
            return Ok(None);
        }
        if is_shared(old.kind) {
            let content = Spot::of_content(old.fingerprint.to_bytes(), old.payload_len);
            if let Some(found) = self.index.at(&content, old.position)? {
                self.index.replace(&content, &found, new.position, len)?;
            }
        }
        Ok(Some(moved))
    }
}

#[cfg(test)]
mod tests {
    use super::super::Settings;
    use super::*;

    #[test]
    fn a_record_that_was_cut_off_is_not_kept() {
        let dir = tempfile::tempdir().unwrap();
        let log = Log::open_or_create(dir.path(), Settings::default()).unwrap();
        let key = [9; 32];
        let payload = Source::Bytes(&[7; 1000]);
        let worth = Worth::Normal;
        log.put(&Put { kind: Kind::Raw, key: &key, meta: &[], payload, worth, expires: 0, if_absent: false })
            .unwrap();
        let spot = Spot::of_key(Kind::Raw, &key);
        let found = log.index.find(&spot, |found| Ok(Some(found))).unwrap().unwrap();
        let header = log.read_header(found.slot.position()).unwrap().unwrap();
        let (file, at) = log.locate(header.position).unwrap().unwrap();
        file.set_len(at + header.record_len() - 1).unwrap();
        assert!(log.keep(&header, &found, &spot, &mut Vec::new()).unwrap().is_none());
    }
}

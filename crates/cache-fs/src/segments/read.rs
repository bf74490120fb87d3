//! Look-ups: what the index says is read, and believed if it proves itself.

use std::cell::Cell;
use std::fs::File;
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::time::Instant;

use cache_core::stat::Stat;
use cache_core::{Clock, Fingerprint, Fingerprinter, SystemClock, crc32c};

use super::index::{Found, Spot};
use super::record::{Class, HEADER, Header, Kind, Place, Position, State};
use super::tally::Tally;
use super::{Log, MAX_INLINE, sys};

/// Bytes of a large payload that are checked at a time.
const PIECE: usize = 256 << 10;
/// How often a look-up that meets a record which is just being replaced looks again.
const CHANGING: u32 = 16;

/// A record that proved to be right.
#[derive(Debug)]
pub(crate) struct Record {
    header: Header,
    /// The metadata, in the caller's buffer.
    pub(crate) meta: Range<usize>,
    pub(crate) payload: Payload,
}

impl Record {
    /// Returns the length of the payload.
    pub(crate) fn len(&self) -> u64 {
        self.header.payload_len
    }

    pub(crate) fn key(&self) -> &[u8; 32] {
        &self.header.key
    }

    pub(crate) fn kind(&self) -> Kind {
        self.header.kind
    }

    /// Returns when it was stored, in milliseconds since 1970.
    pub(crate) fn stored(&self) -> u64 {
        self.header.stored
    }
}

/// Where the payload of a [`Record`] is.
#[derive(Debug)]
pub(crate) enum Payload {
    /// In the caller's buffer, checked.
    Bytes(Range<usize>),
    /// In a file, positioned at its start, checked if that was asked for.
    File(File, PathBuf),
    /// It was not asked for.
    Unread,
}

/// How much of a record is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Depth {
    /// The header: whether it is there.
    Header,
    /// The metadata too.
    Meta,
    /// All of it; a large payload as an open file.
    Whole,
    /// As [`Whole`](Self::Whole), but a file that proved to be right a moment ago is not read again.
    Open,
    /// All of it, a large payload too, into the buffer.
    Bytes,
    /// As [`Bytes`](Self::Bytes), but nothing of a payload that takes long to read.
    Quick,
}

/// What a look-up found.
#[derive(Debug)]
pub(crate) enum Sight {
    Hit(Record),
    /// Nothing, as far as the index knows.
    Absent,
    /// Nothing any more: the index most likely remembers it, and its segment was reclaimed.
    Evicted,
    /// It was damaged, and is not found again.
    Damaged,
}

impl Sight {
    pub(crate) fn into_record(self) -> Option<Record> {
        match self {
            Self::Hit(record) => Some(record),
            Self::Absent | Self::Evicted | Self::Damaged => None,
        }
    }
}

/// What reading at a position showed.
pub(super) enum Seen {
    /// Not what was looked for.
    Other,
    /// The segment is gone.
    Gone,
    /// A record of this key that was replaced, moved or removed.
    Dead,
    /// What was looked for, and damaged.
    Damaged,
    Right(Record),
}

impl Log {
    /// Returns the record under `key`, read to `depth` into `buffer`, and counts the hit if `used`.
    pub(crate) fn look_up(
        &self,
        kind: Kind,
        key: &[u8; 32],
        depth: Depth,
        used: bool,
        buffer: &mut Vec<u8>,
    ) -> io::Result<Sight> {
        let spot = Spot::of_key(kind, key);
        let (gone, dead) = (Cell::new(None), Cell::new(None));
        let mut judge = |found: Found| {
            if gone.get() == Some(found.slot) {
                return Ok(None);
            }
            Ok(match self.read_found(&found, kind, key, depth, buffer)? {
                Seen::Right(record) => Some((found, Some(record))),
                Seen::Damaged => Some((found, None)),
                Seen::Other => None,
                Seen::Dead => {
                    dead.set(Some(found));
                    None
                }
                Seen::Gone => {
                    gone.set(Some(found.slot));
                    None
                }
            })
        };
        let mut found = self.index.find(&spot, &mut judge)?;
        if found.is_none() && gone.get().is_some() {
            // Its slot was read before it moved, and its segment afterwards.
            found = self.index.find(&spot, &mut judge)?;
        }
        for _ in 0..CHANGING {
            if found.is_some() || dead.take().is_none() {
                break;
            }
            // Somebody is just replacing or moving it, and a step away from having done so.
            std::thread::yield_now();
            found = self.index.find(&spot, &mut judge)?;
        }
        if let Some(ended) = dead.take().filter(|_| found.is_none()) {
            // Or died there.
            self.bury(&ended);
        }
        if found.is_none() && used {
            Tally::count(&self.tally.misses);
        }
        Ok(match found {
            Some((found, Some(record))) => {
                // What was left for another look-up counts there.
                let left = depth == Depth::Quick && matches!(record.payload, Payload::Unread);
                if used && !left {
                    self.count_hit(&found);
                }
                Sight::Hit(record)
            }
            Some((found, None)) => {
                self.bury(&found);
                Sight::Damaged
            }
            None if gone.get().is_some() => Sight::Evicted,
            None => Sight::Absent,
        })
    }

    fn count_hit(&self, found: &Found) {
        self.index.hit(found);
        Tally::count(match found.slot.position().class {
            Class::Probation => &self.tally.probation_hits,
            Class::Main => &self.tally.main_hits,
        });
    }

    fn read_found(
        &self,
        found: &Found,
        kind: Kind,
        key: &[u8; 32],
        depth: Depth,
        buffer: &mut Vec<u8>,
    ) -> io::Result<Seen> {
        let hint = if depth == Depth::Header { HEADER } else { found.slot.len_hint() };
        self.read_record(found.slot.position(), kind, key, depth, hint, buffer)
    }

    /// Reads the record at `position`, which should be that of `key` and have at most `hint` bytes.
    pub(super) fn read_record(
        &self,
        position: Position,
        kind: Kind,
        key: &[u8; 32],
        depth: Depth,
        hint: usize,
        buffer: &mut Vec<u8>,
    ) -> io::Result<Seen> {
        let Some((file, at)) = self.locate(position)? else { return Ok(Seen::Gone) };
        let read = sys::read_into(&file, buffer, 0, hint.max(HEADER), at)?;
        let Some(header) = self.header_at(position, &buffer[..read]) else { return Ok(Seen::Other) };
        if header.kind != kind || header.key != *key {
            return Ok(Seen::Other);
        }
        if header.state != State::Alive {
            return Ok(Seen::Dead);
        }
        if header.expires != 0 && header.kind == Kind::Raw && header.expires <= self.now() {
            return Ok(Seen::Other);
        }
        if depth == Depth::Header {
            let there = header.place != Place::File || self.large_path(&header).symlink_metadata().is_ok();
            let record = Record { header, meta: 0..0, payload: Payload::Unread };
            return Ok(if there { Seen::Right(record) } else { Seen::Damaged });
        }
        let whole = header.written_len();
        if whole > self.segment() {
            return Ok(Seen::Other);
        }
        // The record may be longer than the index says: then its end is read now.
        if (read as u64) < whole {
            let rest = whole as usize - read;
            if sys::read_into(&file, buffer, read, rest, at + read as u64)? < rest {
                return Ok(Seen::Damaged);
            }
        }
        let meta = HEADER..HEADER + header.meta_len as usize;
        if crc32c(&buffer[meta.clone()]) != header.meta_crc {
            return Ok(Seen::Damaged);
        }
        let payload = match (depth, header.place) {
            (Depth::Quick, _) if header.payload_len > MAX_INLINE => Some(Payload::Unread),
            (Depth::Header | Depth::Meta, _) => Some(Payload::Unread),
            (_, Place::Inline) => {
                let range = meta.end..meta.end + header.payload_len as usize;
                let right = Fingerprint::of(&buffer[range.clone()]) == header.fingerprint;
                right.then_some(Payload::Bytes(range))
            }
            (Depth::Whole, Place::File) => self.open_large(&header, false)?,
            (Depth::Open, Place::File) => self.open_large(&header, true)?,
            (Depth::Bytes | Depth::Quick, Place::File) => self.read_large(&header, meta.end, buffer)?,
            (_, Place::Alias(target)) => self.follow(&header, target, meta.end, buffer)?,
        };
        Ok(payload.map_or(Seen::Damaged, |payload| Seen::Right(Record { header, meta, payload })))
    }

    /// Returns the segment of `position`, and where in it that is; nothing if it is gone.
    pub(super) fn locate(&self, position: Position) -> io::Result<Option<(std::sync::Arc<File>, u64)>> {
        let number = position.byte / self.segment();
        Ok(self.files.get(position.class, number)?.map(|file| (file, position.byte % self.segment())))
    }

    /// Returns the header of the record at `position`, if `bytes` begin with one and it belongs there.
    pub(super) fn header_at(&self, position: Position, bytes: &[u8]) -> Option<Header> {
        let header = Header::decode(bytes)?;
        (header.store == self.control.constant.store && header.position == position).then_some(header)
    }

    /// Reads the header of the record at `position`, if there is one.
    pub(super) fn read_header(&self, position: Position) -> io::Result<Option<Header>> {
        let Some((file, at)) = self.locate(position)? else { return Ok(None) };
        let mut bytes = [0; HEADER];
        let read = sys::read_at(&file, &mut bytes, at)?;
        Ok(self.header_at(position, &bytes[..read]))
    }

    pub(super) fn large_path(&self, header: &Header) -> PathBuf {
        let position = header.position;
        let dir = self.large_dir(position.class, position.byte / self.segment());
        dir.join(format!("{:010x}", position.byte % self.segment()))
    }

    /// Opens the file of a large payload after all of it was read and found right, now or, if that is `enough`, a moment ago.
    fn open_large(&self, header: &Header, enough: bool) -> io::Result<Option<Payload>> {
        let path = self.large_path(header);
        let Some((file, stat)) = open_of_len(&path, header.payload_len)? else { return Ok(None) };
        // The clock of the file system, whatever the store goes by.
        let begun = (Instant::now(), SystemClock.now());
        if enough && self.proofs.hold(&stat, &header.fingerprint, begun.0) {
            return Ok(Some(Payload::File(file, path)));
        }
        let mut piece = vec![0; PIECE.min(header.payload_len as usize)];
        let (mut fingerprint, mut at) = (Fingerprinter::new(), 0);
        while at < header.payload_len {
            let read = sys::read_at(&file, &mut piece, at)?;
            if read == 0 {
                return Ok(None);
            }
            fingerprint.update(&piece[..read]);
            at += read as u64;
        }
        if fingerprint.finish() != header.fingerprint {
            return Ok(None);
        }
        self.proofs.remember(&stat, header.fingerprint, begun);
        Ok(Some(Payload::File(file, path)))
    }

    /// Reads a large payload into `buffer` from `from` on.
    fn read_large(&self, header: &Header, from: usize, buffer: &mut Vec<u8>) -> io::Result<Option<Payload>> {
        let path = self.large_path(header);
        let Some((file, _)) = open_of_len(&path, header.payload_len)? else { return Ok(None) };
        let len = usize::try_from(header.payload_len).map_err(|_| io::ErrorKind::FileTooLarge)?;
        let read = sys::read_into(&file, buffer, from, len, 0)?;
        let range = from..from + len;
        let right = read == len && Fingerprint::of(&buffer[range.clone()]) == header.fingerprint;
        Ok(right.then_some(Payload::Bytes(range)))
    }

    /// Reads the payload of another record for a duplicate: from where the duplicate says, else from where the index
    /// knows the same content.
    fn follow(
        &self,
        header: &Header,
        target: Position,
        from: usize,
        buffer: &mut Vec<u8>,
    ) -> io::Result<Option<Payload>> {
        let spot = Spot::of_content(header.fingerprint.to_bytes(), header.payload_len);
        let (mut direct, mut found_at) = (self.read_content(header, target, from, buffer)?, None);
        let _ = self.index.find(&spot, |found| {
            let position = found.slot.position();
            if direct.is_none() {
                direct = self.read_content(header, position, from, buffer)?;
                found_at = direct.is_some().then_some(found);
            } else if position == target {
                found_at = Some(found);
            }
            Ok(found_at.map(drop))
        })?;
        // The content is in use, whoever stored it.
        if let Some(found) = found_at {
            self.index.hit(&found);
        }
        Ok(direct)
    }

    /// Reads the payload of the record at `position` if it is the content that `like` has.
    pub(super) fn read_content(
        &self,
        like: &Header,
        position: Position,
        from: usize,
        buffer: &mut Vec<u8>,
    ) -> io::Result<Option<Payload>> {
        let Some(header) = self.read_header(position)? else { return Ok(None) };
        if header.fingerprint != like.fingerprint || header.payload_len != like.payload_len {
            return Ok(None);
        }
        match header.place {
            Place::Alias(_) => Ok(None),
            Place::File => self.read_large(&header, from, buffer),
            Place::Inline => {
                if header.record_len() > self.segment() {
                    return Ok(None);
                }
                let Some((file, at)) = self.locate(position)? else { return Ok(None) };
                let len = header.payload_len as usize;
                let start = at + HEADER as u64 + u64::from(header.meta_len);
                let read = sys::read_into(&file, buffer, from, len, start)?;
                let range = from..from + len;
                let right = read == len && Fingerprint::of(&buffer[range.clone()]) == like.fingerprint;
                Ok(right.then_some(Payload::Bytes(range)))
            }
        }
    }
}

/// Opens a file, and says how it is; nothing if it is not there, or does not have this length.
fn open_of_len(path: &Path, len: u64) -> io::Result<Option<(File, Stat)>> {
    let Some(file) = sys::open_if_there(path, false)? else { return Ok(None) };
    let stat = Stat::new(&file.metadata()?);
    Ok((stat.len == len).then_some((file, stat)))
}

//! The index: which record a key leads to. It is a hint: what it says is believed only after the record was read.
//!
//! Nothing is locked for as long as more than one slot is changed. Who changes a slot says what was in it, and looks again
//! if that is no more so.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use cache_core::crc32c;

use super::record::{Kind, Position, u64_at};
use super::sys;
use super::table::{Access, BUCKET, Bucket, OVERFLOWED, SLOTS, Table};

const MAGIC: &[u8; 8] = b"VTCINDX1";
/// Buckets that are read at a time when all are looked at: 256 KiB.
const SCAN: usize = 1024;
/// Most hits that are counted, as in S3-FIFO.
pub(super) const MAX_HITS: u8 = 3;
/// Fewest buckets: 64 KiB.
const MIN_BUCKETS: u64 = 256;
/// Most buckets: 2 GiB of index.
const MAX_BUCKETS: u64 = 1 << 23;

/// What a slot is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Use {
    /// A key of a caller.
    Raw = 0,
    Entry = 1,
    Blob = 2,
    /// The content of a record, by its fingerprint, to find duplicates.
    Content = 3,
}

impl From<Kind> for Use {
    fn from(kind: Kind) -> Self {
        match kind {
            Kind::Raw => Self::Raw,
            Kind::Entry => Self::Entry,
            Kind::Blake3 | Kind::Sha256 => Self::Blob,
        }
    }
}

/// Where a key may be, and by which tag it is known there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Spot {
    /// Which part of all buckets, as a fraction of 2^64.
    place: u64,
    tag: u64,
    role: Use,
}

/// The first part of the buckets, which is filled first: so a small store touches few pages of an index for a large one.
const FIRST_PART: u64 = 16;

impl Spot {
    /// Returns where `key` may be.
    pub(super) fn of_key(kind: Kind, key: &[u8; 32]) -> Self {
        // Keys are digests, so any of their bits are as good as a hash; the kind keeps equal ones of two kinds apart.
        let salt = (kind as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        Self { place: u64_at(key, 0) ^ salt, tag: (u64_at(key, 8) ^ salt) & TAG, role: Use::from(kind) }
    }

    /// Returns where the content with this fingerprint and length may be.
    pub(super) fn of_content(fingerprint: [u8; 16], len: u64) -> Self {
        let salt = len.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let tag = u64_at(&fingerprint, 8) & TAG;
        Self { place: u64_at(&fingerprint, 0) ^ salt, tag, role: Use::Content }
    }

    /// Returns the bucket of the key among the first ones, and the one among all others for when that is full.
    fn buckets(&self, buckets: u64) -> [u64; 2] {
        let first = buckets / FIRST_PART;
        let within = |count: u64| ((u128::from(self.place) * u128::from(count)) >> 64) as u64;
        [within(first), first + within(buckets - first)]
    }
}

/// 64 bits: position (44), size class (5), use (2), tag (13). 0 is an empty slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Slot(u64);

const SIZE_SHIFT: u32 = Position::BITS;
const USE_SHIFT: u32 = SIZE_SHIFT + 5;
const TAG_SHIFT: u32 = USE_SHIFT + 2;
/// The bits of a tag.
const TAG: u64 = (1 << (64 - TAG_SHIFT)) - 1;

impl Slot {
    fn new(spot: &Spot, position: Position, len: u64) -> Self {
        let size = u64::from(size_class(len));
        Self(
            position.pack()
                | (size << SIZE_SHIFT)
                | ((spot.role as u64) << USE_SHIFT)
                | (spot.tag << TAG_SHIFT),
        )
    }

    fn matches(self, spot: &Spot) -> bool {
        self.0 != 0 && self.0 >> USE_SHIFT == (spot.role as u64) | (spot.tag << (TAG_SHIFT - USE_SHIFT))
    }

    pub(super) fn position(self) -> Position {
        Position::unpack(self.0 & ((1 << Position::BITS) - 1))
    }

    pub(super) fn role(self) -> Use {
        match (self.0 >> USE_SHIFT) & 3 {
            0 => Use::Raw,
            1 => Use::Entry,
            2 => Use::Blob,
            _ => Use::Content,
        }
    }

    /// Returns a length in bytes that the record has at most, if the slot is right.
    pub(super) fn len_hint(self) -> usize {
        class_len(((self.0 >> SIZE_SHIFT) & 31) as u32) as usize
    }
}

/// Returns the smallest class that holds `len` bytes. A class is a third to a half larger than the one before.
fn size_class(len: u64) -> u32 {
    (0..31).find(|&class| class_len(class) >= len).unwrap_or(31)
}

/// Returns the bytes of a class: 256, 384, 512, 768, 1024 … up to 12 MiB.
const fn class_len(class: u32) -> u64 {
    let base = 256 << (class / 2);
    if class.is_multiple_of(2) { base } else { base / 2 * 3 }
}

/// A slot and where it is.
#[derive(Clone, Copy, Debug)]
pub(super) struct Found {
    pub(super) slot: Slot,
    /// Hits since the record was stored, at most [`MAX_HITS`].
    pub(super) hits: u8,
    bucket: u64,
    at: usize,
}

/// The index of a store, shared by all processes.
#[derive(Debug)]
pub(super) struct Index {
    /// Exchanged when another process has put a new index into place.
    table: RwLock<Arc<Table>>,
    /// Held by the thread that exchanges it.
    following: Mutex<()>,
    /// Whether it was exchanged, and not all of what that means is done.
    exchanged: AtomicBool,
    store: u64,
    root: PathBuf,
}

/// What an index is made for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Plan {
    pub(super) slots: u64,
    pub(super) access: Access,
}

impl Index {
    /// Opens the index of the store with the number `store`; nothing if there is none that can be used.
    pub(super) fn open(root: &Path, store: u64, writable: bool) -> io::Result<Option<Self>> {
        Ok(open_table(root, store, writable)?.map(|table| Self {
            table: RwLock::new(Arc::new(table)),
            following: Mutex::new(()),
            exchanged: AtomicBool::new(false),
            store,
            root: root.to_owned(),
        }))
    }

    /// Lets the processes of a store lock its index from now on, if it is shared memory and came to a file system that is not
    /// one for that; nobody can have it mapped there.
    pub(super) fn lock_from_now_on(root: &Path, store: u64) -> io::Result<()> {
        let Some(file) = sys::open_if_there(&root.join("index"), true)? else { return Ok(()) };
        let mut header = [0; BUCKET];
        sys::read_at(&file, &mut header, 0)?;
        match decode_header(&header, store) {
            Some((buckets, Access::Mapped)) if Access::best_in(root) == Access::Locked => {
                sys::write_at(&file, &encode_header(store, buckets, Access::Locked), 0)
            }
            _ => Ok(()),
        }
    }

    /// Puts an empty index into place. Processes that have an old one open find the new one when they have written.
    pub(super) fn create(root: &Path, store: u64, plan: Plan) -> io::Result<()> {
        let buckets = (plan.slots / SLOTS as u64).clamp(MIN_BUCKETS, MAX_BUCKETS);
        let temp = write_empty(root, store, buckets, plan.access)?;
        sys::rename(&temp, &root.join("index"))?;
        sys::sync_dir(root)
    }

    fn table(&self) -> Arc<Table> {
        Arc::clone(&self.table.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Returns whether the index is another one than it was when [`settled`](Self::settled) was last called, and goes over
    /// to the one that is in place now. One that was deleted is put there anew.
    ///
    /// Called after a change: what was written before it is in the index that is in place, or has to be written again.
    pub(super) fn is_exchanged(&self) -> io::Result<bool> {
        if !self.table().is_current()? {
            let _one = self.following.lock().unwrap_or_else(PoisonError::into_inner);
            let table = self.table();
            if !table.is_current()? {
                let new = self.successor(&table)?;
                *self.table.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(new);
                self.exchanged.store(true, Ordering::SeqCst);
            }
        }
        Ok(self.exchanged.load(Ordering::SeqCst))
    }

    /// Returns the index that is in place instead of `old`.
    fn successor(&self, old: &Table) -> io::Result<Table> {
        let path = self.root.join("index");
        if old.is_broken() && sys::is_linked(old.file())? {
            // What cannot be read is nobody's help.
            sys::remove_file(&path)?;
        }
        if let Some(new) = open_table(&self.root, self.store, true)? {
            return Ok(new);
        }
        // Unless the store is another one, which has its own index.
        let control = super::control::Control::open(&self.root, true)?;
        if control.is_some_and(|control| control.constant.store == self.store) {
            super::rebuild::mark_deleted(&self.root)?;
            let temp = write_empty(&self.root, self.store, old.buckets(), old.access())?;
            // Without taking the place of what another process may just have put there.
            let linked = sys::hard_link(&temp, &path);
            sys::remove_file(&temp)?;
            match linked {
                Err(e) if e.kind() != io::ErrorKind::AlreadyExists => return Err(e),
                _ => {}
            }
            if let Some(new) = open_table(&self.root, self.store, true)? {
                return Ok(new);
            }
        }
        Err(super::handle::made_anew())
    }

    /// Notes that all is done that an exchange of the index asks for.
    pub(super) fn settled(&self) {
        self.exchanged.store(false, Ordering::SeqCst);
    }

    /// Returns the bytes that the index takes on the disk: pages without a slot are holes.
    pub(super) fn bytes(&self) -> u64 {
        self.table().file().metadata().map_or(0, |meta| super::files::blocks(&meta))
    }

    pub(super) fn buckets(&self) -> u64 {
        self.table().buckets()
    }

    pub(super) fn access(&self) -> Access {
        self.table().access()
    }

    /// Calls `visit` with each slot that may be that of `spot`, until it returns something.
    pub(super) fn find<T>(
        &self,
        spot: &Spot,
        mut visit: impl FnMut(Found) -> io::Result<Option<T>>,
    ) -> io::Result<Option<T>> {
        let table = self.table();
        for bucket in spot.buckets(table.buckets()) {
            let bytes = table.read(bucket)?;
            for found in slots(&bytes, bucket).filter(|found| found.slot.matches(spot)) {
                if let Some(done) = visit(found)? {
                    return Ok(Some(done));
                }
            }
            if bytes[OVERFLOWED] == 0 {
                break;
            }
        }
        Ok(None)
    }

    /// Returns the slot of `spot` that leads to `position`. Positions are unique, and so is that slot.
    pub(super) fn at(&self, spot: &Spot, position: Position) -> io::Result<Option<Found>> {
        self.find(spot, |found| Ok((found.slot.position() == position).then_some(found)))
    }

    /// Counts a hit. Of two at once, one may be lost.
    pub(super) fn hit(&self, found: &Found) {
        if found.hits < MAX_HITS {
            self.set_hits(found, found.hits + 1);
        }
    }

    pub(super) fn set_hits(&self, found: &Found, hits: u8) {
        self.table().set_hits(found.bucket, found.at, hits_byte(found.slot, hits));
    }

    /// Lets the slot of `spot` lead to a record of `len` bytes at `position`, and returns it; nothing if it is no more what it
    /// was when it was found.
    pub(super) fn replace(
        &self,
        spot: &Spot,
        found: &Found,
        position: Position,
        len: u64,
    ) -> io::Result<Option<Found>> {
        let new = Slot::new(spot, position, len);
        let done = self.table().swap(found.bucket, found.at, found.slot.0, new.0)?;
        Ok(done.then_some(Found { slot: new, hits: 0, ..*found }))
    }

    /// Empties a slot; returns whether it still was what it was when it was found.
    pub(super) fn clear(&self, found: &Found) -> io::Result<bool> {
        self.table().swap(found.bucket, found.at, found.slot.0, 0)
    }

    /// Finds room for a record: a free slot, else that of the oldest memory of what was evicted, in the first or else in the
    /// second bucket; else in that the slot of a content, which is only a help, else of the oldest without a hit, else of the
    /// oldest. `age` says by how many bytes
    /// a position lies behind the beginning of its log; what is evicted lies before it.
    pub(super) fn vacancy(&self, spot: &Spot, age: impl Fn(Position) -> i64) -> io::Result<Vacancy> {
        let table = self.table();
        let [first, second] = spot.buckets(table.buckets());
        let bytes = table.read(first)?;
        let vacancy = vacancy_in(&table, first, &bytes, &age)?;
        if vacancy.displaced.is_none() {
            return Ok(vacancy);
        }
        if bytes[OVERFLOWED] == 0 {
            table.set_overflowed(first)?;
        }
        vacancy_in(&table, second, &table.read(second)?, &age)
    }

    /// Lets a slot lead to a record of `len` bytes at `position`, and returns it; nothing if the room was taken meanwhile.
    pub(super) fn fill(
        &self,
        spot: &Spot,
        vacancy: &Vacancy,
        position: Position,
        len: u64,
    ) -> io::Result<Option<Found>> {
        let new = Slot::new(spot, position, len);
        let Vacancy { bucket, at, there, .. } = *vacancy;
        let done = self.table().swap(bucket, at, there, new.0)?;
        Ok(done.then_some(Found { slot: new, hits: 0, bucket, at }))
    }

    /// Returns the first bucket from `from` on that may have a used slot: holes of the file have none.
    pub(super) fn next_used(&self, from: u64) -> u64 {
        self.table().next_used(from)
    }

    /// Returns the used slots of the next buckets from `from` on, at most `count` buckets.
    pub(super) fn scan(&self, from: u64, count: u64) -> io::Result<Vec<Found>> {
        let table = self.table();
        let count = count.min(table.buckets().saturating_sub(from));
        let mut bytes = vec![0; count as usize * BUCKET];
        table.read_many(from, &mut bytes)?;
        let buckets = bytes.as_chunks::<BUCKET>().0.iter().zip(from..);
        Ok(buckets.flat_map(|(bytes, bucket)| slots(bytes, bucket).collect::<Vec<_>>()).collect())
    }

    /// Calls `visit` with the byte and the hits of every slot that was hit and leads into the segment of `segment` bytes that
    /// begins at `start`, by reading all of the index once.
    pub(super) fn used_in(
        &self,
        start: Position,
        segment: u64,
        mut visit: impl FnMut(u64, u8),
    ) -> io::Result<()> {
        let table = self.table();
        let mut chunk = vec![0; SCAN * BUCKET];
        let mut from = table.next_used(0);
        while from < table.buckets() {
            let count = (table.buckets() - from).min(SCAN as u64);
            let bytes = &mut chunk[..count as usize * BUCKET];
            table.read_many(from, bytes)?;
            let buckets = bytes.as_chunks::<BUCKET>().0.iter().zip(from..);
            // Most have none, and to learn that from four words takes a tenth of looking at each slot.
            for (bytes, bucket) in buckets.filter(|(bytes, _)| has_hits(bytes)) {
                for found in slots(bytes, bucket).filter(|found| found.hits > 0) {
                    let position = found.slot.position();
                    let inside = position.class == start.class
                        && (start.byte..start.byte + segment).contains(&position.byte);
                    if inside {
                        visit(position.byte, found.hits);
                    }
                }
            }
            from = table.next_used(from + count);
        }
        Ok(())
    }

    pub(super) fn sync(&self) -> io::Result<()> {
        sys::sync(self.table().file())
    }
}

/// Where a new slot can be, and which one has to make way for it.
#[derive(Debug)]
pub(super) struct Vacancy {
    bucket: u64,
    at: usize,
    there: u64,
    pub(super) displaced: Option<Slot>,
}

/// Finds room in a bucket, which is `bytes`.
fn vacancy_in(
    table: &Table,
    bucket: u64,
    bytes: &Bucket,
    age: impl Fn(Position) -> i64,
) -> io::Result<Vacancy> {
    let free = (0..SLOTS).find(|&at| u64_at(bytes, at * 8) == 0);
    let empty = Vacancy { bucket, at: free.unwrap_or(0), there: 0, displaced: None };
    if free.is_some() {
        table.make_room(bucket, bytes)?;
        return Ok(empty);
    }
    let victim = slots(bytes, bucket).min_by_key(|found| {
        let age = age(found.slot.position());
        (age >= 0, found.slot.role() != Use::Content, age >= 0 && found.hits > 0, age)
    });
    Ok(victim.map_or(empty, |found| Vacancy {
        bucket,
        at: found.at,
        there: found.slot.0,
        displaced: (age(found.slot.position()) >= 0).then_some(found.slot),
    }))
}

/// Opens the index in `root`; nothing if there is none that can be used.
fn open_table(root: &Path, store: u64, writable: bool) -> io::Result<Option<Table>> {
    let Some(file) = sys::open_if_there(&root.join("index"), writable)? else { return Ok(None) };
    let mut header = [0; BUCKET];
    sys::read_at(&file, &mut header, 0)?;
    let Some((buckets, access)) = decode_header(&header, store) else { return Ok(None) };
    if file.metadata()?.len() < (buckets + 1) * BUCKET as u64 {
        return Ok(None);
    }
    let access = match (access, Access::best_in(root)) {
        // It was made somewhere else. Who only reads it needs no more than that.
        (Access::Mapped, Access::Locked) if writable => return Ok(None),
        (_, best) if !writable => best,
        _ => access,
    };
    Table::new(file, buckets, access, root.join("locks"), writable).map(Some)
}

/// Writes an empty index, and returns where.
fn write_empty(root: &Path, store: u64, buckets: u64, access: Access) -> io::Result<PathBuf> {
    let (file, temp) = sys::create_temp(&root.join("tmp"), "index")?;
    sys::set_len(&file, (buckets + 1) * BUCKET as u64)?;
    sys::write_at(&file, &encode_header(store, buckets, access), 0)?;
    sys::sync(&file)?;
    Ok(temp)
}

fn encode_header(store: u64, buckets: u64, access: Access) -> Bucket {
    let mut header = [0; BUCKET];
    header[..8].copy_from_slice(MAGIC);
    header[8..16].copy_from_slice(&buckets.to_le_bytes());
    header[16..24].copy_from_slice(&store.to_le_bytes());
    header[24..32].copy_from_slice(&(access as u64).to_le_bytes());
    let check = u64::from(crc32c(&header[..56]));
    header[56..64].copy_from_slice(&check.to_le_bytes());
    header
}

/// Returns what the header of the index of a store tells, if it is one: the number of buckets, and how they are changed.
fn decode_header(header: &Bucket, store: u64) -> Option<(u64, Access)> {
    let right = header[..8] == *MAGIC
        && u64_at(header, 16) == store
        && u64::from(crc32c(&header[..56])) == u64_at(header, 56);
    let (buckets, access) = (u64_at(header, 8), Access::from_number(u64_at(header, 24))?);
    (right && (MIN_BUCKETS..=MAX_BUCKETS).contains(&buckets)).then_some((buckets, access))
}

/// Decodes `data` as a header, also with a right checksum, and as a bucket.
#[cfg(feature = "fuzzing")]
pub(super) fn fuzz(data: &[u8]) {
    let mut bytes = [0; BUCKET];
    let len = data.len().min(BUCKET);
    bytes[..len].copy_from_slice(&data[..len]);
    for found in slots(&bytes, 3) {
        let (position, hits) = (found.slot.position(), found.hits);
        assert!(hits <= MAX_HITS && position.byte < Position::END && found.slot.len_hint() <= 12 << 20);
        assert_eq!(found.slot.0 & ((1 << Position::BITS) - 1), position.pack());
        assert!(bytes[SLOTS * 8 + found.at] == hits_byte(found.slot, hits) || hits == 0);
        let _ = found.slot.role();
    }
    let store = u64_at(&bytes, 16);
    let _ = decode_header(&bytes, store);
    bytes[..8].copy_from_slice(MAGIC);
    let check = u64::from(crc32c(&bytes[..56]));
    bytes[56..64].copy_from_slice(&check.to_le_bytes());
    assert_eq!(decode_header(&bytes, store.wrapping_add(1)), None, "another store's");
    let buckets = decode_header(&bytes, store);
    assert!(buckets.is_none_or(|(buckets, _)| buckets == u64_at(&bytes, 8) && buckets <= MAX_BUCKETS));
}

fn slots(bytes: &Bucket, bucket: u64) -> impl Iterator<Item = Found> + '_ {
    (0..SLOTS).filter_map(move |at| {
        let slot = Slot(u64_at(bytes, at * 8));
        let byte = bytes[SLOTS * 8 + at];
        let hits = if byte == hits_byte(slot, byte & 3) { byte & 3 } else { 0 };
        (slot.0 != 0).then_some(Found { slot, hits, bucket, at })
    })
}

/// Returns whether a slot of the bucket may have been hit.
fn has_hits(bytes: &Bucket) -> bool {
    const HITS: u64 = 0x0303_0303_0303_0303;
    bytes[SLOTS * 8..SLOTS * 9].chunks(8).any(|hits| {
        let mut word = [0; 8];
        word[..hits.len()].copy_from_slice(hits);
        u64::from_le_bytes(word) & HITS != 0
    })
}

/// Returns the byte that counts the hits of `slot`. It knows its slot, so that a new one begins at 0 without a write.
fn hits_byte(slot: Slot, hits: u8) -> u8 {
    let fold = slot.0 ^ (slot.0 >> 6) ^ (slot.0 >> 12) ^ (slot.0 >> 18);
    ((fold as u8) << 2) | hits
}

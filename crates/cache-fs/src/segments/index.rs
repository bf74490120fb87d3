//! The index: which record a key leads to. It is a hint: what it says is believed only after the record was read.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use cache_core::crc32c;

use super::record::{Kind, Position, u64_at};
use super::sys;

/// Bytes of a bucket: one read brings all that a key can be in, and it is never across two pages. Two small buckets to choose
/// from fill more evenly, and cost a second system call on every miss.
const BUCKET: usize = 256;
/// Slots of a bucket. The bytes after them count their hits.
pub(super) const SLOTS: usize = 28;
const MAGIC: &[u8; 8] = b"VTCINDX1";
/// Locks that writers share by bucket, so that they seldom meet.
const STRIPES: u64 = 16;
/// Buckets that are read at a time when all are looked at: 256 KiB.
const SCAN: usize = 1024;
/// Most hits that are counted, as in S3-FIFO.
pub(super) const MAX_HITS: u8 = 3;
/// Fewest buckets: one page of them per lock.
const MIN_BUCKETS: u64 = 16 * STRIPES;
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
    bucket: u64,
    tag: u64,
    role: Use,
}

/// 64 bits: position (44), size class (5), use (2), tag (13). 0 is an empty slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Slot(u64);

const SIZE_SHIFT: u32 = Position::BITS;
const USE_SHIFT: u32 = SIZE_SHIFT + 5;
const TAG_SHIFT: u32 = USE_SHIFT + 2;

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

type Bucket = [u8; BUCKET];

/// The index of a store, shared by all processes.
#[derive(Debug)]
pub(super) struct Index {
    /// Exchanged when another process has put a new index into place.
    file: RwLock<Arc<File>>,
    /// Whether it was exchanged, and not all of what that means is done.
    exchanged: AtomicBool,
    buckets: u64,
    store: u64,
    root: PathBuf,
    stripes: Vec<Mutex<Option<File>>>,
    writable: bool,
}

impl Index {
    /// Opens the index of the store with the number `store`; nothing if there is none that can be used.
    pub(super) fn open(root: &Path, store: u64, writable: bool) -> io::Result<Option<Self>> {
        let path = root.join("index");
        let file = match sys::open(&path, writable) {
            Ok(file) => file,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(e) => return Err(e),
        };
        let mut header = [0; BUCKET];
        sys::read_at(&file, &mut header, 0)?;
        let Some(buckets) = decode_header(&header, store) else { return Ok(None) };
        if file.metadata()?.len() < (buckets + 1) * BUCKET as u64 {
            return Ok(None);
        }
        let stripes = (0..STRIPES).map(|_| Mutex::new(None)).collect();
        let file = RwLock::new(Arc::new(file));
        let exchanged = AtomicBool::new(false);
        Ok(Some(Self { file, exchanged, buckets, store, root: root.to_owned(), stripes, writable }))
    }

    /// Puts an empty index for about `slots` records into place. Processes that have an old one open read there what it
    /// leads to as long as that is alive, and find the new one before they write.
    pub(super) fn create(root: &Path, store: u64, slots: u64) -> io::Result<()> {
        let buckets = (slots / SLOTS as u64).clamp(MIN_BUCKETS, MAX_BUCKETS) / STRIPES * STRIPES;
        let temp = Self::write_empty(root, store, buckets)?;
        sys::rename(&temp, &root.join("index"))?;
        sys::sync_dir(root)
    }

    /// Writes an empty index, and returns where.
    fn write_empty(root: &Path, store: u64, buckets: u64) -> io::Result<PathBuf> {
        let mut header = [0; BUCKET];
        header[..8].copy_from_slice(MAGIC);
        header[8..16].copy_from_slice(&buckets.to_le_bytes());
        header[16..24].copy_from_slice(&store.to_le_bytes());
        let check = u64::from(crc32c(&header[..56]));
        header[56..64].copy_from_slice(&check.to_le_bytes());
        let (file, temp) = sys::create_temp(&root.join("tmp"), "index")?;
        sys::set_len(&file, (buckets + 1) * BUCKET as u64)?;
        sys::write_at(&file, &header, 0)?;
        sys::sync(&file)?;
        Ok(temp)
    }

    fn file(&self) -> Arc<File> {
        Arc::clone(&self.file.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Goes over to the index that is in place now, if it is another one than that which is open. One that was deleted is
    /// put there anew.
    fn follow(&self) -> io::Result<()> {
        if sys::is_linked(&self.file())? {
            return Ok(());
        }
        let new = match Self::open(&self.root, self.store, true)? {
            Some(new) => Some(new),
            // The store is another one: it has its own index.
            None if super::control::Control::open(&self.root, true)?
                .is_none_or(|control| control.constant.store != self.store) =>
            {
                None
            }
            None => {
                super::rebuild::mark(&self.root)?;
                let temp = Self::write_empty(&self.root, self.store, self.buckets)?;
                // Without taking the place of what another process may just have put there.
                let linked = sys::hard_link(&temp, &self.root.join("index"));
                sys::remove_file(&temp)?;
                match linked {
                    Err(e) if e.kind() != io::ErrorKind::AlreadyExists => return Err(e),
                    _ => Self::open(&self.root, self.store, true)?,
                }
            }
        };
        match new {
            Some(new) if new.buckets == self.buckets => {
                *self.file.write().unwrap_or_else(PoisonError::into_inner) = new.file();
                self.exchanged.store(true, Ordering::SeqCst);
                Ok(())
            }
            _ => Err(super::control::made_anew()),
        }
    }

    /// Returns the bytes that the index takes on the disk: pages without a slot are holes.
    pub(super) fn bytes(&self) -> u64 {
        self.file().metadata().map_or(0, |meta| super::files::blocks(&meta))
    }

    pub(super) fn buckets(&self) -> u64 {
        self.buckets
    }

    /// Returns where `key` may be.
    pub(super) fn spot(&self, kind: Kind, key: &[u8; 32]) -> Spot {
        // Keys are digests, so any of their bits are as good as a hash; the kind keeps equal ones of two kinds apart.
        let salt = (kind as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        self.spot_of(u64_at(key, 0) ^ salt, u64_at(key, 8) ^ salt, Use::from(kind))
    }

    /// Returns where the content with this fingerprint and length may be.
    pub(super) fn content_spot(&self, fingerprint: [u8; 16], len: u64) -> Spot {
        let salt = len.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        self.spot_of(u64_at(&fingerprint, 0) ^ salt, u64_at(&fingerprint, 8), Use::Content)
    }

    fn spot_of(&self, first: u64, second: u64, role: Use) -> Spot {
        let stripe_len = self.buckets / STRIPES;
        let stripe = first % STRIPES * stripe_len;
        let within = ((u128::from(first) * u128::from(stripe_len)) >> 64) as u64;
        // The lowest four bits choose the stripe, the top ones the bucket in it.
        Spot { bucket: stripe + within, tag: second & 0x1fff, role }
    }

    fn read(&self, bucket: u64) -> io::Result<Bucket> {
        let mut bytes = [0; BUCKET];
        // A file that somebody cut off reads as empty.
        sys::read_at(&self.file(), &mut bytes, (bucket + 1) * BUCKET as u64)?;
        Ok(bytes)
    }

    /// Calls `visit` with each slot that may be that of `spot`, until it returns something.
    pub(super) fn find<T>(
        &self,
        spot: &Spot,
        mut visit: impl FnMut(Found) -> io::Result<Option<T>>,
    ) -> io::Result<Option<T>> {
        let bytes = self.read(spot.bucket)?;
        for found in slots(&bytes, spot.bucket).filter(|found| found.slot.matches(spot)) {
            if let Some(done) = visit(found)? {
                return Ok(Some(done));
            }
        }
        Ok(None)
    }

    /// Counts a hit. Not locked: of two at once, one may be lost.
    pub(super) fn hit(&self, found: &Found) {
        if self.writable && found.hits < MAX_HITS {
            self.set_hits(found, found.hits + 1);
        }
    }

    /// Sets the number of hits; that it cannot be written takes nothing from a hit.
    pub(super) fn set_hits(&self, found: &Found, hits: u8) {
        let at = (found.bucket + 1) * BUCKET as u64 + (SLOTS * 8 + found.at) as u64;
        let _ = sys::write_at(&self.file(), &[hits_byte(found.slot, hits)], at);
    }

    /// Runs `change` while no other process changes the buckets of `spot`.
    pub(super) fn locked<T>(
        &self,
        spot: &Spot,
        change: impl FnOnce(&mut Locked<'_>) -> io::Result<T>,
    ) -> io::Result<T> {
        let stripe = (spot.bucket / (self.buckets / STRIPES)).min(STRIPES - 1) as usize;
        let mut guard = self.stripes[stripe].lock().unwrap_or_else(PoisonError::into_inner);
        let file = match &mut *guard {
            Some(file) => file,
            none => {
                none.insert(sys::open_or_create(&self.root.join("locks").join(format!("index-{stripe:x}")))?)
            }
        };
        let _held = sys::Flock::new(file)?;
        self.follow()?;
        let exchanged = self.exchanged.load(Ordering::SeqCst);
        change(&mut Locked { index: self, spot, exchanged })
    }

    /// Returns the first bucket from `from` on that may have a used slot: holes of the file have none.
    pub(super) fn next_used(&self, from: u64) -> u64 {
        match sys::next_data(&self.file(), (from + 1) * BUCKET as u64) {
            Some(at) => (at / BUCKET as u64).saturating_sub(1).max(from),
            None => self.buckets,
        }
    }

    /// Returns the used slots of the next buckets from `from` on, at most `count` buckets.
    pub(super) fn scan(&self, from: u64, count: u64) -> io::Result<Vec<Found>> {
        let count = count.min(self.buckets.saturating_sub(from));
        let mut bytes = vec![0; count as usize * BUCKET];
        sys::read_at(&self.file(), &mut bytes, (from + 1) * BUCKET as u64)?;
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
        let file = self.file();
        let mut chunk = vec![0; SCAN * BUCKET];
        let mut from = self.next_used(0);
        while from < self.buckets {
            let count = (self.buckets - from).min(SCAN as u64);
            let bytes = &mut chunk[..count as usize * BUCKET];
            bytes.fill(0);
            sys::read_at(&file, bytes, (from + 1) * BUCKET as u64)?;
            for (bytes, bucket) in bytes.as_chunks::<BUCKET>().0.iter().zip(from..) {
                for found in slots(bytes, bucket).filter(|found| found.hits > 0) {
                    let position = found.slot.position();
                    let inside = position.class == start.class
                        && (start.byte..start.byte + segment).contains(&position.byte);
                    if inside {
                        visit(position.byte, found.hits);
                    }
                }
            }
            from = self.next_used(from + count);
        }
        Ok(())
    }

    /// Notes that all is done that an exchange of the index asks for.
    pub(super) fn settled(&self) {
        self.exchanged.store(false, Ordering::SeqCst);
    }

    pub(super) fn sync(&self) -> io::Result<()> {
        sys::sync(&self.file())
    }
}

/// The buckets of a key, while no other process changes them.
#[derive(Debug)]
pub(super) struct Locked<'a> {
    index: &'a Index,
    spot: &'a Spot,
    /// Whether the index is another one, until [`Index::settled`] is called.
    pub(super) exchanged: bool,
}

/// Where a new slot can be, and which one has to make way for it.
#[derive(Debug)]
pub(super) struct Vacancy {
    bucket: u64,
    at: usize,
    pub(super) displaced: Option<Slot>,
}

impl Locked<'_> {
    /// See [`Index::find`].
    pub(super) fn find<T>(&self, visit: impl FnMut(Found) -> io::Result<Option<T>>) -> io::Result<Option<T>> {
        self.index.find(self.spot, visit)
    }

    /// Lets a slot lead to a record of `len` bytes at `position`.
    pub(super) fn replace(&mut self, found: &Found, position: Position, len: u64) -> io::Result<Found> {
        self.write(found.bucket, found.at, Slot::new(self.spot, position, len))
    }

    pub(super) fn clear(&mut self, found: &Found) -> io::Result<()> {
        self.write(found.bucket, found.at, Slot(0)).map(drop)
    }

    /// Finds room for a record: a free slot, else that of the oldest memory of what was evicted, else
    /// that of a content, which is only a help, else the oldest without a hit, else the oldest. `age` says by how many bytes
    /// a position lies behind the beginning of its log; what is evicted lies before it.
    pub(super) fn vacancy(&self, age: impl Fn(Position) -> i64) -> io::Result<Vacancy> {
        let bucket = self.spot.bucket;
        let bytes = self.index.read(bucket)?;
        if let Some(at) = (0..SLOTS).find(|&at| u64_at(&bytes, at * 8) == 0) {
            return Ok(Vacancy { bucket, at, displaced: None });
        }
        let victim = slots(&bytes, bucket).min_by_key(|found| {
            let age = age(found.slot.position());
            (age >= 0, found.slot.role() != Use::Content, age >= 0 && found.hits > 0, age)
        });
        Ok(victim.map_or(Vacancy { bucket, at: 0, displaced: None }, |found| Vacancy {
            bucket: found.bucket,
            at: found.at,
            displaced: (age(found.slot.position()) >= 0).then_some(found.slot),
        }))
    }

    /// Lets a slot lead to a record of `len` bytes at `position`.
    pub(super) fn fill(&mut self, vacancy: &Vacancy, position: Position, len: u64) -> io::Result<()> {
        self.write(vacancy.bucket, vacancy.at, Slot::new(self.spot, position, len)).map(drop)
    }

    fn write(&mut self, bucket: u64, at: usize, slot: Slot) -> io::Result<Found> {
        sys::write_at(
            &self.index.file(),
            &slot.0.to_le_bytes(),
            (bucket + 1) * BUCKET as u64 + at as u64 * 8,
        )?;
        Ok(Found { slot, hits: 0, bucket, at })
    }
}

/// Returns the number of buckets that the header of the index of a store tells, if it is one.
fn decode_header(header: &Bucket, store: u64) -> Option<u64> {
    let right = header[..8] == *MAGIC
        && u64_at(header, 16) == store
        && u64::from(crc32c(&header[..56])) == u64_at(header, 56);
    let buckets = u64_at(header, 8);
    (right && (MIN_BUCKETS..=MAX_BUCKETS).contains(&buckets)).then_some(buckets)
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
    assert!(buckets.is_none_or(|buckets| buckets == u64_at(&bytes, 8) && buckets <= MAX_BUCKETS));
}

fn slots(bytes: &Bucket, bucket: u64) -> impl Iterator<Item = Found> + '_ {
    (0..SLOTS).filter_map(move |at| {
        let slot = Slot(u64_at(bytes, at * 8));
        let byte = bytes[SLOTS * 8 + at];
        let hits = if byte == hits_byte(slot, byte & 3) { byte & 3 } else { 0 };
        (slot.0 != 0).then_some(Found { slot, hits, bucket, at })
    })
}

/// Returns the byte that counts the hits of `slot`. It knows its slot, so that a new one begins at 0 without a write.
fn hits_byte(slot: Slot, hits: u8) -> u8 {
    let fold = slot.0 ^ (slot.0 >> 6) ^ (slot.0 >> 12) ^ (slot.0 >> 18);
    ((fold as u8) << 2) | hits
}

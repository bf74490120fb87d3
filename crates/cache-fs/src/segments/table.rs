//! The buckets of an index file, as any number of processes read and change them.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

#[cfg(target_os = "linux")]
use super::map::Map;
use super::record::u64_at;
use super::sys;

/// Bytes of a bucket: one read brings all that a key can be in, and it is never across two pages. Two small buckets to choose
/// from fill more evenly, and cost a second look on every miss.
pub(super) const BUCKET: usize = 256;
/// Slots of a bucket. Behind them is a byte for the hits of each.
#[cfg(not(all(test, cache_fs_loom)))]
pub(super) const SLOTS: usize = 28;
/// Few enough that all orders can be tried.
#[cfg(all(test, cache_fs_loom))]
pub(super) const SLOTS: usize = 3;
/// Where a bucket says that it has room on the disk.
pub(super) const ROOM: usize = SLOTS * 9;
/// Where a bucket says that something which belongs there had to go to a second bucket.
pub(super) const OVERFLOWED: usize = ROOM + 1;
/// Buckets that get room on the disk at once: those of a page, which is written back as a whole.
#[cfg(target_os = "linux")]
const TOGETHER: u64 = 16;
/// Locks that writers share by bucket, so that they seldom meet.
const STRIPES: u64 = 16;

pub(super) type Bucket = [u8; BUCKET];

/// How the processes that share an index change it. It is said in the index, as all of them have to do the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u64)]
pub(super) enum Access {
    /// By reading and writing, one process at a time for each sixteenth.
    Locked = 0,
    /// As shared memory, by compare and swap.
    Mapped = 1,
}

impl Access {
    pub(super) fn from_number(number: u64) -> Option<Self> {
        [Self::Locked, Self::Mapped].into_iter().find(|access| *access as u64 == number)
    }

    /// Returns how an index in `dir` can be changed: as shared memory where that is known to show at once what others
    /// write, and to have room for what was written.
    pub(super) fn best_in(dir: &Path) -> Self {
        if is_mappable(dir) { Self::Mapped } else { Self::Locked }
    }
}

#[cfg(target_os = "linux")]
#[allow(clippy::useless_conversion, clippy::cast_lossless, reason = "widths depend on the architecture")]
fn is_mappable(dir: &Path) -> bool {
    // ext4, xfs, tmpfs. Copy-on-write file systems may find no room when they write a page back, in overlay a map goes
    // stale, and over a network there is no shared memory.
    const MAGIC: [u32; 3] = [0x0000_ef53, 0x5846_5342, 0x0102_1994];
    let page = rustix::param::page_size() as i64;
    // A page of several blocks could have room for some of them only.
    rustix::fs::statfs(dir)
        .is_ok_and(|stat| MAGIC.contains(&(stat.f_type as u32)) && i64::from(stat.f_bsize) >= page)
}

#[cfg(not(target_os = "linux"))]
fn is_mappable(_: &Path) -> bool {
    false
}

/// An open index file.
#[derive(Debug)]
pub(super) struct Table {
    file: File,
    buckets: u64,
    cells: Cells,
    writable: bool,
}

#[derive(Debug)]
enum Cells {
    Locked {
        dir: PathBuf,
        stripes: [Mutex<Option<File>>; STRIPES as usize],
    },
    #[cfg(target_os = "linux")]
    Mapped(Map),
}

impl Table {
    /// Takes over an open file with a header and `buckets` buckets, in a store that has its locks in `locks`.
    pub(super) fn new(
        file: File,
        buckets: u64,
        access: Access,
        locks: PathBuf,
        writable: bool,
    ) -> io::Result<Self> {
        let cells = match access {
            Access::Locked => Cells::Locked { dir: locks, stripes: Default::default() },
            #[cfg(target_os = "linux")]
            Access::Mapped => {
                let len =
                    usize::try_from((buckets + 1) * BUCKET as u64).map_err(|_| io::ErrorKind::OutOfMemory)?;
                Cells::Mapped(Map::new(&file, len, writable)?)
            }
            #[cfg(not(target_os = "linux"))]
            Access::Mapped => return Err(io::ErrorKind::Unsupported.into()),
        };
        Ok(Self { file, buckets, cells, writable })
    }

    pub(super) fn buckets(&self) -> u64 {
        self.buckets
    }

    pub(super) fn access(&self) -> Access {
        match &self.cells {
            Cells::Locked { .. } => Access::Locked,
            #[cfg(target_os = "linux")]
            Cells::Mapped(_) => Access::Mapped,
        }
    }

    pub(super) fn file(&self) -> &File {
        &self.file
    }

    /// Returns whether the file has its name still, and can be read.
    pub(super) fn is_current(&self) -> io::Result<bool> {
        Ok(!self.is_broken() && sys::is_linked(&self.file)?)
    }

    /// Returns whether what is in memory is no more what is in the file.
    pub(super) fn is_broken(&self) -> bool {
        match &self.cells {
            Cells::Locked { .. } => false,
            #[cfg(target_os = "linux")]
            Cells::Mapped(map) => map.is_broken(),
        }
    }

    /// Returns a bucket. Each of its slots is as it was at some moment; what was cut off is empty.
    pub(super) fn read(&self, bucket: u64) -> io::Result<Bucket> {
        let mut bytes = [0; BUCKET];
        if bucket >= self.buckets {
            return Ok(bytes);
        }
        match &self.cells {
            Cells::Locked { .. } => {
                sys::read_at(&self.file, &mut bytes, start(bucket))?;
            }
            #[cfg(target_os = "linux")]
            Cells::Mapped(map) => {
                let at = start(bucket) as usize;
                let (slots, hits) = bytes.split_at_mut(SLOTS * 8);
                for (slot, to) in slots.as_chunks_mut::<8>().0.iter_mut().enumerate() {
                    // The bytes are in the order of the file, whatever that of the machine.
                    *to = u64::from_le(map.load(at + slot * 8)).to_le_bytes();
                }
                for (slot, to) in hits[..SLOTS + 2].iter_mut().enumerate() {
                    *to = map.load_byte(at + SLOTS * 8 + slot);
                }
            }
        }
        Ok(bytes)
    }

    /// Reads all bytes of the buckets from `from` on that `bytes` has room for.
    pub(super) fn read_many(&self, from: u64, bytes: &mut [u8]) -> io::Result<()> {
        bytes.fill(0);
        sys::read_at(&self.file, bytes, start(from)).map(drop)
    }

    /// Puts `new` in the place of `old` in a slot; returns whether `old` was there.
    pub(super) fn swap(&self, bucket: u64, slot: usize, old: u64, new: u64) -> io::Result<bool> {
        if bucket >= self.buckets || slot >= SLOTS {
            return Ok(false);
        }
        let at = start(bucket) + slot as u64 * 8;
        match &self.cells {
            Cells::Locked { dir, stripes } => {
                let stripe = bucket % STRIPES;
                let mut guard = stripes[stripe as usize].lock().unwrap_or_else(PoisonError::into_inner);
                let lock = match &mut *guard {
                    Some(lock) => lock,
                    none => none.insert(sys::open_or_create(&dir.join(format!("index-{stripe:x}")))?),
                };
                let _held = sys::Flock::new(lock)?;
                let mut there = [0; 8];
                sys::read_at(&self.file, &mut there, at)?;
                if u64_at(&there, 0) != old {
                    return Ok(false);
                }
                sys::write_at(&self.file, &new.to_le_bytes(), at)?;
                Ok(true)
            }
            #[cfg(target_os = "linux")]
            Cells::Mapped(map) => {
                let swapped = map.swap(at as usize, old.to_le(), new.to_le());
                #[cfg(test)]
                if swapped {
                    super::tape::wrote(&self.file, &new.to_le_bytes(), at);
                }
                Ok(swapped)
            }
        }
    }

    /// Sees to it that a bucket, which is `bytes`, has room on the disk before something is put there. It may be in a hole of
    /// the file, and for a write to memory it is too late to say that the disk is full.
    pub(super) fn make_room(&self, bucket: u64, bytes: &Bucket) -> io::Result<()> {
        match &self.cells {
            Cells::Locked { .. } => Ok(()),
            #[cfg(target_os = "linux")]
            Cells::Mapped(_) if bytes[ROOM] != 0 => Ok(()),
            #[cfg(target_os = "linux")]
            Cells::Mapped(map) => {
                sys::write_at(&self.file, &[1], start(bucket) + ROOM as u64)?;
                let first = ((bucket + 1) / TOGETHER * TOGETHER).max(1) - 1;
                for neighbour in first..(first + TOGETHER).min(self.buckets) {
                    if (neighbour + 1) / TOGETHER == (bucket + 1) / TOGETHER {
                        map.store_byte(start(neighbour) as usize + ROOM, 1);
                    }
                }
                Ok(())
            }
        }
    }

    /// Notes that something which belongs into a bucket has to go to another one, before it does.
    pub(super) fn set_overflowed(&self, bucket: u64) -> io::Result<()> {
        let at = start(bucket) + OVERFLOWED as u64;
        match &self.cells {
            Cells::Locked { .. } => sys::write_at(&self.file, &[1], at),
            #[cfg(target_os = "linux")]
            Cells::Mapped(map) => {
                map.store_byte(at as usize, 1);
                #[cfg(test)]
                super::tape::wrote(&self.file, &[1], at);
                Ok(())
            }
        }
    }

    /// Writes the byte that counts the hits of a slot; that it cannot be written takes nothing from a hit.
    pub(super) fn set_hits(&self, bucket: u64, slot: usize, byte: u8) {
        if !self.writable || bucket >= self.buckets || slot >= SLOTS {
            return;
        }
        let at = start(bucket) + (SLOTS * 8 + slot) as u64;
        match &self.cells {
            Cells::Locked { .. } => {
                let _ = sys::write_at(&self.file, &[byte], at);
            }
            #[cfg(target_os = "linux")]
            Cells::Mapped(map) => map.store_byte(at as usize, byte),
        }
    }

    /// Returns the first bucket from `from` on that may have a used slot: holes of the file have none.
    pub(super) fn next_used(&self, from: u64) -> u64 {
        match sys::next_data(&self.file, start(from)) {
            Some(at) => (at / BUCKET as u64).saturating_sub(1).max(from),
            None => self.buckets,
        }
    }
}

/// Returns where a bucket begins in the file.
fn start(bucket: u64) -> u64 {
    (bucket + 1) * BUCKET as u64
}

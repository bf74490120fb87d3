//! The file `evicted`: a table of fixed size that remembers what went lately, so that a miss can say so.
//!
//! Each address has one slot, which the newest one to go takes. It is all best effort: nothing but the wording of a
//! reason depends on it.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::PathBuf;

use cache_core::{Timestamp, crc32c};

use super::address::Address;
use super::item::{self, Found};

/// Number of slots.
const SLOTS: u64 = 4096;
/// Bytes of a slot: prefix of the address (8), milliseconds (8), CRC32C of both (4), zeroes (4).
const SLOT: usize = 24;

#[derive(Debug)]
pub(super) struct Evicted {
    path: PathBuf,
}

impl Evicted {
    pub(super) fn new(path: PathBuf) -> Self {
        Self { path }
    }

    /// Returns when `address` was evicted, if that is known.
    pub(super) fn when(&self, address: &Address) -> Option<Timestamp> {
        let Found::File(mut file, _) = item::open(&self.path).ok()? else { return None };
        read(&mut file, address)
    }

    /// Remembers that these were evicted.
    pub(super) fn note<'a>(&self, addresses: impl IntoIterator<Item = &'a Address>, now: Timestamp) {
        let mut addresses = addresses.into_iter().peekable();
        if addresses.peek().is_none() {
            return;
        }
        let Ok(mut file) = self.open_to_write(true) else { return };
        for address in addresses {
            let mut slot = [0; SLOT];
            slot[..8].copy_from_slice(&prefix(address));
            slot[8..16].copy_from_slice(&now.as_millis().to_le_bytes());
            let crc = crc32c(&slot[..16]);
            slot[16..20].copy_from_slice(&crc.to_le_bytes());
            if write(&mut file, address, &slot).is_err() {
                return;
            }
        }
    }

    /// Forgets that `address` was evicted: somebody removed it on purpose.
    pub(super) fn forget(&self, address: &Address) {
        if self.when(address).is_some() {
            let _ = self.open_to_write(false).and_then(|mut file| write(&mut file, address, &[0; SLOT]));
        }
    }

    fn open_to_write(&self, create: bool) -> io::Result<File> {
        let mut options = OpenOptions::new();
        options.write(true).create(create).truncate(false);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        options.open(&self.path)
    }
}

fn read(file: &mut File, address: &Address) -> Option<Timestamp> {
    let mut slot = [0; SLOT];
    file.seek(SeekFrom::Start(offset(address))).ok()?;
    file.read_exact(&mut slot).ok()?;
    let whole = slot[16..20] == crc32c(&slot[..16]).to_le_bytes();
    let millis = u64::from_le_bytes(std::array::from_fn(|i| slot[8 + i]));
    (whole && slot[..8] == prefix(address)).then(|| Timestamp::from_millis(millis))
}

fn write(file: &mut File, address: &Address, slot: &[u8; SLOT]) -> io::Result<()> {
    file.seek(SeekFrom::Start(offset(address)))?;
    file.write_all(slot)
}

/// The first bytes of the address; the space is mixed in, so that an entry and a blob are not taken for each other.
fn prefix(address: &Address) -> [u8; 8] {
    let mut prefix: [u8; 8] = std::array::from_fn(|i| address.id[i]);
    prefix[7] ^= address.digest().map_or(0, |digest| digest.function().id());
    prefix
}

fn offset(address: &Address) -> u64 {
    // Bytes that the prefix does not contain, so that slots are shared by chance alone.
    let slot = u64::from(u16::from_le_bytes([address.id[8], address.id[9]])) % SLOTS;
    slot * SLOT as u64
}

#[cfg(test)]
mod tests {
    use super::*;
    use cache_core::{Digest, Key};

    #[test]
    fn what_went_is_remembered_until_it_is_forgotten() {
        let dir = tempfile::tempdir().unwrap();
        let evicted = Evicted::new(dir.path().join("evicted"));
        let entry = Address::entry(&Key::from_bytes([9; 32]));
        let blob = Address::blob(&Digest::new(cache_core::HashFunction::Sha256, [9; 32]));
        assert_eq!(evicted.when(&entry), None);
        evicted.note([&entry], Timestamp::from_millis(5));
        assert_eq!(evicted.when(&entry), Some(Timestamp::from_millis(5)));
        assert_eq!(evicted.when(&blob), None, "same bytes, another space");
        evicted.forget(&entry);
        assert_eq!(evicted.when(&entry), None);
    }

    #[test]
    fn a_damaged_slot_is_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let evicted = Evicted::new(dir.path().join("evicted"));
        let entry = Address::entry(&Key::from_bytes([1; 32]));
        evicted.note([&entry], Timestamp::from_millis(5));
        let good = std::fs::read(&evicted.path).unwrap();
        let start = offset(&entry) as usize;
        for at in start..start + 20 {
            let mut bad = good.clone();
            bad[at] ^= 1;
            std::fs::write(&evicted.path, bad).unwrap();
            assert_eq!(evicted.when(&entry), None, "{at}");
        }
    }
}

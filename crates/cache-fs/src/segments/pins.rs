//! Pins: what a running process needs is kept when room is made, as far as it leaves room at all.
//!
//! A process writes the keys that it needs into a file of its own, which it holds locked for as long as it needs them. Files
//! that nobody locks are those of processes that ended. What they say is a wish: nothing is returned because of it.

use std::collections::HashSet;
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::FileExt;
use std::path::PathBuf;

use super::record::Kind;
use super::{Log, sys};

const DIR: &str = "pins";
const MAGIC: &[u8; 8] = b"VTCPINS1";
/// Bytes of a pin: key and kind.
const PIN: usize = 33;
/// Most pins of a process; what it pins beyond them may go.
const MAX_PINS: u64 = 1 << 18;
/// Most files of pins that are looked at: processes that need something at once.
const MAX_FILES: usize = 256;

/// What is pinned.
pub(super) type Pinned = HashSet<(Kind, [u8; 32])>;

/// Keeps what is added to it until it is dropped, or its process ends.
#[derive(Debug)]
pub(crate) struct Pins {
    file: File,
    path: PathBuf,
    count: u64,
}

impl Pins {
    /// Adds what is to be kept from now on.
    pub(crate) fn add(&mut self, keys: impl Iterator<Item = (Kind, [u8; 32])>) -> io::Result<()> {
        let mut bytes = Vec::new();
        let room = MAX_PINS.saturating_sub(self.count) as usize;
        for (kind, key) in keys.take(room) {
            bytes.extend_from_slice(&key);
            bytes.push(kind as u8);
        }
        // One write, so that a reader sees whole pins; of a torn one it takes what is whole.
        self.file.write_all_at(&bytes, MAGIC.len() as u64 + self.count * PIN as u64)?;
        self.count += (bytes.len() / PIN) as u64;
        Ok(())
    }
}

impl Drop for Pins {
    fn drop(&mut self) {
        // It is of no use without the lock, which goes with the file.
        let _ = sys::remove_file(&self.path);
    }
}

impl Log {
    /// Returns pins, none yet.
    pub(crate) fn pins(&self) -> io::Result<Pins> {
        let dir = self.root.join(DIR);
        cache_core::files::create_private_dir(&dir)?;
        let (file, path) = sys::create_temp(&dir, "pins")?;
        // Between these two, somebody may take it for one that was left behind: then it keeps nothing.
        file.lock()?;
        file.write_all_at(MAGIC, 0)?;
        Ok(Pins { file, path, count: 0 })
    }

    /// Returns what running processes have pinned.
    pub(super) fn pinned(&self) -> Pinned {
        let mut pinned = Pinned::new();
        let Ok(dir) = std::fs::read_dir(self.root.join(DIR)) else { return pinned };
        for item in dir.filter_map(Result::ok).take(MAX_FILES) {
            let path = item.path();
            let Ok(file) = sys::open(&path, true) else { continue };
            match sys::Flock::try_new(&file) {
                // Nobody holds it.
                Ok(Some(_)) => drop(sys::remove_file(&path)),
                Ok(None) => {
                    let mut bytes = Vec::new();
                    let most = MAGIC.len() as u64 + MAX_PINS * PIN as u64;
                    let _ = (&file).take(most).read_to_end(&mut bytes);
                    pinned.extend(decode(&bytes));
                }
                Err(_) => {}
            }
        }
        pinned
    }
}

fn decode(bytes: &[u8]) -> impl Iterator<Item = (Kind, [u8; 32])> {
    let pins = bytes.strip_prefix(MAGIC).unwrap_or_default().as_chunks::<PIN>().0;
    pins.iter().filter_map(|pin| Some((Kind::from_byte(pin[32])?, *pin.first_chunk()?)))
}

//! The stores, each behind the same four operations.

mod cacache;
mod checked;
mod files;
mod fjall;
mod lmdb;
mod redb;
mod segments;
mod sqlite;

use std::path::Path;

use bench::workload::Key;

pub(crate) type Result<T = ()> = std::result::Result<T, Box<dyn std::error::Error>>;

/// An open store.
///
/// Each get is verified by an XXH3 of 64 or 128 bits: by the store where it does that, by its
/// adapter where it does not.
pub(crate) trait Peer {
    /// Stores `value`. What exists under `key` may be replaced or kept.
    fn put(&mut self, key: &Key, value: &[u8]) -> Result;

    /// Returns the value of `key` if there is one that is intact, as a part of `buffer`, which keeps
    /// what it has grown to.
    fn get<'a>(&mut self, key: &Key, buffer: &'a mut Vec<u8>) -> Result<Option<&'a [u8]>>;

    /// Makes another handle see all that was put. Called before the store is closed, not timed.
    fn settle(&mut self) -> Result {
        Ok(())
    }
}

/// What may be opened.
pub(crate) struct Kind {
    /// As the tables and `--peer` name it.
    pub(crate) name: &'static str,
    /// How it is set up.
    pub(crate) about: &'static str,
    /// Whether several processes can have it open and write.
    pub(crate) shared: bool,
    /// Opens the store in a directory that exists. `max_bytes` is for the stores that have a limit.
    pub(crate) open: fn(dir: &Path, max_bytes: u64) -> Result<Box<dyn Peer>>,
}

/// The default limit of a cache, more than any phase without eviction stores.
pub(crate) const ROOMY: u64 = 20_000_000_000;

pub(crate) const FILES: &str = "files";
pub(crate) const LMDB: &str = "lmdb";
pub(crate) const SEGMENTS: &str = "segments";

/// All of them. The first is what the ratios are relative to.
pub(crate) const ALL: &[Kind] =
    &[files::KIND, segments::KIND, lmdb::KIND, cacache::KIND, sqlite::KIND, redb::KIND, fjall::KIND];

pub(crate) fn find(name: &str) -> Result<&'static Kind> {
    ALL.iter().find(|kind| kind.name == name).ok_or_else(|| {
        let names: Vec<&str> = ALL.iter().map(|kind| kind.name).collect();
        format!("there is no peer named {name}, only {}", names.join(", ")).into()
    })
}

/// Writes `bytes` in hexadecimal to `out`, which is twice as long.
fn hex(bytes: &[u8], out: &mut [u8]) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    for (byte, pair) in bytes.iter().zip(out.chunks_exact_mut(2)) {
        pair[0] = DIGITS[usize::from(byte >> 4)];
        pair[1] = DIGITS[usize::from(byte & 15)];
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bench::workload::{self, Values};

    #[test]
    fn every_peer_returns_what_was_put_also_after_it_was_opened_again() {
        for kind in ALL {
            let dir = tempfile::tempdir().unwrap();
            let mut values = Values::new();
            let mut buffer = b"left over".to_vec();
            {
                let mut peer = (kind.open)(dir.path(), ROOMY).unwrap();
                for id in 0..100 {
                    peer.put(&workload::key(id), values.value(id)).unwrap();
                }
                assert!(peer.get(&workload::key(3), &mut buffer).unwrap().is_some(), "{}", kind.name);
                peer.settle().unwrap();
            }
            let mut peer = (kind.open)(dir.path(), ROOMY).unwrap();
            for id in (0..100).rev() {
                let found = peer.get(&workload::key(id), &mut buffer).unwrap();
                assert!(found.is_some_and(|found| values.is_value(id, found)), "{} {id}", kind.name);
                assert!(peer.get(&workload::absent(id), &mut buffer).unwrap().is_none(), "{}", kind.name);
            }
        }
    }
}

//! LMDB: a B+ tree in a memory map.
#![allow(unsafe_code, reason = "heed leaves it to the caller that nobody else writes to the file")]

use std::io::Write;
use std::path::Path;

use heed::types::Bytes;
use heed::{Database, Env, EnvFlags, EnvOpenOptions};

use super::checked::{self, SUM};
use super::{Kind, Peer, Result};
use bench::workload::Key;

pub(super) const KIND: Kind = Kind {
    name: super::LMDB,
    about: "LMDB through heed, NOSYNC, one transaction per operation, XXH3-128 on each get",
    shared: true,
    open: |dir, _| Ok(Box::new(Lmdb::open(dir)?)),
};

/// Address space, not disk.
const MAP_BYTES: usize = 64 << 30;

struct Lmdb {
    env: Env,
    entries: Database<Bytes, Bytes>,
}

impl Lmdb {
    fn open(dir: &Path) -> Result<Self> {
        let mut options = EnvOpenOptions::new();
        options.map_size(MAP_BYTES);
        // SAFETY: the directory belongs to this program, whose processes open it only here. Without
        // syncs a power cut can destroy the file, and no benchmark outlives one.
        let env = unsafe { options.flags(EnvFlags::NO_SYNC).open(dir)? };
        let read = env.read_txn()?;
        let existing = env.open_database(&read, None)?;
        drop(read);
        let entries = if let Some(entries) = existing {
            entries
        } else {
            let mut write = env.write_txn()?;
            let entries = env.create_database(&mut write, None)?;
            write.commit()?;
            entries
        };
        Ok(Self { env, entries })
    }
}

impl Peer for Lmdb {
    fn put(&mut self, key: &Key, value: &[u8]) -> Result {
        let mut write = self.env.write_txn()?;
        self.entries.put_reserved(&mut write, key, value.len() + SUM, |space| {
            space.write_all(value)?;
            space.write_all(&checked::sum(value))
        })?;
        Ok(write.commit()?)
    }

    fn get<'a>(&mut self, key: &Key, buffer: &'a mut Vec<u8>) -> Result<Option<&'a [u8]>> {
        let read = self.env.read_txn()?;
        Ok(self.entries.get(&read, key)?.and_then(|stored| checked::copy(stored, buffer)))
    }
}

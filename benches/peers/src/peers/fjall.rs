//! fjall: a log-structured merge tree in Rust, with large values in files of their own.

use std::path::Path;

use fjall::{Database, Keyspace, KeyspaceCreateOptions, KvSeparationOptions, PersistMode};

use super::{Kind, Peer, Result};
use bench::workload::Key;

pub(super) const KIND: Kind = Kind {
    name: "fjall",
    about: "fjall, values separated from keys, LZ4, no sync, its own XXH3 on what it reads from disk",
    shared: false,
    open: |dir, _| Ok(Box::new(Fjall::open(dir)?)),
};

struct Fjall {
    database: Database,
    entries: Keyspace,
}

impl Fjall {
    fn open(dir: &Path) -> Result<Self> {
        let database = Database::builder(dir).open()?;
        let entries = database.keyspace("entries", || {
            KeyspaceCreateOptions::default().with_kv_separation(Some(KvSeparationOptions::default()))
        })?;
        Ok(Self { database, entries })
    }
}

impl Peer for Fjall {
    fn put(&mut self, key: &Key, value: &[u8]) -> Result {
        Ok(self.entries.insert(key.as_slice(), value)?)
    }

    fn get<'a>(&mut self, key: &Key, buffer: &'a mut Vec<u8>) -> Result<Option<&'a [u8]>> {
        let Some(value) = self.entries.get(key)? else { return Ok(None) };
        buffer.clear();
        buffer.extend_from_slice(&value);
        Ok(Some(buffer))
    }

    fn settle(&mut self) -> Result {
        Ok(self.database.persist(PersistMode::Buffer)?)
    }
}

//! redb: a copy-on-write B-tree in Rust.

use std::path::Path;

use redb::{Database, Durability, ReadableDatabase, TableDefinition, TableError};

use super::checked::{self, SUM};
use super::{Kind, Peer, Result};
use bench::workload::Key;

pub(super) const KIND: Kind = Kind {
    name: "redb",
    about: "redb, Durability::None, one transaction per operation, XXH3-128 on each get",
    shared: false,
    open: |dir, _| Ok(Box::new(Redb { database: open(dir)? })),
};

const ENTRIES: TableDefinition<'_, &Key, &[u8]> = TableDefinition::new("entries");

struct Redb {
    database: Database,
}

fn open(dir: &Path) -> Result<Database> {
    Ok(Database::create(dir.join("entries.redb"))?)
}

impl Peer for Redb {
    fn put(&mut self, key: &Key, value: &[u8]) -> Result {
        let mut write = self.database.begin_write()?;
        write.set_durability(Durability::None)?;
        {
            let mut entries = write.open_table(ENTRIES)?;
            let mut space = entries.insert_reserve(key, value.len() + SUM)?;
            let (payload, sum) = space.as_mut().split_at_mut(value.len());
            payload.copy_from_slice(value);
            sum.copy_from_slice(&checked::sum(value));
        }
        Ok(write.commit()?)
    }

    fn get<'a>(&mut self, key: &Key, buffer: &'a mut Vec<u8>) -> Result<Option<&'a [u8]>> {
        let read = self.database.begin_read()?;
        let entries = match read.open_table(ENTRIES) {
            Ok(entries) => entries,
            Err(TableError::TableDoesNotExist(_)) => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        Ok(entries.get(key)?.and_then(|stored| checked::copy(stored.value(), buffer)))
    }

    /// Commits without durability are forgotten by the next one who opens the file.
    fn settle(&mut self) -> Result {
        let mut write = self.database.begin_write()?;
        write.set_durability(Durability::Immediate)?;
        Ok(write.commit()?)
    }
}

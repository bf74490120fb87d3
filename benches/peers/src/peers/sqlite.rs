//! `SQLite`, as a table of blobs.

use std::path::Path;
use std::time::Duration;

use rusqlite::{Connection, OptionalExtension, params};

use super::{Kind, Peer, Result, checked};
use bench::workload::Key;

pub(super) const KIND: Kind = Kind {
    name: "sqlite",
    about: "SQLite through rusqlite, WAL, synchronous off, prepared statements, XXH3-128 on each get",
    shared: true,
    open: |dir, _| Ok(Box::new(Sqlite::open(dir)?)),
};

/// Eight writers take turns; none of them is to give up.
const BUSY: Duration = Duration::from_mins(1);

struct Sqlite {
    connection: Connection,
    buffer: Vec<u8>,
}

impl Sqlite {
    fn open(dir: &Path) -> Result<Self> {
        let connection = Connection::open(dir.join("entries.sqlite"))?;
        connection.busy_timeout(BUSY)?;
        connection.pragma_update(None, "journal_mode", "WAL")?;
        connection.pragma_update(None, "synchronous", "OFF")?;
        connection.execute_batch(
            "CREATE TABLE IF NOT EXISTS entries (key BLOB PRIMARY KEY, value BLOB NOT NULL)",
        )?;
        Ok(Self { connection, buffer: Vec::new() })
    }
}

impl Peer for Sqlite {
    fn put(&mut self, key: &Key, value: &[u8]) -> Result {
        let mut statement =
            self.connection.prepare_cached("INSERT OR REPLACE INTO entries (key, value) VALUES (?1, ?2)")?;
        statement.execute(params![key, checked::join(value, &mut self.buffer)])?;
        Ok(())
    }

    fn get<'a>(&mut self, key: &Key, buffer: &'a mut Vec<u8>) -> Result<Option<&'a [u8]>> {
        let mut statement = self.connection.prepare_cached("SELECT value FROM entries WHERE key = ?1")?;
        let value = statement
            .query_row(params![key], |row| Ok(checked::copy(row.get_ref(0)?.as_blob()?, buffer)))
            .optional()?;
        Ok(value.flatten())
    }
}

//! The cache of npm, in Rust: an index of JSON lines and content-addressed files.

use std::path::{Path, PathBuf};

use cacache::{Algorithm, Error};

use super::{Kind, Peer, Result};
use bench::workload::Key;

pub(super) const KIND: Kind = Kind {
    name: "cacache",
    about: "cacache, synchronous, its own XXH3 on each get",
    shared: true,
    open: |dir, _| Ok(Box::new(Cacache { dir: dir.to_owned() })),
};

struct Cacache {
    dir: PathBuf,
}

fn name(key: &Key) -> String {
    let mut name = [0; 64];
    super::hex(key, &mut name);
    String::from_utf8_lossy(&name).into_owned()
}

impl Peer for Cacache {
    fn put(&mut self, key: &Key, value: &[u8]) -> Result {
        cacache::write_sync_with_algo(Algorithm::Xxh3, &self.dir, name(key), value)?;
        Ok(())
    }

    fn get<'a>(&mut self, key: &Key, buffer: &'a mut Vec<u8>) -> Result<Option<&'a [u8]>> {
        let dir: &Path = &self.dir;
        match cacache::read_sync(dir, name(key)) {
            Ok(value) => {
                *buffer = value;
                Ok(Some(buffer))
            }
            Err(Error::EntryNotFound(..)) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }
}

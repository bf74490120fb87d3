//! Ours.

use std::path::Path;

use cache_fs::{SegmentOptions, Segments};

use super::{Kind, Peer, Result};
use bench::workload::Key;

pub(super) const KIND: Kind = Kind {
    name: super::SEGMENTS,
    about: "cache_fs::Segments, its own XXH3-128 on each get",
    shared: true,
    open: |dir, max_bytes| Ok(Box::new(Ours { segments: open(dir, max_bytes)? })),
};

struct Ours {
    segments: Segments,
}

fn open(dir: &Path, max_bytes: u64) -> Result<Segments> {
    let mut options = SegmentOptions::default();
    options.max_bytes = Some(max_bytes);
    Ok(Segments::open(dir, options)?)
}

impl Peer for Ours {
    fn put(&mut self, key: &Key, value: &[u8]) -> Result {
        Ok(self.segments.put(key, value)?)
    }

    fn get<'a>(&mut self, key: &Key, buffer: &'a mut Vec<u8>) -> Result<Option<&'a [u8]>> {
        Ok(self.segments.get_into(key, buffer)?)
    }
}

//! Looking at every file of a shard, and counting it.

use std::fs;
use std::path::PathBuf;

use super::Files;
use super::address::{Address, SPACES, Space};
use super::item::{self, Found, Recency, cost};
use super::ledger::Books;
use super::room::Demand;

/// What a directory costs that holds little.
pub(super) const EMPTY_DIR: u64 = cost(4096);

/// A stored file, as seen by a visit.
#[derive(Clone, Debug)]
pub(super) struct Seen {
    pub(super) address: Address,
    pub(super) cost: u64,
    pub(super) recency: Recency,
    pub(super) protected: bool,
}

/// A shard, as seen by a visit.
#[derive(Debug)]
pub(super) struct Visit {
    pub(super) shard: u8,
    /// State of the ledger before the visit.
    seq: u32,
    pub(super) items: Vec<Seen>,
    /// The directories of the shard, and what they cost.
    pub(super) dirs: Vec<(PathBuf, u64)>,
    /// Bytes of files that are not ours.
    other: u64,
    /// What is being written.
    coming: Demand,
    /// What was removed since.
    pub(super) gone: Vec<Seen>,
}

impl Files {
    /// Looks at every file of a shard. Brings times that lie in the future back to now.
    pub(super) fn visit(&self, shard: u8, books: &Books) -> Visit {
        let now = self.clock.now();
        let seq = books.shards[usize::from(shard)].seq;
        let mut visit = Visit {
            shard,
            seq,
            items: Vec::new(),
            dirs: Vec::new(),
            other: 0,
            coming: self.being_written(shard),
            gone: Vec::new(),
        };
        for space in SPACES {
            let dir = space.shard_dir(&self.root, shard);
            let Ok(files) = fs::read_dir(&dir) else { continue };
            visit.dirs.push((dir.clone(), dir_cost(&dir)));
            for file in files.filter_map(std::io::Result::ok) {
                let Ok(meta) = file.metadata() else { continue };
                let address = file.file_name().to_str().and_then(|name| Address::parse(space, shard, name));
                match address.filter(|_| meta.is_file()) {
                    None => visit.other += cost(meta.len()),
                    Some(address) => {
                        let mut recency = Recency::of(&meta);
                        if recency.is_future(now) && !self.read_only {
                            recency.used = now;
                            if let Ok(Found::File(file, _)) = item::open(&file.path()) {
                                let _ = recency.write(&file);
                            }
                        }
                        let protected = item::is_protected(&meta, self.protect);
                        visit.items.push(Seen { address, cost: cost(meta.len()), recency, protected });
                    }
                }
            }
        }
        visit
    }

    /// Counts shards that the ledger does not know, until about `files` files were seen.
    pub(super) fn count_unknown(&self, files: usize) {
        if self.read_only {
            return;
        }
        let books = self.ledger.before_count();
        let mut visits = Vec::new();
        let mut seen = 0;
        for shard in 0..=u8::MAX {
            if seen >= files {
                break;
            }
            if !books.shards[usize::from(shard)].known {
                let visit = self.visit(shard, &books);
                seen += visit.items.len();
                visits.push(visit);
            }
        }
        if !visits.is_empty() {
            self.ledger.update(|books| visits.iter().for_each(|visit| record(visit, books)));
        }
    }
}

/// Writes one visit into the ledger: exactly, if nothing else happened in the shard meanwhile.
pub(super) fn record(visit: &Visit, books: &mut Books) {
    let count = |items: &[Seen]| {
        let entries = items.iter().filter(|seen| seen.address.space == Space::Entries).count() as u32;
        let bytes = items.iter().fold(0, |sum: u64, seen| sum.saturating_add(seen.cost));
        (bytes, entries, items.len() as u32 - entries)
    };
    let record = books.shard(visit.shard);
    if record.seq == visit.seq {
        let (bytes, entries, blobs) = count(&visit.items);
        let dirs: u64 = visit.dirs.iter().map(|(_, cost)| cost).sum();
        let bytes = bytes.saturating_add(visit.other).saturating_add(visit.coming.bytes).saturating_add(dirs);
        let entries = entries.saturating_add(u32::try_from(visit.coming.entries).unwrap_or(u32::MAX));
        (record.bytes, record.entries, record.blobs) = (bytes, entries, blobs);
        record.known = true;
        record.seq = record.seq.wrapping_add(1);
    } else {
        let (bytes, entries, blobs) = count(&visit.gone);
        record.subtract(bytes, entries, blobs);
    }
}

/// Returns what a directory costs; never less than an empty one on most file systems.
fn dir_cost(dir: &std::path::Path) -> u64 {
    EMPTY_DIR.max(dir.symlink_metadata().map_or(0, |meta| cost(meta.len())))
}

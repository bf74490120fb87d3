//! Eviction, a batch at a time.
//!
//! The shards are visited in turn, and the place is kept in the ledger, so that all processes together go round. A
//! batch takes shards until it has seen a few hundred files, and removes the least recently used of them, in proportion
//! to what has to go of the whole: addresses are hashes, so a few shards are a fair sample of all. (Redis evicts by
//! samples of five: <https://redis.io/docs/latest/develop/reference/eviction/>.) A small store is seen as a whole, and
//! evicted exactly.

use std::fs::{self, File};
use std::path::PathBuf;
use std::time::SystemTime;

use cache_core::{Event, Timestamp};

use super::Files;
use super::address::{Address, SHARDS, SPACES, Space};
use super::item::{self, Found, Recency, cost};
use super::ledger::{Books, Totals};
use super::room::Surplus;

/// Files that a batch looks at before it decides.
const BATCH: usize = 512;
/// How often a put looks after a shard although there is room: the whole store is aged in a day of use.
const TEND_INTERVAL: std::time::Duration = std::time::Duration::from_mins(5);
/// A temporary file that was not written for this long belongs to a process that died.
const LEFTOVER_AGE: std::time::Duration = std::time::Duration::from_hours(24);

/// What a directory costs that holds little.
pub(super) const EMPTY_DIR: u64 = cost(4096);

/// What a batch did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Batch {
    pub(super) shards: usize,
    pub(super) items: u64,
    pub(super) bytes: u64,
}

/// What came of the attempt to evict.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Relief {
    Done(Batch),
    /// Another process is at it.
    Busy,
}

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
    shard: u8,
    /// State of the ledger before the visit.
    seq: u32,
    pub(super) items: Vec<Seen>,
    /// The directories of the shard, and what they cost.
    dirs: Vec<(PathBuf, u64)>,
    /// Bytes of files that are not ours, and of what is being written.
    other: u64,
    /// What was removed since.
    gone: Vec<Seen>,
}

impl Files {
    /// Evicts one batch, if nobody else does. `surplus` says how much has to go of the whole store.
    pub(super) fn relieve(&self, surplus: &dyn Fn(Totals) -> Surplus) -> Relief {
        let Some(_lock) = self.eviction_lock() else { return Relief::Busy };
        let now = self.clock.now();
        let books = self.ledger.read();
        let before = books.totals();
        let mut visits = Vec::new();
        let mut seen = 0;
        while seen < BATCH && visits.len() < SHARDS {
            let shard = books.cursor.wrapping_add(visits.len() as u8);
            let visit = self.visit(shard, &books);
            seen += visit.items.len();
            visits.push(visit);
        }
        for visit in &mut visits {
            self.remove_aged(visit, now);
        }
        let aged: u64 = visits.iter().flat_map(|visit| &visit.gone).map(|seen| seen.cost).sum();
        let surplus = surplus(before);
        let bytes = share(surplus.bytes.saturating_sub(aged), &visits, before.bytes, |seen| seen.cost);
        let entries = share(surplus.entries, &visits, before.entries, |seen| {
            u64::from(seen.address.space == Space::Entries)
        });
        self.remove_oldest(&mut visits, bytes, entries);
        Relief::Done(self.settle(visits, now))
    }

    /// Removes the least recently used items of a batch until so many bytes and entries are gone.
    fn remove_oldest(&self, visits: &mut [Visit], mut bytes: u64, mut entries: u64) {
        let mut order: Vec<(Timestamp, usize, usize)> = Vec::new();
        for (v, visit) in visits.iter().enumerate() {
            order.extend(visit.items.iter().enumerate().map(|(i, seen)| (seen.recency.order(), v, i)));
        }
        order.sort_unstable();
        let mut chosen: Vec<Vec<usize>> = vec![Vec::new(); visits.len()];
        for (_, v, i) in order {
            if bytes == 0 && entries == 0 {
                break;
            }
            let seen = &visits[v].items[i];
            let is_entry = seen.address.space == Space::Entries;
            if seen.protected || (bytes == 0 && !is_entry) || !self.unlink(seen) {
                continue;
            }
            bytes = bytes.saturating_sub(seen.cost);
            entries = entries.saturating_sub(u64::from(is_entry));
            chosen[v].push(i);
        }
        for (visit, mut chosen) in visits.iter_mut().zip(chosen) {
            chosen.sort_unstable();
            for i in chosen.into_iter().rev() {
                visit.gone.push(visit.items.swap_remove(i));
            }
        }
    }

    /// Removes what was not used for too long.
    pub(super) fn remove_aged(&self, visit: &mut Visit, now: Timestamp) {
        let Some(max_age) = self.policy.max_age else { return };
        self.remove_if(visit, |seen| now.since(seen.recency.used) > max_age);
    }

    /// Removes those items that `doomed` names and that were not just used.
    pub(super) fn remove_if(&self, visit: &mut Visit, mut doomed: impl FnMut(&Seen) -> bool) {
        let (gone, items) = std::mem::take(&mut visit.items)
            .into_iter()
            .partition(|seen| !seen.protected && doomed(seen) && self.unlink(seen));
        visit.items = items;
        visit.gone.extend::<Vec<Seen>>(gone);
    }

    /// Removes a file unless it was written or used since it was seen; returns whether it is gone.
    fn unlink(&self, seen: &Seen) -> bool {
        let path = self.path(&seen.address);
        match path.symlink_metadata() {
            Ok(meta) if Recency::of(&meta) != seen.recency || cost(meta.len()) != seen.cost => false,
            Ok(meta) if item::is_protected(&meta, self.protect) => false,
            Ok(_) => fs::remove_file(&path).is_ok(),
            Err(_) => false,
        }
    }

    /// Looks at every file of a shard. Brings times that lie in the future back to now.
    pub(super) fn visit(&self, shard: u8, books: &Books) -> Visit {
        let now = self.clock.now();
        let seq = books.shards[usize::from(shard)].seq;
        let mut visit = Visit {
            shard,
            seq,
            items: Vec::new(),
            dirs: Vec::new(),
            other: self.being_written(shard),
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

    /// Returns the bytes that temporary files of a shard take or have reserved.
    fn being_written(&self, shard: u8) -> u64 {
        self.temporary_files()
            .filter(|file| file.shard == Some(shard))
            .fold(0, |sum, file| sum.saturating_add(file.reserved.max(cost(file.len))))
    }

    /// Lists the temporary files.
    fn temporary_files(&self) -> impl Iterator<Item = TemporaryFile> {
        let files = fs::read_dir(self.root.join("tmp")).into_iter().flatten();
        files.filter_map(|file| {
            let file = file.ok()?;
            let meta = file.metadata().ok()?;
            let (shard, reserved) = file.file_name().to_str().and_then(super::temp::parse_name).unzip();
            Some(TemporaryFile {
                path: file.path(),
                shard,
                reserved: reserved.unwrap_or(0),
                len: meta.len(),
                modified: meta.modified().ok().filter(|_| meta.is_file()),
            })
        })
    }

    /// Returns the temporary files that a process left behind when it died.
    pub(super) fn leftovers(&self) -> Vec<(PathBuf, u64)> {
        let now = SystemTime::now();
        // Also those of the far future, which a clock that was wrong has made.
        let old = |time: SystemTime| {
            now.duration_since(time).unwrap_or_else(|ahead| ahead.duration()) > LEFTOVER_AGE
        };
        self.temporary_files()
            .filter(|file| file.modified.is_some_and(old))
            .map(|file| (file.path, file.len))
            .collect()
    }

    /// Removes the temporary files that a process left behind when it died; returns how many, and their bytes.
    pub(super) fn remove_leftovers(&self) -> (u64, u64) {
        let leftovers = self.leftovers();
        let removed = leftovers.iter().filter(|(path, _)| fs::remove_file(path).is_ok());
        removed.fold((0, 0), |(count, bytes), (_, len)| (count + 1, bytes + cost(*len)))
    }

    /// Writes what visits found and did into the ledger and moves on to the shard after the last of them.
    pub(super) fn settle(&self, mut visits: Vec<Visit>, now: Timestamp) -> Batch {
        let Some(next) = visits.last().map(|visit| visit.shard.wrapping_add(1)) else {
            return Batch::default();
        };
        for visit in visits.iter_mut().filter(|visit| visit.items.is_empty()) {
            // In a small store the directories cost as much as the files. Removing fails unless it is empty.
            visit.dirs.retain(|(dir, _)| fs::remove_dir(dir).is_err());
        }
        self.ledger.update(|books| {
            books.cursor = next;
            for visit in &visits {
                record(visit, books);
            }
        });
        let mut batch = Batch { shards: visits.len(), items: 0, bytes: 0 };
        for seen in visits.iter().flat_map(|visit| &visit.gone) {
            batch.items += 1;
            batch.bytes += seen.cost;
        }
        self.evicted.note(visits.iter().flat_map(|visit| &visit.gone).map(|seen| &seen.address), now);
        if batch.items > 0 {
            self.emit(|| Event::Evicted { items: batch.items, bytes: batch.bytes });
        }
        batch
    }

    /// Counts shards that the ledger does not know, until about `files` files were seen.
    pub(super) fn count_unknown(&self, files: usize) {
        if self.read_only {
            return;
        }
        let books = self.ledger.read();
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

    /// Counts what the ledger does not know, and now and then looks after a shard: part of every put.
    pub(super) fn tend(&self) {
        let books = self.ledger.read();
        if books.shards.iter().any(|record| !record.known) {
            self.count_unknown(BATCH);
        }
        let now = self.clock.now();
        let due = now.since(books.tended) >= TEND_INTERVAL || books.tended.since(now) > item::CLOCK_SKEW;
        if !due {
            return;
        }
        let Some(_lock) = self.eviction_lock() else { return };
        self.ledger.update(|books| books.tended = now);
        self.remove_leftovers();
        let mut visit = self.visit(books.cursor, &books);
        self.remove_aged(&mut visit, now);
        self.settle(vec![visit], now);
    }

    /// Returns the lock that evicting takes, until the file is closed; nothing if somebody else has it.
    pub(super) fn eviction_lock(&self) -> Option<File> {
        let mut options = fs::OpenOptions::new();
        options.write(true).create(true).truncate(false);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        let file = options.open(self.root.join("evict.lock")).ok()?;
        match file.try_lock() {
            Err(fs::TryLockError::WouldBlock) => None,
            // On a file system without locks two may evict at a time, which does no harm: they evict more than needed.
            Ok(()) | Err(fs::TryLockError::Error(_)) => Some(file),
        }
    }
}

/// What is found in `tmp/`.
struct TemporaryFile {
    path: PathBuf,
    shard: Option<u8>,
    reserved: u64,
    len: u64,
    /// Nothing if it is no regular file.
    modified: Option<SystemTime>,
}

/// Writes one visit into the ledger: exactly, if nothing else happened in the shard meanwhile.
fn record(visit: &Visit, books: &mut Books) {
    let count = |items: &[Seen]| {
        let entries = items.iter().filter(|seen| seen.address.space == Space::Entries).count() as u32;
        let bytes = items.iter().fold(0, |sum: u64, seen| sum.saturating_add(seen.cost));
        (bytes, entries, items.len() as u32 - entries)
    };
    let record = books.shard(visit.shard);
    if record.seq == visit.seq {
        let (bytes, entries, blobs) = count(&visit.items);
        let dirs: u64 = visit.dirs.iter().map(|(_, cost)| cost).sum();
        let bytes = bytes.saturating_add(visit.other).saturating_add(dirs);
        (record.bytes, record.entries, record.blobs) = (bytes, entries, blobs);
        record.known = true;
        record.seq = record.seq.wrapping_add(1);
    } else {
        let (bytes, entries, blobs) = count(&visit.gone);
        record.subtract(bytes, entries, blobs);
    }
}

/// Returns what `visits` contribute to `surplus`, which is of `total`.
fn share(surplus: u64, visits: &[Visit], total: u64, of: impl Fn(&Seen) -> u64) -> u64 {
    if surplus == 0 || visits.len() == SHARDS {
        return surplus;
    }
    let here: u64 = visits.iter().flat_map(|visit| &visit.items).map(of).fold(0, u64::saturating_add);
    let share = (u128::from(surplus) * u128::from(here)).div_ceil(u128::from(total.max(1)));
    u64::try_from(share).unwrap_or(u64::MAX)
}

/// Returns what a directory costs; never less than an empty one on most file systems.
fn dir_cost(dir: &std::path::Path) -> u64 {
    EMPTY_DIR.max(dir.symlink_metadata().map_or(0, |meta| cost(meta.len())))
}

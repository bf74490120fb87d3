//! Eviction, a batch at a time.
//!
//! The shards are visited in turn, and the place is kept in the ledger, so that all processes together go round. A
//! batch takes shards until it has seen a few hundred files, and removes the least recently used of them, in proportion
//! to what has to go of the whole: addresses are hashes, so a few shards are a fair sample of all. (Redis evicts by
//! samples of five: <https://redis.io/docs/latest/develop/reference/eviction/>.) A small store is seen as a whole, and
//! evicted exactly.

use std::fs::{self, File};
use std::time::Duration;

use cache_core::{Event, Timestamp};

use super::Files;
use super::address::{SHARDS, Space};
use super::item::{self, Recency, cost};
use super::ledger::{Books, Totals};
use super::room::Surplus;
use super::visit::{Seen, Visit, record};

/// Files that a batch looks at before it decides.
const BATCH: usize = 512;
/// How often a put looks after a shard although there is room: the whole store is aged in a day of use.
const TEND_INTERVAL: Duration = Duration::from_mins(5);
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

impl Files {
    /// Evicts one batch, if nobody else does. `surplus` says how much has to go of the whole store.
    pub(super) fn relieve(&self, surplus: &dyn Fn(Totals) -> Surplus) -> Relief {
        let Some(_lock) = self.eviction_lock() else { return Relief::Busy };
        let now = self.clock.now();
        let books = self.ledger.before_count();
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

    /// Writes what visits found and did into the ledger and moves on to the shard after the last of them.
    pub(super) fn settle(&self, mut visits: Vec<Visit>, now: Timestamp) -> Batch {
        let Some(next) = visits.last().map(|visit| visit.shard.wrapping_add(1)) else {
            return Batch::default();
        };
        self.ledger.update(|books| {
            books.cursor = next;
            for visit in &mut visits {
                if visit.items.is_empty() {
                    // In a small store the directories cost as much as the files. Removing fails unless it is empty;
                    // the lock keeps it from going between a writer's making it and its use.
                    visit.dirs.retain(|(dir, _)| fs::remove_dir(dir).is_err());
                }
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

    /// Returns whether it is time to [`tend`](Self::tend) the store.
    pub(super) fn needs_tending(&self, books: &Books) -> bool {
        books.shards.iter().any(|record| !record.known) || is_due(books, self.clock.now())
    }

    /// Counts what the ledger does not know, and now and then looks after a shard.
    pub(super) fn tend(&self) {
        self.count_unknown(BATCH);
        let now = self.clock.now();
        let Some(_lock) = self.eviction_lock() else { return };
        if !self.ledger.update(|books| is_due(books, now) && std::mem::replace(&mut books.tended, now) != now)
        {
            return;
        }
        self.remove_leftovers();
        let books = self.ledger.before_count();
        let mut visit = self.visit(books.cursor, &books);
        self.remove_aged(&mut visit, now);
        self.settle(vec![visit], now);
    }

    /// Returns the lock that evicting takes, until the file is closed; nothing if somebody else has it.
    pub(super) fn eviction_lock(&self) -> Option<File> {
        let mut options = fs::OpenOptions::new();
        options.write(true).create(true).truncate(false);
        #[cfg(unix)]
        {
            use rustix::fs::OFlags;
            use std::os::unix::fs::OpenOptionsExt;
            // A pipe in its place is no reason to wait.
            options.mode(0o600).custom_flags((OFlags::NOFOLLOW | OFlags::NONBLOCK).bits().cast_signed());
        }
        let file = options.open(self.root.join("evict.lock")).ok()?;
        match file.try_lock() {
            Err(fs::TryLockError::WouldBlock) => None,
            // On a file system without locks two may evict at a time, which does no harm: they evict more than needed.
            Ok(()) | Err(fs::TryLockError::Error(_)) => Some(file),
        }
    }
}

/// Returns whether a shard should be looked after; also if the clock went back meanwhile.
fn is_due(books: &Books, now: Timestamp) -> bool {
    now.since(books.tended) >= TEND_INTERVAL || books.tended.since(now) > item::CLOCK_SKEW
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

#[cfg(test)]
mod tests {
    use super::super::Address;
    use super::*;
    use crate::options::Options;
    use crate::place::Place;
    use cache_core::{ManualClock, Policy};
    use std::sync::Arc;

    /// Returns a store with `count` entries, each used a second later than the one before.
    fn filled(dir: &std::path::Path, count: u32) -> Files {
        let options = Options {
            policy: Some(Policy::unlimited()),
            protect: Duration::ZERO,
            clock: Arc::new(ManualClock::new(at(count))),
            ..Options::default()
        };
        let files = Files::open(&Place::open(dir, &options).unwrap(), options).unwrap();
        for number in 0..count {
            let path = files.path(&address(number));
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(&path, b"?").unwrap();
            let file = File::options().write(true).open(path).unwrap();
            file.set_modified(at(number).into()).unwrap();
        }
        files
    }

    fn at(number: u32) -> Timestamp {
        Timestamp::from_millis(1_700_000_000_000 + 1000 * u64::from(number))
    }

    fn address(number: u32) -> Address {
        // Spread evenly over the shards.
        let mut id = *cache_core::Digest::blake3(&number.to_le_bytes()).as_bytes();
        id[0] = number as u8;
        Address { space: Space::Entries, id }
    }

    fn a_tenth(totals: Totals) -> Surplus {
        Surplus { bytes: totals.bytes / 10, entries: 0 }
    }

    #[test]
    fn a_batch_looks_at_a_part_of_a_large_store() {
        let dir = tempfile::tempdir().unwrap();
        let files = filled(dir.path(), 2560);
        files.count_unknown(usize::MAX);
        assert_eq!(files.ledger.read().totals().entries, 2560);
        let Relief::Done(batch) = files.relieve(&a_tenth) else { panic!("nobody else is at it") };
        // Ten in each shard.
        assert_eq!(batch.shards, BATCH.div_ceil(10));
        assert!((50..70).contains(&batch.items), "a tenth of what it looked at: {batch:?}");
        let Relief::Done(second) = files.relieve(&a_tenth) else { panic!("nobody else is at it") };
        assert_eq!(
            (second.shards, files.ledger.read().cursor),
            (52, 104),
            "it goes on where the first ended"
        );
        assert_eq!(files.ledger.read().totals().entries, 2560 - batch.items - second.items);
    }

    #[test]
    fn a_small_store_loses_its_oldest() {
        let dir = tempfile::tempdir().unwrap();
        let files = filled(dir.path(), 300);
        let surplus = |_| Surplus { bytes: 0, entries: 100 };
        let Relief::Done(batch) = files.relieve(&surplus) else { panic!("nobody else is at it") };
        assert_eq!(batch.items, 100);
        for number in 0..300 {
            assert_eq!(files.path(&address(number)).exists(), number >= 100, "{number}");
        }
    }

    #[test]
    fn one_evicts_and_the_others_go_on() {
        let dir = tempfile::tempdir().unwrap();
        let (one, other) = (filled(dir.path(), 3), filled(dir.path(), 0));
        let lock = one.eviction_lock().unwrap();
        assert_eq!(other.relieve(&a_tenth), Relief::Busy);
        drop(lock);
        assert!(matches!(other.relieve(&a_tenth), Relief::Done(_)));
    }

    #[test]
    fn what_was_used_since_it_was_seen_stays() {
        let dir = tempfile::tempdir().unwrap();
        let files = filled(dir.path(), 1);
        let mut visit = files.visit(0, &files.ledger.read());
        let file = File::options().write(true).open(files.path(&address(0))).unwrap();
        file.set_modified(at(7).into()).unwrap();
        files.remove_if(&mut visit, |_| true);
        assert!(visit.items.len() == 1 && files.path(&address(0)).exists());
    }

    #[test]
    fn a_count_that_was_overtaken_is_not_believed() {
        let dir = tempfile::tempdir().unwrap();
        let files = filled(dir.path(), 0);
        files.count_unknown(usize::MAX);
        let visit = files.visit(7, &files.ledger.before_count());
        files.ledger.update(|books| books.shard(7).add(5000, 1, 0));
        files.settle(vec![visit], at(0));
        let record = files.ledger.read().shards[7];
        assert_eq!((record.bytes, record.entries), (5000, 1));
        // A count that nothing overtakes puts it right.
        let visit = files.visit(7, &files.ledger.before_count());
        files.settle(vec![visit], at(0));
        assert_eq!(files.ledger.read().shards[7].bytes, 0);
    }

    #[test]
    fn what_is_being_written_counts() {
        let dir = tempfile::tempdir().unwrap();
        let files = filled(dir.path(), 0);
        std::fs::write(dir.path().join("files-v1/tmp/07-8352-1-x"), b"").unwrap();
        files.count_unknown(usize::MAX);
        let record = files.ledger.read().shards[7];
        assert_eq!((record.bytes, record.entries), (8352, 1));
    }
}

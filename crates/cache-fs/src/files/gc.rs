//! The full collection: what eviction does bit by bit, for the whole store at once, and what only a look at every entry
//! can tell.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use cache_core::{Collected, Digest, Error, Result};

use super::Files;
use super::address::Space;
use super::entries::Loaded;
use super::evict::Relief;
use super::item::cost;
use super::room::Demand;
use super::visit::{Seen, Visit};

/// How long to wait for a process that is evicting. It holds the lock for milliseconds.
const PATIENCE: Duration = Duration::from_secs(5);
const PAUSE: Duration = Duration::from_millis(10);

impl Files {
    pub(crate) fn gc(&self, dry_run: bool) -> Result<Collected> {
        if !dry_run {
            self.writable()?;
        }
        let mut report = Collected::default();
        let named = self.collect_entries(dry_run, &mut report)?;
        self.collect_rest(dry_run, &named, &mut report)?;
        if dry_run {
            let leftovers = self.leftovers();
            report.leftovers = leftovers.len() as u64;
            report.bytes += leftovers.iter().map(|(_, len)| cost(*len)).sum::<u64>();
            self.estimate_evicted(&mut report);
            return Ok(report);
        }
        let (leftovers, bytes) = self.remove_leftovers();
        report.leftovers = leftovers;
        report.bytes += bytes;
        self.trim_quarantine();
        self.count_unknown(usize::MAX);
        self.keep_limits(&mut report);
        Ok(report)
    }

    /// Removes entries whose time is over or that cannot be used; returns the blobs that the others name.
    fn collect_entries(&self, dry_run: bool, report: &mut Collected) -> Result<HashSet<Digest>> {
        let now = self.clock.now();
        let mut named = HashSet::new();
        for shard in 0..=u8::MAX {
            for address in self.entries_of(shard)? {
                match self.load(&address)? {
                    Loaded::Absent | Loaded::Newer => {}
                    Loaded::Corrupt => report.broken += 1,
                    Loaded::Entry(entry, meta) => {
                        let expired = entry.meta.is_expired(now);
                        let broken = !expired && entry.blobs().any(|(digest, _)| !self.blob_exists(digest));
                        if (expired || broken) && (dry_run || self.remove_seen(&address, &meta)) {
                            *(if expired { &mut report.expired } else { &mut report.broken }) += 1;
                            report.bytes += cost(meta.len());
                            if broken && !dry_run {
                                // Its blobs were evicted before it.
                                self.evicted.note([&address], now);
                            }
                        } else {
                            named.extend(entry.blobs().map(|(digest, _)| *digest));
                        }
                    }
                }
            }
        }
        Ok(named)
    }

    pub(super) fn blob_exists(&self, digest: &Digest) -> bool {
        let path = self.path(&super::Address::blob(digest));
        path.symlink_metadata().is_ok_and(|meta| meta.is_file())
    }

    /// Removes what was not used for too long and blobs that nothing names, and counts every shard anew.
    fn collect_rest(&self, dry_run: bool, named: &HashSet<Digest>, report: &mut Collected) -> Result<()> {
        let now = self.clock.now();
        for shard in 0..=u8::MAX {
            let _lock = if dry_run { None } else { Some(self.wait_for_eviction_lock()?) };
            let mut visit = self.visit(shard, &self.ledger.before_count());
            let too_old =
                |seen: &Seen| self.policy.max_age.is_some_and(|age| now.since(seen.recency.used) > age);
            let unnamed = |seen: &Seen| seen.address.digest().is_some_and(|digest| !named.contains(&digest));
            if dry_run {
                for seen in visit.items.iter().filter(|seen| !seen.protected) {
                    let aged = too_old(seen);
                    report.aged += u64::from(aged);
                    report.unreferenced += u64::from(!aged && unnamed(seen));
                    report.bytes += if aged || unnamed(seen) { seen.cost } else { 0 };
                }
                continue;
            }
            report.aged += self.removing(&mut visit, too_old);
            report.unreferenced += self.removing(&mut visit, unnamed);
            report.bytes += self.settle(vec![visit], now).bytes;
        }
        Ok(())
    }

    fn removing(&self, visit: &mut Visit, doomed: impl FnMut(&Seen) -> bool) -> u64 {
        let before = visit.items.len();
        self.remove_if(visit, doomed);
        (before - visit.items.len()) as u64
    }

    /// Evicts down to the low-water marks if a limit is exceeded.
    fn keep_limits(&self, report: &mut Collected) {
        // Each batch removes its share, so a whole round does what one look at everything would.
        for _ in 0..=u8::MAX {
            let surplus = self.surplus(self.ledger.read().totals(), Demand::default());
            if (surplus.bytes, surplus.entries) == (0, 0) {
                return;
            }
            match self.relieve(&|totals| self.surplus(totals, Demand::default())) {
                Relief::Done(batch) if batch.items > 0 => {
                    report.evicted += batch.items;
                    report.bytes += batch.bytes;
                }
                Relief::Done(_) => {}
                Relief::Busy => std::thread::sleep(PAUSE),
            }
        }
    }

    /// Estimates what is beyond the limits besides what goes anyway, as if all were of one size.
    fn estimate_evicted(&self, report: &mut Collected) {
        let mut totals = self.ledger.read().totals();
        totals.bytes = totals.bytes.saturating_sub(report.bytes);
        let items = totals.entries.saturating_add(totals.blobs).max(1);
        let surplus = self.surplus(totals, Demand::default());
        let share = |whole: u64, part: u64, of: u64| {
            (u128::from(whole) * u128::from(part.min(of)) / u128::from(of)) as u64
        };
        let evicted = share(items, surplus.bytes, totals.bytes.max(1)).max(surplus.entries);
        report.evicted += evicted;
        report.bytes += share(totals.bytes, evicted, items);
    }

    fn wait_for_eviction_lock(&self) -> Result<std::fs::File> {
        let start = Instant::now();
        loop {
            if let Some(lock) = self.eviction_lock() {
                return Ok(lock);
            }
            if start.elapsed() >= PATIENCE {
                let store = format!("the cache at {}", self.dir.display());
                let why = "another process is evicting from it; try again in a moment".to_owned();
                return Err(Error::Unavailable { store, why });
            }
            std::thread::sleep(PAUSE);
        }
    }

    /// Returns the addresses of every blob in a shard.
    pub(super) fn blobs_of(&self, shard: u8) -> Result<Vec<super::Address>> {
        let mut all = Vec::new();
        for space in super::SPACES.into_iter().filter(|space| *space != Space::Entries) {
            all.append(&mut self.addresses(space, shard)?);
        }
        Ok(all)
    }
}

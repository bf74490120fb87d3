//! How often a cache that holds a tenth of the bytes has what is asked for.

use std::fs;
use std::path::Path;

use lru::LruCache;
use quick_cache::Weighter;

use crate::peers::{self, Peer, Result};
use crate::plan::{CACHED_PART, Plan, READS_PER_SCAN};
use crate::usage;
use bench::rng::Rng;
use bench::workload::{self, SEED, Values, Zipf};

/// The hit ratios of one cache, from 0 to 1.
pub(crate) struct Hits {
    pub(crate) name: &'static str,
    pub(crate) zipf: f64,
    pub(crate) with_scans: f64,
    pub(crate) disk: Option<Disk>,
}

/// Of the cache that is a store.
pub(crate) struct Disk {
    /// Most bytes that it was seen to take, of the limit.
    pub(crate) most: u64,
    pub(crate) limit: u64,
    /// Bytes of the values that are there at the end of the run without scans.
    pub(crate) held_bytes: u64,
    /// Bytes of the index for each entry that the full cache holds.
    pub(crate) index: f64,
}

/// Name of the file with the index.
const INDEX: &str = "index";

pub(crate) const QUICK_CACHE: &str = "quick_cache";
pub(crate) const LRU: &str = "LRU";

trait Cache {
    fn get(&mut self, id: u64) -> Result<bool>;
    fn insert(&mut self, id: u64) -> Result;
    /// Called now and then.
    fn look(&mut self) -> Result {
        Ok(())
    }
}

pub(crate) fn run(scratch: &Path, plan: &Plan, ours: bool) -> Result<Vec<Hits>> {
    let total: u64 = (0..plan.policy_values).map(|id| workload::len(id) as u64).sum();
    let limit = total / CACHED_PART;
    let items = (plan.policy_values / CACHED_PART) as usize;
    let mut all = Vec::new();
    if ours {
        let kind = peers::find(peers::SEGMENTS)?;
        let (mut most, mut held_bytes, mut index) = (0, 0, 0.0);
        let mut ratio = |scans| {
            let dir = scratch.join("hits");
            fs::create_dir(&dir)?;
            let peer = (kind.open)(&dir, limit)?;
            let (values, buffer) = (Values::new(), Vec::new());
            let mut stored = Stored { peer, values, buffer, dir: &dir, most: 0 };
            let ratio = hit_ratio(&mut stored, plan, scans);
            most = most.max(stored.most);
            if !scans {
                let bytes = usage::disk_of(&dir, &|name| name == INDEX)?;
                let (held, of_values) = stored.held(plan.policy_values)?;
                (held_bytes, index) = (of_values, bytes as f64 / held as f64);
            }
            drop(stored);
            fs::remove_dir_all(&dir)?;
            ratio
        };
        let (zipf, with_scans) = (ratio(false)?, ratio(true)?);
        all.push(Hits {
            name: kind.name,
            zipf,
            with_scans,
            disk: Some(Disk { most, limit, held_bytes, index }),
        });
    }
    let quick = |scans| {
        let cache = quick_cache::unsync::Cache::with_weighter(items, limit, Bytes);
        hit_ratio(&mut Quick(cache), plan, scans)
    };
    all.push(Hits { name: QUICK_CACHE, zipf: quick(false)?, with_scans: quick(true)?, disk: None });
    let lru = |scans| {
        let mut cache = Lru { ids: LruCache::unbounded(), bytes: 0, limit };
        hit_ratio(&mut cache, plan, scans)
    };
    all.push(Hits { name: LRU, zipf: lru(false)?, with_scans: lru(true)?, disk: None });
    Ok(all)
}

/// Replays the same reads for each cache. What is not there is inserted, as a build would do.
fn hit_ratio(cache: &mut impl Cache, plan: &Plan, scans: bool) -> Result<f64> {
    let zipf = Zipf::new(plan.policy_values);
    let mut rng = Rng::new(SEED ^ 6);
    let mut hits = 0u64;
    for n in 0..plan.policy_reads * 2 {
        let id = zipf.draw(&mut rng);
        let hit = cache.get(id)?;
        if !hit {
            cache.insert(id)?;
        }
        if hit && n >= plan.policy_reads {
            hits += 1;
        }
        if scans && n % READS_PER_SCAN == 0 {
            cache.insert(workload::scanned(n))?;
        }
        if n % 1_000 == 0 {
            cache.look()?;
        }
    }
    Ok(hits as f64 / plan.policy_reads as f64)
}

struct Stored<'a> {
    peer: Box<dyn Peer>,
    values: Values,
    buffer: Vec<u8>,
    dir: &'a Path,
    most: u64,
}

impl Stored<'_> {
    /// Returns how many of the values are there, and their bytes.
    fn held(&mut self, values: u64) -> Result<(u64, u64)> {
        let (mut held, mut bytes) = (0, 0);
        for id in 0..values {
            if self.get(id)? {
                held += 1;
                bytes += workload::len(id) as u64;
            }
        }
        Ok((held, bytes))
    }
}

impl Cache for Stored<'_> {
    fn get(&mut self, id: u64) -> Result<bool> {
        let found = self.peer.get(&workload::key(id), &mut self.buffer)?;
        if found.is_some_and(|found| !self.values.is_value(id, found)) {
            return Err(format!("a wrong value for entry {id} while evicting").into());
        }
        Ok(found.is_some())
    }

    fn insert(&mut self, id: u64) -> Result {
        self.peer.put(&workload::key(id), self.values.value(id))
    }

    fn look(&mut self) -> Result {
        self.most = self.most.max(usage::disk(self.dir)?);
        Ok(())
    }
}

#[derive(Clone)]
struct Bytes;

impl Weighter<u64, ()> for Bytes {
    fn weight(&self, id: &u64, (): &()) -> u64 {
        workload::len(*id) as u64
    }
}

struct Quick(quick_cache::unsync::Cache<u64, (), Bytes>);

impl Cache for Quick {
    fn get(&mut self, id: u64) -> Result<bool> {
        Ok(self.0.get(&id).is_some())
    }

    fn insert(&mut self, id: u64) -> Result {
        self.0.insert(id, ());
        Ok(())
    }
}

struct Lru {
    ids: LruCache<u64, ()>,
    bytes: u64,
    limit: u64,
}

impl Cache for Lru {
    fn get(&mut self, id: u64) -> Result<bool> {
        Ok(self.ids.get(&id).is_some())
    }

    fn insert(&mut self, id: u64) -> Result {
        if self.ids.put(id, ()).is_none() {
            self.bytes += workload::len(id) as u64;
        }
        while self.bytes > self.limit
            && let Some((id, ())) = self.ids.pop_lru()
        {
            self.bytes -= workload::len(id) as u64;
        }
        Ok(())
    }
}

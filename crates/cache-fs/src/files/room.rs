//! Whether something fits, and making it fit.

use std::time::{Duration, Instant};

use cache_core::{Error, Policy, Result};

use super::Files;
use super::evict::Relief;
use super::ledger::{FIXED, Totals};
use crate::disk::{self, human};

/// How long a put waits for another process that is making room, when it cannot go on without it.
const PATIENCE: Duration = Duration::from_millis(250);
/// Pause between two looks at whether there is room by now.
const PAUSE: Duration = Duration::from_millis(5);
/// Batches in a row that found nothing to evict after which a put gives up.
const FRUITLESS: u32 = 2;
/// When the free-space floor is met, this part of the store goes beyond what is needed, so that not every put evicts.
const FLOOR_SLACK: u64 = 32;

/// What is about to be added.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Demand {
    pub(super) bytes: u64,
    pub(super) entries: u64,
}

/// How much has to go.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Surplus {
    pub(super) bytes: u64,
    pub(super) entries: u64,
}

/// Whether a demand can be met.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Fits,
    /// It can, and it is time to make room for the next ones.
    Tight,
    /// It cannot, and why.
    Over(String),
}

/// Above the low-water mark, half of the way to the limit is left free, so that puts seldom have to wait for eviction.
fn soft_limit(policy: &Policy, limit: u64) -> u64 {
    limit - (limit - policy.low_water(limit)) / 2
}

impl Files {
    /// Returns whether `demand` can be met.
    pub(super) fn judge(&self, totals: Totals, demand: Demand) -> Verdict {
        let policy = &self.policy;
        let mut verdict = Verdict::Fits;
        let bytes = totals.bytes.saturating_add(demand.bytes);
        if let Some(limit) = policy.max_bytes {
            if bytes > limit {
                return Verdict::Over(format!(
                    "{} are needed and {} of {} are in use, by what was just used or cannot be evicted; raise the \
                     size limit or wait a minute",
                    human(demand.bytes),
                    human(totals.bytes),
                    human(limit)
                ));
            }
            if bytes > soft_limit(policy, limit) {
                verdict = Verdict::Tight;
            }
        }
        let entries = totals.entries.saturating_add(demand.entries);
        if let Some(limit) = policy.max_entries.filter(|_| demand.entries > 0) {
            if entries > limit {
                return Verdict::Over(format!(
                    "{} of {limit} entries are in use, all of them within the last minute; raise the limit of entries \
                     or wait a minute",
                    totals.entries
                ));
            }
            if entries > soft_limit(policy, limit) {
                verdict = Verdict::Tight;
            }
        }
        if let Some(free) = self.free_if_it_matters()
            && free < policy.free_space_floor.saturating_add(demand.bytes)
        {
            return Verdict::Over(format!(
                "its disk has {} free, and {} are to stay free; free some space or lower the free-space floor",
                human(free),
                human(policy.free_space_floor)
            ));
        }
        verdict
    }

    fn free_if_it_matters(&self) -> Option<u64> {
        (self.policy.free_space_floor > 0).then(|| disk::space(&self.root).map(|space| space.free)).flatten()
    }

    /// Returns how much has to go so that `demand` can be met and the store is at its low-water mark.
    pub(super) fn surplus(&self, totals: Totals, demand: Demand) -> Surplus {
        let policy = &self.policy;
        let over = |limit: Option<u64>, used: u64, more: u64| {
            limit.map_or(0, |limit| {
                let wanted = used.saturating_add(more);
                if wanted > soft_limit(policy, limit) {
                    wanted - policy.low_water(limit).min(wanted)
                } else {
                    0
                }
            })
        };
        let mut bytes = over(policy.max_bytes, totals.bytes, demand.bytes);
        let entries = over(policy.max_entries, totals.entries, demand.entries);
        if let Some(free) = self.free_if_it_matters() {
            let short = policy.free_space_floor.saturating_add(demand.bytes).saturating_sub(free);
            if short > 0 {
                bytes = bytes.max(short.saturating_add(totals.bytes / FLOOR_SLACK));
            }
        }
        Surplus { bytes, entries }
    }

    /// Refuses what could not be stored even if everything else went.
    pub(super) fn check_size(&self, demand: Demand) -> Result<()> {
        let size = demand.bytes.saturating_add(FIXED);
        match self.policy.max_bytes {
            Some(limit) if size > limit => Err(Error::TooLarge {
                what: "it, with what the cache needs for itself,".to_owned(),
                size,
                limit,
            }),
            _ => Ok(()),
        }
    }

    /// Evicts batches until `demand` can be met. Each looks at a few hundred files, so that a put waits in proportion to
    /// what it adds, not to what the store holds.
    pub(super) fn make_room(&self, demand: Demand) -> Result<()> {
        let start = Instant::now();
        let mut fruitless = 0;
        loop {
            let Verdict::Over(why) = self.judge(self.ledger.read().totals(), demand) else { return Ok(()) };
            match self.relieve(&|totals| self.surplus(totals, demand)) {
                Relief::Done(batch) if batch.bytes > 0 => fruitless = 0,
                Relief::Done(_) => fruitless += 1,
                Relief::Busy if start.elapsed() < PATIENCE => std::thread::sleep(PAUSE),
                Relief::Busy => fruitless = FRUITLESS,
            }
            if fruitless >= FRUITLESS {
                // What was found may have been less than the ledger said.
                return match self.judge(self.ledger.read().totals(), demand) {
                    Verdict::Over(_) => Err(self.full(why)),
                    Verdict::Fits | Verdict::Tight => Ok(()),
                };
            }
        }
    }

    /// Evicts about `bytes` because the system says that the disk or a quota is full, whatever the limits say.
    pub(super) fn make_room_on_disk(&self, bytes: u64) {
        self.remove_leftovers();
        let mut left = bytes;
        let mut fruitless = 0;
        while left > 0 && fruitless < FRUITLESS {
            // In one store much is asked for and in another little; a part of what there is keeps the next put away.
            match self.relieve(&|totals| Surplus { bytes: left.max(totals.bytes / FLOOR_SLACK), entries: 0 })
            {
                Relief::Done(batch) if batch.bytes > 0 => left = left.saturating_sub(batch.bytes),
                Relief::Done(_) => fruitless += 1,
                Relief::Busy => {
                    std::thread::sleep(PAUSE);
                    fruitless += 1;
                }
            }
        }
    }

    pub(super) fn full(&self, why: String) -> Error {
        Error::Full { place: self.dir.display().to_string(), why }
    }
}

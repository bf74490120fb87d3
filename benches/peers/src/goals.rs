//! What the engine is to reach, and whether it does.

use std::fmt;

use crate::contender::{Contenders, Results};
use crate::measure::Hits;
use crate::measure::hits::{LRU, QUICK_CACHE};
use crate::peers::{FILES, LMDB, SEGMENTS};
use crate::report::median;
use bench::samples::Samples;

pub(crate) struct Goal {
    what: &'static str,
    outcome: Outcome,
    /// The numbers behind it.
    why: String,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Outcome {
    Met,
    /// Not there yet, but better than what one would pick instead.
    FirstStep,
    Missed,
    NotMeasured,
}

impl Outcome {
    fn of(met: bool, first_step: bool) -> Self {
        match (met, first_step) {
            (true, _) => Self::Met,
            (false, true) => Self::FirstStep,
            (false, false) => Self::Missed,
        }
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Met => "met",
            Self::FirstStep => "first step",
            Self::Missed => "MISSED",
            Self::NotMeasured => "not measured",
        })
    }
}

impl Goal {
    pub(crate) fn is_missed(&self) -> bool {
        self.outcome == Outcome::Missed
    }
}

/// Opening is flat if a thousand times the entries cost no more than this.
const FLAT: f64 = 1.5;
/// Of what one would write without deduplication.
const ALIAS_PART: f64 = 0.1;
/// Memory that one process happens to take more than another.
const MEMORY_NOISE: u64 = 256 << 10;

pub(crate) fn all(contenders: &Contenders, hits: &[Hits]) -> Vec<Goal> {
    let goal = |what, judged: Option<(Outcome, String)>| {
        let (outcome, why) = judged.unwrap_or((Outcome::NotMeasured, String::new()));
        Goal { what, outcome, why }
    };
    let judge = Judge { contenders, hits };
    vec![
        goal("get ≤ 1/3 of files, ≤ LMDB (first step ≤ 1/2 of files)", judge.get()),
        goal("put ≤ 1/5 of files, ≤ 1/2 of LMDB (first step ≤ 1/4 of files)", judge.put()),
        goal("miss ≤ 1/7 of files (first step ≤ 1/5)", judge.miss()),
        goal("open + get of 1 million ≤ 100 µs and flat (first step ≤ 200 µs)", judge.open()),
        goal("8 processes ≥ 2 × the best other (first step ≥ 1.5 ×)", judge.mixed()),
        goal("64 MiB get ≥ 0.8 × files (first step ≥ 0.7 ×)", judge.blob(|results| &results.blob_get)),
        goal("64 MiB put ≥ 0.8 × files (first step ≥ 0.7 ×)", judge.blob(|results| &results.blob_put)),
        goal("duplicates: no payload written again", judge.duplicates()),
        goal("index ≤ 24 bytes an entry on disk", judge.index()),
        goal("index: no memory in the process", judge.memory()),
        goal("no pause over 50 ms while evicting from 1 million", judge.pause()),
        goal("hit ratio with scans ≥ quick_cache − 2 points, ≥ LRU + 8 points", judge.hits()),
    ]
}

pub(crate) fn lines(goals: &[Goal]) -> String {
    let lines = goals.iter().map(|goal| format!("  {:<13}{}: {}", goal.outcome, goal.what, goal.why));
    std::iter::once("goals".to_owned()).chain(lines).collect::<Vec<_>>().join("\n")
}

struct Judge<'a> {
    contenders: &'a Contenders,
    hits: &'a [Hits],
}

impl Judge<'_> {
    fn ours(&self) -> Option<&Results> {
        self.contenders.get(SEGMENTS)
    }

    /// Returns the ratio of our median to that of another peer.
    fn against(&self, other: &str, of: fn(&Results) -> &Samples) -> Option<f64> {
        let ours = of(self.ours()?).summary()?.median;
        Some(ours / of(self.contenders.get(other)?).summary()?.median)
    }

    fn get(&self) -> Option<(Outcome, String)> {
        let files = self.against(FILES, |results| &results.get)?;
        let lmdb = self.against(LMDB, |results| &results.get)?;
        let outcome = Outcome::of(files <= 1.0 / 3.0 && lmdb <= 1.0, files <= 0.5);
        Some((outcome, format!("{files:.2} of files, {lmdb:.2} of LMDB")))
    }

    fn put(&self) -> Option<(Outcome, String)> {
        let files = self.against(FILES, |results| &results.put)?;
        let lmdb = self.against(LMDB, |results| &results.put)?;
        let outcome = Outcome::of(files <= 0.2 && lmdb <= 0.5, files <= 0.25);
        Some((outcome, format!("{files:.2} of files, {lmdb:.2} of LMDB")))
    }

    fn miss(&self) -> Option<(Outcome, String)> {
        let files = self.against(FILES, |results| &results.miss)?;
        Some((Outcome::of(files <= 1.0 / 7.0, files <= 0.2), format!("{files:.2} of files")))
    }

    fn open(&self) -> Option<(Outcome, String)> {
        let ours = self.ours()?;
        let thousand = ours.thousand.process.summary()?.median;
        let Some(million) = ours.million.process.summary() else {
            let why = format!("{thousand:.0} µs at 1 thousand, --million opens 1 million");
            return Some((Outcome::NotMeasured, why));
        };
        let million = million.median;
        let flat = million <= thousand * FLAT;
        let outcome = Outcome::of(million <= 100.0 && flat, million <= 200.0);
        Some((outcome, format!("{million:.0} µs, {thousand:.0} µs at 1 thousand")))
    }

    fn mixed(&self) -> Option<(Outcome, String)> {
        let ours = median(&self.ours()?.mixed)?;
        let others = self.contenders.iter().filter(|contender| contender.kind.name != SEGMENTS);
        let rates =
            others.filter_map(|contender| Some((median(&contender.results.mixed)?, contender.kind.name)));
        let (best, name) = rates.max_by(|a, b| a.0.total_cmp(&b.0))?;
        let ratio = ours / best;
        let why = format!("{ratio:.2} × {name} ({ours:.1} and {best:.1} kops/s)");
        Some((Outcome::of(ratio >= 2.0, ratio >= 1.5), why))
    }

    fn blob(&self, of: fn(&Results) -> &Samples) -> Option<(Outcome, String)> {
        let files = self.against(FILES, of)?;
        let speed = 1.0 / files;
        Some((Outcome::of(speed >= 0.8, speed >= 0.7), format!("{speed:.2} × the speed of files")))
    }

    fn duplicates(&self) -> Option<(Outcome, String)> {
        let ours = self.ours()?.duplicates_written? as f64;
        let files = self.contenders.baseline()?.duplicates_written? as f64;
        let part = ours / files;
        let why = format!("{:.1} MB written where files write {:.1} MB", ours / 1e6, files / 1e6);
        Some((Outcome::of(part <= ALIAS_PART, false), why))
    }

    fn index(&self) -> Option<(Outcome, String)> {
        let each = self.hits.iter().find_map(|cache| cache.disk.as_ref())?.index;
        Some((Outcome::of(each <= 24.0, false), format!("{each:.1} bytes in a full cache")))
    }

    /// The same program with a larger store must not be larger.
    fn memory(&self) -> Option<(Outcome, String)> {
        let ours = self.ours()?;
        let small = least(&ours.thousand.memory)?;
        let (large, entries) = match least(&ours.million.memory) {
            Some(large) => (large, "1 million"),
            None => (least(&ours.full.memory)?, "all values"),
        };
        let more = large.saturating_sub(small);
        let why = format!("{} KiB more with {entries} than with 1 thousand", more >> 10);
        Some((Outcome::of(more <= MEMORY_NOISE, false), why))
    }

    fn pause(&self) -> Option<(Outcome, String)> {
        let filled = self.ours()?.filled.as_ref()?;
        let longest = filled.longest_put.max(filled.longest_get).as_secs_f64() * 1e3;
        Some((Outcome::of(longest <= 50.0, false), format!("{longest:.1} ms at most")))
    }

    fn hits(&self) -> Option<(Outcome, String)> {
        let points = |name| {
            let found = self.hits.iter().find(|cache| cache.name == name);
            found.map(|cache| cache.with_scans * 100.0)
        };
        let (ours, quick, lru) = (points(SEGMENTS)?, points(QUICK_CACHE)?, points(LRU)?);
        let outcome = Outcome::of(ours >= quick - 2.0 && ours >= lru + 8.0, false);
        let why = format!("{:+.1} points to quick_cache, {:+.1} to LRU", ours - quick, ours - lru);
        Some((outcome, why))
    }
}

fn least(numbers: &[u64]) -> Option<u64> {
    numbers.iter().min().copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_goal_outranks_its_first_step() {
        assert_eq!(Outcome::of(true, false), Outcome::Met);
        assert_eq!(Outcome::of(false, true), Outcome::FirstStep);
        assert_eq!(Outcome::of(false, false), Outcome::Missed);
    }
}

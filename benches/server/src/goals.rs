//! What the server is to reach, and whether it does.

use std::fmt;

use crate::Method;
use crate::million::Million;
use crate::plan::{HUGE, LARGE, SMALL};
use crate::report::{median, time};
use crate::servers::{BAZEL_REMOTE, MEMORY_TIER_MIB, NGINX, OURS};
use crate::turns::Measured;

pub(crate) struct Goal {
    what: String,
    outcome: Outcome,
    /// The numbers behind it.
    why: String,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Outcome {
    Met,
    Missed,
    NotMeasured,
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Met => "met",
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

/// Memory beside the memory tier, in MiB.
const MEMORY_MIB: u64 = 64;
/// Until the first GET is answered, in microseconds.
const READY: f64 = 100e3;
/// Memory under load is flat if the last rounds need no more than this beyond the first ones: an allocator that had one more
/// request at a time than before keeps as much.
const FLAT: u64 = 8 << 20;

/// Our rate, relative to another server's, at every number of connections.
struct Speed {
    method: Method,
    sizes: &'static [usize],
    words: &'static str,
    other: &'static str,
    at_least: f64,
}

const SPEEDS: [Speed; 4] = [
    Speed { method: Method::Get, sizes: &[SMALL], words: "small GET", other: BAZEL_REMOTE, at_least: 1.5 },
    Speed { method: Method::Get, sizes: &[SMALL], words: "small GET", other: NGINX, at_least: 0.6 },
    Speed { method: Method::Put, sizes: &[SMALL], words: "small PUT", other: BAZEL_REMOTE, at_least: 2.0 },
    Speed { method: Method::Get, sizes: &[LARGE, HUGE], words: "large GET", other: NGINX, at_least: 0.9 },
];

pub(crate) fn all(measured: &Measured, million: &[Million]) -> Vec<Goal> {
    let goal = |what, judged: Option<(bool, String)>| {
        let (outcome, why) = judged.map_or((Outcome::NotMeasured, String::new()), |(met, why)| {
            (if met { Outcome::Met } else { Outcome::Missed }, why)
        });
        Goal { what, outcome, why }
    };
    let ours = million.iter().find(|million| million.name == OURS);
    SPEEDS
        .iter()
        .map(|it| goal(format!("{} ≥ {} × {}", it.words, it.at_least, it.other), speed(measured, it)))
        .chain([
            goal("memory flat under load".to_owned(), flat(measured)),
            goal(format!("memory ≤ {MEMORY_MIB} MiB beside the memory tier"), ours.map(memory)),
            goal(format!("ready in ≤ {}", time(READY)), ours.and_then(ready)),
        ])
        .collect()
}

pub(crate) fn lines(goals: &[Goal]) -> String {
    let lines = goals.iter().map(|goal| format!("  {:<13}{}: {}", goal.outcome, goal.what, goal.why));
    std::iter::once("goals".to_owned()).chain(lines).collect::<Vec<_>>().join("\n")
}

fn speed(measured: &Measured, goal: &Speed) -> Option<(bool, String)> {
    let tables = measured
        .cases
        .iter()
        .filter(|table| table.case.method == goal.method && goal.sizes.contains(&table.case.size));
    let ratios: Vec<(f64, String)> = tables
        .filter_map(|table| {
            let case = &table.case;
            let size = if goal.sizes.len() > 1 {
                format!("{}, ", crate::plan::size(case.size))
            } else {
                String::new()
            };
            let ratio = table.ratio(goal.other)?;
            Some((ratio, format!("{ratio:.2} ({size}{})", case.connections)))
        })
        .collect();
    let met = ratios.iter().all(|(ratio, _)| *ratio >= goal.at_least);
    let texts: Vec<String> = ratios.into_iter().map(|(_, text)| text).collect();
    (!texts.is_empty()).then(|| (met, texts.join(", ")))
}

/// The memory of our server after the first round of each case of GETs, and after the last.
fn flat(measured: &Measured) -> Option<(bool, String)> {
    let mut worst = None;
    for table in measured.cases.iter().filter(|table| table.case.method == Method::Get) {
        let row = table.rows.iter().find(|row| row.name == OURS)?;
        let [first, .., last] = row.rounds.as_slice() else { continue };
        let (first, last) = (first.memory.resident, last.memory.resident);
        let grown = last.saturating_sub(first);
        if worst.as_ref().is_none_or(|(most, _)| *most < grown) {
            let why = format!("{} to {} MiB in {}", first >> 20, last >> 20, table.case.title());
            worst = Some((grown, why));
        }
    }
    worst.map(|(grown, why)| (grown <= FLAT, why))
}

fn memory(million: &Million) -> (bool, String) {
    let most = million.at_start.resident.max(million.after_reading.resident) >> 20;
    let beside = most.saturating_sub(MEMORY_TIER_MIB);
    (beside <= MEMORY_MIB, format!("{beside} MiB of {most} MiB with {} entries", million.entries))
}

fn ready(million: &Million) -> Option<(bool, String)> {
    let ready = median(million.ready.iter().copied())?;
    Some((ready <= READY, format!("{} with {} entries", time(ready), million.entries)))
}

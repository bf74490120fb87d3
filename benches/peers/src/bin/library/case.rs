//! One table: contenders that do the same, and take turns.

use std::time::{Duration, Instant};

use bench::samples::{Samples, Summary};

use crate::Result;

/// Rounds that do not count: they fill the caches of the processor and of the operating system.
const WARM_UP: usize = 3;

/// What is measured, in batches: a clock costs as much as some of these operations.
pub(crate) struct Case<'a> {
    title: String,
    /// What a time is of: "get".
    unit: &'static str,
    /// Operations in a batch.
    batch: u64,
    contenders: Vec<Contender<'a>>,
    goals: Vec<Goal>,
}

struct Contender<'a> {
    name: &'static str,
    /// Does a batch of the round that is given, and fails if anything that it finds is wrong.
    run: Box<dyn FnMut(usize) -> Result + 'a>,
}

/// What a contender may take, relative to another.
pub(crate) struct Goal {
    pub(crate) ours: &'static str,
    pub(crate) other: &'static str,
    pub(crate) at_most: f64,
}

/// A table with numbers.
pub(crate) struct Measured {
    pub(crate) title: String,
    pub(crate) unit: &'static str,
    pub(crate) rows: Vec<Row>,
    pub(crate) goals: Vec<Goal>,
}

pub(crate) struct Row {
    pub(crate) name: &'static str,
    /// Of one operation.
    pub(crate) summary: Summary,
    /// Time of each batch.
    pub(crate) rounds: Vec<Duration>,
}

impl<'a> Case<'a> {
    pub(crate) fn new(title: impl Into<String>, unit: &'static str, batch: u64) -> Self {
        Self { title: title.into(), unit, batch, contenders: Vec::new(), goals: Vec::new() }
    }

    /// The first is what the ratios are relative to.
    #[must_use]
    pub(crate) fn contender(mut self, name: &'static str, run: impl FnMut(usize) -> Result + 'a) -> Self {
        self.contenders.push(Contender { name, run: Box::new(run) });
        self
    }

    #[must_use]
    pub(crate) fn goal(mut self, ours: &'static str, other: &'static str, at_most: f64) -> Self {
        self.goals.push(Goal { ours, other, at_most });
        self
    }

    pub(crate) fn title(&self) -> &str {
        &self.title
    }

    /// Runs the contenders in turn, each round begun by another one, so that a slow moment of the machine hits all alike.
    pub(crate) fn measure(mut self, rounds: usize) -> Result<Measured> {
        let count = self.contenders.len();
        let mut times = vec![Vec::with_capacity(rounds); count];
        for round in 0..WARM_UP + rounds {
            for at in (0..count).map(|turn| (turn + round) % count) {
                let contender = &mut self.contenders[at];
                let start = Instant::now();
                (contender.run)(round).map_err(|error| format!("{}: {error}", contender.name))?;
                let took = start.elapsed();
                if round >= WARM_UP {
                    times[at].push(took);
                }
            }
        }
        let row = |(contender, rounds): (Contender<'_>, Vec<Duration>)| {
            let mut samples = Samples::default();
            for took in &rounds {
                samples.add(*took);
            }
            let summary = samples.summary().ok_or("nothing was measured")?;
            let each = self.batch as f64;
            let summary = Summary { median: summary.median / each, p99: summary.p99 / each };
            Ok(Row { name: contender.name, summary, rounds })
        };
        let rows = self.contenders.into_iter().zip(times).map(row).collect::<Result<_>>()?;
        Ok(Measured { title: self.title, unit: self.unit, rows, goals: self.goals })
    }
}

impl Measured {
    /// Returns the median over the rounds of what `name` takes relative to `other`. What slows the machine down for longer
    /// than a round is in both, and cancels out.
    pub(crate) fn ratio(&self, name: &str, other: &str) -> Option<f64> {
        let rounds = |name: &str| Some(&self.rows.iter().find(|row| row.name == name)?.rounds);
        let pairs = rounds(name)?.iter().zip(rounds(other)?);
        let mut ratios: Vec<f64> = pairs.map(|(a, b)| a.as_secs_f64() / b.as_secs_f64()).collect();
        ratios.sort_unstable_by(f64::total_cmp);
        ratios.get(ratios.len() / 2).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ratio_is_that_of_the_rounds_and_not_of_the_medians() {
        let row = |name, millis: [u64; 3]| Row {
            name,
            summary: Summary { median: 0.0, p99: 0.0 },
            rounds: millis.map(Duration::from_millis).to_vec(),
        };
        let rows = vec![row("a", [1, 10, 100]), row("b", [20, 2, 200])];
        let measured = Measured { title: String::new(), unit: "get", rows, goals: Vec::new() };
        assert!((measured.ratio("b", "a").unwrap() - 2.0).abs() < 1e-9);
        assert!(measured.ratio("c", "a").is_none());
    }
}

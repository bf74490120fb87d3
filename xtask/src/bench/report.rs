//! The measurements as a table, and beside each goal whether it is met.

use std::fmt;
use std::time::Duration;

use super::cases::Case;
use super::measure::percentile;

/// One line of the table.
pub(super) struct Row {
    name: String,
    median: Duration,
    p99: Duration,
    /// Median relative to the first row.
    ratio: f64,
}

pub(super) struct Verdict {
    pub(super) met: bool,
    extra: Duration,
    goal: Duration,
}

pub(super) fn rows(case: &Case, samples: &[Vec<Duration>]) -> Vec<Row> {
    let baseline = samples.first().map_or(Duration::ZERO, |samples| percentile(samples, 50));
    case.contenders
        .iter()
        .zip(samples)
        .map(|(contender, samples)| {
            let median = percentile(samples, 50);
            let ratio = median.as_secs_f64() / baseline.as_secs_f64();
            Row { name: contender.name.to_owned(), median, p99: percentile(samples, 99), ratio }
        })
        .collect()
}

pub(super) fn table(rows: &[Row]) -> String {
    let mut lines = vec![format!("  {:<24}{:>12}{:>12}{:>9}", "", "median", "p99", "ratio")];
    lines.extend(rows.iter().map(|row| {
        let (median, p99) = (millis(row.median), millis(row.p99));
        format!("  {:<24}{median:>12}{p99:>12}{:>8.2}x", row.name, row.ratio)
    }));
    lines.join("\n")
}

/// Compares what our median costs beyond the baseline with the goal of the case, if it has one.
pub(super) fn verdict(case: &Case, rows: &[Row]) -> Option<Verdict> {
    let goal = case.goal?;
    let ours = rows.get(case.ours)?;
    let extra = ours.median.saturating_sub(rows.first()?.median);
    Some(Verdict { met: extra <= goal, extra, goal })
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let met = if self.met { "met" } else { "MISSED" };
        let (extra, goal) = (millis(self.extra), millis(self.goal));
        write!(f, "  {extra} beyond the baseline, the goal of {goal} is {met}")
    }
}

fn millis(duration: Duration) -> String {
    format!("{:.2} ms", duration.as_secs_f64() * 1e3)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::cases::Contender;
    use crate::step::Step;

    fn case(goal_ms: u64) -> Case {
        let contender = |name| Contender { name, step: Step::new(name), json_status: None };
        Case {
            title: "a case",
            contenders: vec![contender("true"), contender("ours")],
            ours: 1,
            goal: Some(Duration::from_millis(goal_ms)),
        }
    }

    #[test]
    fn a_goal_is_met_or_missed_by_what_comes_on_top_of_the_baseline() {
        let samples = [vec![Duration::from_millis(1)], vec![Duration::from_millis(4)]];
        let case3 = case(3);
        let rows = rows(&case3, &samples);
        assert!(verdict(&case3, &rows).is_some_and(|verdict| verdict.met));
        let missed = verdict(&case(2), &rows).unwrap();
        assert_eq!(missed.to_string(), "  3.00 ms beyond the baseline, the goal of 2.00 ms is MISSED");
        assert!(table(&rows).ends_with("4.00x"), "{}", table(&rows));
    }
}

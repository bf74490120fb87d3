//! The measurements as tables.

use crate::memory::Memory;
use crate::million::Million;
use crate::plan::{SMALL, size};
use crate::servers::OURS;
use crate::turns::{Round, Row, Table};

pub(crate) fn table(table: &Table) -> String {
    let mut lines = vec![format!(
        "{}\n  {:<14}{:>12}{:>11}{:>12}{:>12}{:>12}{:>9}{:>15}",
        table.case.title(),
        "",
        "requests/s",
        "MB/s",
        "p50",
        "p99",
        "CPU each",
        "memory",
        "ours to this"
    )];
    lines.extend(table.rows.iter().map(|row| {
        let of = |value: fn(&Round) -> f64| median(row.rounds.iter().map(value)).unwrap_or(f64::NAN);
        let rate = of(|round| round.rate);
        let through = rate * table.case.size as f64 / 1e6;
        let memory = row.rounds.last().map_or(0, |round| round.memory.resident >> 20);
        let ratio = table.ratio(row.name).unwrap_or(f64::NAN);
        format!(
            "  {:<14}{:>12}{through:>11.1}{:>12}{:>12}{:>12}{:>9}{ratio:>14.2}x",
            row.name,
            number(rate),
            time(of(|round| round.median)),
            time(of(|round| round.p99)),
            time(of(|round| round.work)),
            format!("{memory} MiB"),
        )
    }));
    lines.join("\n")
}

/// Returns the line above those of [`million`].
pub(crate) fn million_title(entries: u64) -> String {
    format!(
        "{entries} entries of {}, the server started again\n  {:<14}{:>12}{:>16}{:>22}{:>22}",
        size(SMALL),
        "",
        "ready",
        "slowest start",
        "memory when ready",
        "after reading"
    )
}

pub(crate) fn million(it: &Million) -> String {
    let of = |memory: Memory| format!("{} MiB, {} own", memory.resident >> 20, memory.own >> 20);
    let ready = median(it.ready.iter().copied()).unwrap_or(f64::NAN);
    let slowest = it.ready.iter().copied().fold(f64::NAN, f64::max);
    format!(
        "  {:<14}{:>12}{:>16}{:>22}{:>22}",
        it.name,
        time(ready),
        time(slowest),
        of(it.at_start),
        of(it.after_reading)
    )
}

impl Table {
    /// Returns the median over the rounds of our rate relative to that of `name`. What slows the machine down for longer than
    /// a round is in both and cancels out.
    pub(crate) fn ratio(&self, name: &str) -> Option<f64> {
        let row = |name: &str| self.rows.iter().find(|row: &&Row| row.name == name);
        let pairs = row(OURS)?.rounds.iter().zip(&row(name)?.rounds);
        median(pairs.map(|(ours, other)| ours.rate / other.rate))
    }
}

pub(crate) fn median(values: impl Iterator<Item = f64>) -> Option<f64> {
    let mut sorted: Vec<f64> = values.collect();
    sorted.sort_unstable_by(f64::total_cmp);
    sorted.get(sorted.len() / 2).copied()
}

fn number(rate: f64) -> String {
    if rate < 100.0 { format!("{rate:.1}") } else { format!("{rate:.0}") }
}

/// Returns a time of so many microseconds for people.
pub(crate) fn time(micros: f64) -> String {
    match micros {
        ..1e3 => format!("{micros:.0} µs"),
        ..1e6 => format!("{:.1} ms", micros / 1e3),
        _ => format!("{:.1} s", micros / 1e6),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Method;
    use crate::plan::Case;

    #[test]
    fn a_ratio_is_that_of_the_rounds_and_not_of_the_medians() {
        let round = |rate| Round { rate, median: 1.0, p99: 2.0, work: 1.0, memory: Memory::default() };
        let row = |name, rates: [f64; 3]| Row { name, rounds: rates.map(round).to_vec() };
        let case = Case { method: Method::Get, size: 1 << 10, connections: 1, requests: 1, rounds: 3 };
        let rows = vec![row(OURS, [20.0, 2.0, 200.0]), row("other", [1.0, 10.0, 100.0])];
        let measured = Table { case, rows };
        assert!((measured.ratio("other").unwrap() - 2.0).abs() < 1e-9);
        assert!(measured.ratio("third").is_none());
        let text = table(&measured);
        assert!(text.starts_with("GET of 1 KiB, 1 connection\n") && text.ends_with("2.00x"), "{text}");
    }

    #[test]
    fn times_have_the_unit_that_suits_them() {
        assert_eq!([42.1, 42_100.0, 4.21e6].map(time), ["42 µs", "42.1 ms", "4.2 s"]);
    }
}

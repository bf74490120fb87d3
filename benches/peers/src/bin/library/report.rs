//! A table as text, and beside each goal whether it is met.

use std::fmt;

use crate::case::Measured;

pub(crate) struct Verdict {
    pub(crate) met: bool,
    text: String,
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "  {:<8}{}", if self.met { "met" } else { "MISSED" }, self.text)
    }
}

pub(crate) fn table(measured: &Measured) -> String {
    let mut lines = vec![format!(
        "{}\n  {:<32}{:>12}{:>12}{:>9}",
        measured.title, measured.unit, "median", "p99", "ratio"
    )];
    let first = measured.rows.first().map_or("", |row| row.name);
    lines.extend(measured.rows.iter().map(|row| {
        let ratio = measured.ratio(row.name, first).unwrap_or(f64::NAN);
        let (median, p99) = (time(row.summary.median), time(row.summary.p99));
        format!("  {:<32}{median:>12}{p99:>12}{ratio:>8.2}x", row.name)
    }));
    lines.join("\n")
}

pub(crate) fn verdicts(measured: &Measured) -> impl Iterator<Item = Verdict> {
    measured.goals.iter().map(|goal| {
        let ratio = measured.ratio(goal.ours, goal.other).unwrap_or(f64::NAN);
        let text = format!("{} at {ratio:.2} of {}, the goal is {:.1}", goal.ours, goal.other, goal.at_most);
        Verdict { met: ratio <= goal.at_most, text }
    })
}

/// Returns a time of so many microseconds for people.
fn time(micros: f64) -> String {
    match micros {
        ..1.0 => format!("{:.1} ns", micros * 1e3),
        ..1e3 => format!("{micros:.2} µs"),
        _ => format!("{:.2} ms", micros / 1e3),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_the_unit_that_suits_them() {
        assert_eq!([0.0421, 4.21, 42_100.0].map(time), ["42.1 ns", "4.21 µs", "42.10 ms"]);
    }
}

//! `verify`: reads and checks all that is stored.

use std::io::Write;
use std::time::{Duration, Instant};

use cache_run::human;
use serde::Serialize;

use super::Context;
use crate::args::VerifyArgs;
use crate::failure::{FAILED, Result};
use crate::output::{self};
use crate::place;
use crate::ui::LateBar;

#[derive(Serialize)]
struct Json<'a> {
    entries: u64,
    blobs: u64,
    bytes: u64,
    corrupt: u64,
    incomplete: u64,
    newer: u64,
    repaired: bool,
    details: &'a [String],
}

pub(super) fn run(context: &Context, args: &VerifyArgs) -> Result<i32> {
    let store = place::open(&context.config)?;
    let bar = LateBar::new(args.json);
    let started = Instant::now();
    let report = store.verify(args.repair, &mut |progress| {
        bar.show("checking", progress.done.into(), progress.of.into(), || human::size(progress.bytes));
        if let Some(rate) = args.rate {
            std::thread::sleep(pause(progress.bytes, rate, started.elapsed()));
        }
    });
    bar.clear();
    let report = report?;
    let damaged = report.corrupt + report.incomplete;
    let mut out = output::stdout();
    if args.json {
        let json = Json {
            entries: report.entries,
            blobs: report.blobs,
            bytes: report.bytes,
            corrupt: report.corrupt,
            incomplete: report.incomplete,
            newer: report.newer,
            repaired: args.repair,
            details: &report.details,
        };
        output::json_line(&mut out, &json)?;
    } else {
        let painter = context.color.stdout();
        for detail in &report.details {
            writeln!(out, "{}", output::visible(detail))?;
        }
        let entries =
            if report.entries == 1 { "1 entry".to_owned() } else { format!("{} entries", report.entries) };
        let checked = format!(
            "{entries}, {}, {} checked",
            human::count(report.blobs as usize, "blob"),
            human::size(report.bytes)
        );
        let newer = match report.newer {
            0 => String::new(),
            count => format!("; {count} of a newer version left alone"),
        };
        let verdict = match (damaged, args.repair) {
            (0, _) => "nothing is damaged".to_owned(),
            (_, true) => {
                painter.bad(&format!("{damaged} damaged and removed; they are made again when needed"))
            }
            (_, false) => {
                let remedy =
                    "damaged and not used any more; `vitte-cache verify --repair` removes what needs them";
                painter.bad(&format!("{damaged} {remedy}"))
            }
        };
        writeln!(out, "{checked}{newer}: {verdict}")?;
    }
    out.flush()?;
    Ok(if damaged == 0 { 0 } else { FAILED })
}

/// Returns how long to wait so that `bytes` in `elapsed` and the pause are not more than `rate`, in MB/s from 1.
fn pause(bytes: u64, rate: u64, elapsed: Duration) -> Duration {
    // A megabyte per second is a byte per microsecond.
    Duration::from_micros(bytes / rate.max(1)).saturating_sub(elapsed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pause_brings_the_rate_down_to_what_was_asked_for() {
        let seconds = Duration::from_secs;
        assert_eq!(pause(50_000_000, 10, seconds(2)), seconds(3));
        assert_eq!(pause(50_000_000, 10, seconds(7)), Duration::ZERO, "slower than that anyway");
        assert_eq!(pause(0, 1, Duration::ZERO), Duration::ZERO);
        assert_eq!(pause(50_000_000, u64::MAX, Duration::ZERO), Duration::ZERO);
    }
}

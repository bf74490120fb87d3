//! `ci`: all that a change needs before it is pushed.

use std::env;
use std::time::{Duration, Instant};

use crate::step::seconds;
use crate::stop::{Result, Stop};
use crate::workspace::Workspace;
use crate::{deny, doc, fuzz, lint, setup, test, tidy};

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Install what is missing first (always done where `CI=true`)
    #[arg(long)]
    setup: bool,
}

/// How one step ended.
struct Report {
    name: &'static str,
    took: Duration,
    outcome: Result,
}

/// Runs every step, also after one has failed: whoever waits wants to see all of it.
pub(crate) fn run(workspace: &Workspace, args: &Args) -> Result {
    let strict = env::var("CI").is_ok_and(|value| value == "true" || value == "1");
    let install = strict || args.setup;
    let mut reports = vec![
        timed("setup", || if install { setup::install(false) } else { setup::check() }),
        timed("lint", || lint::run(workspace)),
        timed("tidy", || tidy::run(workspace)),
        timed("test", test::run_quick),
        timed("doc", || doc::run(workspace)),
        timed("deny", deny::run_offline),
    ];
    if fuzz::is_here(workspace) {
        reports.push(timed("fuzz check", || fuzz::check(workspace)));
    }
    println!("\n{}", table(&reports));
    verdict(&reports, strict)
}

fn timed(name: &'static str, step: impl FnOnce() -> Result) -> Report {
    println!("\n== {name}");
    let start = Instant::now();
    let outcome = step();
    if let Err(stop) = &outcome {
        eprintln!("{name}: {stop}");
    }
    Report { name, took: start.elapsed(), outcome }
}

fn table(reports: &[Report]) -> String {
    let row = |report: &Report| {
        let outcome = match &report.outcome {
            Ok(()) => "ok".to_owned(),
            Err(Stop::Failed(why)) => format!("failed   {why}"),
            Err(Stop::Absent(why)) => format!("skipped  {why}"),
        };
        format!("{:<12}{:>12}   {outcome}", report.name, seconds(report.took))
    };
    reports.iter().map(row).collect::<Vec<_>>().join("\n")
}

/// Returns an error if a step failed, or if one was skipped on a machine that must not skip any.
fn verdict(reports: &[Report], strict: bool) -> Result {
    let bad = |report: &&Report| match report.outcome {
        Ok(()) => false,
        Err(Stop::Failed(_)) => true,
        Err(Stop::Absent(_)) => strict,
    };
    let bad: Vec<&str> = reports.iter().filter(bad).map(|report| report.name).collect();
    if bad.is_empty() {
        return Ok(());
    }
    let skipped = reports.iter().any(|report| matches!(report.outcome, Err(Stop::Absent(_))));
    let rule = if strict && skipped { " (with CI=true a skipped step is a failure)" } else { "" };
    Err(Stop::failed(format!("not ready: {}{rule}", bad.join(", "))))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reports() -> Vec<Report> {
        vec![timed("lint", || Ok(())), timed("deny", || Err(Stop::absent("cargo-deny is not installed")))]
    }

    #[test]
    fn a_skipped_step_fails_only_on_a_strict_machine() {
        assert!(verdict(&reports(), false).is_ok());
        assert!(matches!(verdict(&reports(), true), Err(Stop::Failed(message)) if message.contains("deny")));
    }

    #[test]
    fn a_failed_step_always_fails() {
        let mut reports = reports();
        reports.push(timed("test", || Err(Stop::failed("one test is red"))));
        assert!(matches!(verdict(&reports, false), Err(Stop::Failed(message)) if message.contains("test")));
    }

    #[test]
    fn the_table_says_why_a_step_was_skipped() {
        let table = table(&reports());
        assert!(table.lines().next().is_some_and(|line| line.starts_with("lint") && line.ends_with("ok")));
        assert!(table.contains("skipped  cargo-deny is not installed"));
    }
}

//! `simulate`: replays recorded accesses against other sizes.

use std::fmt::Write as _;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Write as _};
use std::path::Path;
use std::time::Duration;

use cache_run::human;
use cache_run::simulate::{MAX_KEYS, MAX_SIZES, Simulation, Summary};

use super::Context;
use crate::args::SimulateArgs;
use crate::failure::{Failure, Result};
use crate::output::{self, Column, Painter};

/// Bytes read at a time.
const BUFFER: usize = 256 << 10;

pub(super) fn run(context: &Context, args: &SimulateArgs) -> Result {
    let mut sizes = args.sizes.clone();
    sizes.sort_unstable();
    sizes.dedup();
    if sizes.len() > MAX_SIZES {
        return Err(Failure::usage(format_args!(
            "--sizes: {} are too many, as each takes memory for every key; write {MAX_SIZES} at most",
            sizes.len()
        )));
    }
    let (mut log, name) = open(&args.log)?;
    let mut simulation = Simulation::new(&sizes);
    simulation.replay(&mut *log).map_err(|error| {
        Failure::failed(format_args!("cannot read {name}: {error}; give --log a file of accesses"))
    })?;
    let summary = simulation.summary();
    let mut out = output::stdout();
    if args.json {
        output::json_line(&mut out, &summary)?;
    } else {
        warn(&summary, &name);
        out.write_all(show(&summary, &name, context.color.stdout()).as_bytes())?;
    }
    Ok(out.flush()?)
}

fn open(path: &Path) -> Result<(Box<dyn BufRead>, String)> {
    if path == Path::new("-") {
        return Ok((Box::new(io::stdin().lock()), "standard input".to_owned()));
    }
    let name = path.display().to_string();
    let file = File::open(path).map_err(|error| {
        Failure::failed(format_args!(
            "cannot read {name}: {error}; give --log a file that was recorded with VITTE_CACHE_ACCESS_LOG"
        ))
    })?;
    Ok((Box::new(BufReader::with_capacity(BUFFER, file)), name))
}

/// Says what of the log was left out.
fn warn(summary: &Summary, name: &str) {
    if let (Some(line), Some(why)) = (summary.first_bad_line, &summary.first_bad) {
        output::warn(&match summary.bad_lines {
            1 => format!("line {line} of {name} is left out: {why}"),
            count => format!("{count} lines of {name} are left out, the first is line {line}: {why}"),
        });
    }
    if summary.left_out > 0 {
        output::warn(&format!(
            "{} are left out, as {name} has more than {MAX_KEYS} different keys; simulate a part of it",
            accesses(summary.left_out)
        ));
    }
}

fn show(summary: &Summary, name: &str, painter: Painter) -> String {
    let (Some(first), Some(last)) = (summary.first_ms, summary.last_ms) else {
        return format!(
            "there is no access in {name}; set VITTE_CACHE_ACCESS_LOG to a path, and accesses are recorded there\n"
        );
    };
    let span = human::duration(Duration::from_millis(last.saturating_sub(first)));
    let mut text = format!("{} in {span}\n\n", painter.heading(&accesses(summary.accesses)));
    let mut line = |name: &str, value: String, more: &str| {
        let _ = writeln!(text, "{}", format_args!("{name:<11} {value:>8}   {more}").to_string().trim_end());
    };
    line("gets", summary.gets.to_string(), "");
    line("puts", summary.puts.to_string(), "");
    line("removals", summary.removes.to_string(), "");
    line("keys", summary.keys.to_string(), "");
    line("unique", human::size(summary.unique_bytes), "all entries, each counted once");
    text.push('\n');
    let rows = summary.results.iter().map(|outcome| {
        vec![
            outcome.size.map_or_else(String::new, human::size),
            outcome.policy.to_owned(),
            percent(outcome.hit_ratio),
            percent(outcome.byte_hit_ratio),
        ]
    });
    let columns =
        [Column::Right("size"), Column::Left("policy"), Column::Right("hits"), Column::Right("of bytes")];
    text.push_str(&output::table(&columns, rows.collect(), painter));
    text
}

fn accesses(count: u64) -> String {
    if count == 1 { "1 access".to_owned() } else { format!("{count} accesses") }
}

fn percent(ratio: Option<f64>) -> String {
    ratio.map_or_else(String::new, |ratio| format!("{:.1} %", ratio * 100.0))
}

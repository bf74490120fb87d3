//! `gc`: makes room now instead of when it is needed.

use std::io::Write;

use cache_run::human;
use serde::Serialize;

use super::Context;
use crate::args::GcArgs;
use crate::failure::Result;
use crate::{output, place};

#[derive(Serialize)]
struct Json {
    dry_run: bool,
    expired: u64,
    aged: u64,
    broken: u64,
    unreferenced: u64,
    evicted: u64,
    leftovers: u64,
    bytes: u64,
}

pub(super) fn run(context: &Context, args: &GcArgs) -> Result {
    let store = place::open(&context.config)?;
    let report = store.gc(args.dry_run)?;
    let mut out = output::stdout();
    if args.json {
        let json = Json {
            dry_run: args.dry_run,
            expired: report.expired,
            aged: report.aged,
            broken: report.broken,
            unreferenced: report.unreferenced,
            evicted: report.evicted,
            leftovers: report.leftovers,
            bytes: report.bytes,
        };
        output::json_line(&mut out, &json)?;
        return Ok(out.flush()?);
    }
    let counts = [
        (report.expired, "expired"),
        (report.aged, "unused for too long"),
        (report.broken, "unusable"),
        (report.unreferenced, "needed by no entry"),
        (report.evicted, "beyond the limits"),
        (report.leftovers, "left behind by a process that died"),
    ];
    let items: u64 = counts.iter().map(|(count, _)| count).sum();
    let mut why: Vec<String> =
        counts.iter().filter(|(count, _)| *count > 0).map(|(count, why)| format!("{count} {why}")).collect();
    if why.is_empty() {
        why.push("nothing to remove".to_owned());
    }
    let verb = if args.dry_run { "would free" } else { "freed" };
    match items {
        0 => writeln!(out, "{}", why.concat())?,
        _ => writeln!(out, "{verb} {}: {}", human::size(report.bytes), why.join(", "))?,
    }
    Ok(out.flush()?)
}

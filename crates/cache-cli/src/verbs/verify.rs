//! `verify`: reads and checks all that is stored.

use std::io::Write;

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
    let report = store.verify(args.repair, &mut |progress| {
        bar.show("checking", progress.done.into(), progress.of.into(), || human::size(progress.bytes));
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

//! `migrate`: moves the cache from one layout to the other.

use std::io::Write;

use cache_fs::{FsStore, Layout, Options};
use cache_run::human;
use serde::Serialize;

use super::Context;
use crate::args::MigrateArgs;
use crate::failure::{Failure, Result};
use crate::settings::Id;
use crate::ui::LateBar;
use crate::{output, place};

#[derive(Serialize)]
struct Json<'a> {
    to: &'a str,
    dry_run: bool,
    entries: u64,
    blobs: u64,
    bytes: u64,
    unusable: u64,
    did_not_fit: u64,
    evicted: u64,
}

pub(super) fn run(context: &Context, args: &MigrateArgs) -> Result {
    let config = &context.config;
    let dir = config.dir().map_err(Failure::failed)?;
    let to = place::layout(&args.to);
    let wish = place::layout(config.word(Id::Layout));
    if wish != Layout::Auto && wish != to {
        return Err(Failure::failed(format_args!(
            "the setting `layout` is {}, so a cache that was moved to {} would not be found; change it to {} or auto first",
            config.word(Id::Layout),
            args.to,
            args.to
        )));
    }
    let options = Options { layout: to, ..place::options(config, &dir) };
    let bar = LateBar::new(args.json);
    let report = FsStore::migrate(&dir, &options, to, args.dry_run, &mut |progress| {
        bar.show("moving", progress.done, progress.of, || human::size(progress.bytes));
        Ok(())
    });
    bar.clear();
    let report = report?;
    let mut out = output::stdout();
    if args.json {
        let json = Json {
            to: &args.to,
            dry_run: args.dry_run,
            entries: report.entries,
            blobs: report.blobs,
            bytes: report.bytes,
            unusable: report.unusable,
            did_not_fit: report.did_not_fit,
            evicted: report.evicted,
        };
        output::json_line(&mut out, &json)?;
        return Ok(out.flush()?);
    }
    let lost = [
        (report.unusable, "unusable"),
        (report.did_not_fit, "for which there was no room"),
        (report.evicted, "that made room for others"),
    ]
    .iter()
    .filter(|(count, _)| *count > 0)
    .fold(String::new(), |text, (count, why)| text + &format!("; left behind: {count} {why}"));
    let verb = if args.dry_run { "would move" } else { "moved" };
    if report == cache_fs::MigrateReport::default() {
        writeln!(out, "nothing to move to {}", args.to)?;
    } else {
        let entries =
            if report.entries == 1 { "1 entry".to_owned() } else { format!("{} entries", report.entries) };
        let blobs = human::count(report.blobs as usize, "blob");
        let size = human::size(report.bytes);
        writeln!(out, "{verb} {entries}, {blobs}, {size} to {}{lost}", args.to)?;
    }
    Ok(out.flush()?)
}

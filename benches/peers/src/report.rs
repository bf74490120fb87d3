//! All measurements as one table.

use std::time::Duration;

use crate::contender::{Contenders, Opens, Results};
use crate::measure::{Hits, Million, duplicates};
use crate::plan::{CACHED_PART, PROCESSES, Plan, READS_PER_SCAN};
use bench::samples::Samples;

/// Returns the cell of one peer, given the results of the baseline.
type Cell<'a> = Box<dyn Fn(&Results, Option<&Results>) -> String + 'a>;

const NONE: &str = "-";
const MB: f64 = 1e6;

pub(crate) fn table(contenders: &Contenders, plan: &Plan) -> String {
    let mut lines = vec![
        std::iter::once("median / p99, ratio to `files`".to_owned())
            .chain(contenders.iter().map(|contender| contender.kind.name.to_owned()))
            .collect::<Vec<_>>(),
    ];
    for (label, cell) in rows(plan) {
        let cells = contenders.iter().map(|contender| {
            let text = cell(&contender.results, contenders.baseline());
            let alone = !contender.kind.shared && label.contains("processes");
            if alone { "one process".to_owned() } else { text }
        });
        lines.push(std::iter::once(label.clone()).chain(cells).collect());
    }
    aligned(&lines)
}

fn rows(plan: &Plan) -> Vec<(String, Cell<'_>)> {
    let mut rows: Vec<(String, Cell<'_>)> = vec![
        ("put, µs".to_owned(), micros(|results| &results.put)),
        ("get (zipf), verified, µs".to_owned(), micros(|results| &results.get)),
        ("miss, µs".to_owned(), micros(|results| &results.miss)),
        ("put of a duplicate, µs".to_owned(), micros(|results| &results.duplicate)),
    ];
    let mut opens = |entries: &str, of: fn(&Results) -> &Opens| {
        rows.push((
            format!("open + get, {entries}, µs"),
            Box::new(move |results: &Results, base: Option<&Results>| {
                timed(&of(results).process, base.map(|base| &of(base).process), 1.0)
            }),
        ));
        rows.push((
            format!("the same again in the process, {entries}"),
            Box::new(move |results: &Results, base: Option<&Results>| {
                timed(&of(results).handle, base.map(|base| &of(base).handle), 1.0)
            }),
        ));
    };
    opens("1,000 small", |results| &results.thousand);
    opens("all values", |results| &results.full);
    if plan.million {
        opens("1,000,000 small", |results| &results.million);
    }
    rows.push((
        format!("{PROCESSES} processes, kops/s"),
        Box::new(|results, base| rate(median(&results.mixed), base.and_then(|base| median(&base.mixed)))),
    ));
    rows.push((
        "64 MiB put, ms".to_owned(),
        Box::new(|results, base| timed(&results.blob_put, base.map(|base| &base.blob_put), 1e3)),
    ));
    rows.push((
        "64 MiB get, ms".to_owned(),
        Box::new(|results, base| timed(&results.blob_get, base.map(|base| &base.blob_get), 1e3)),
    ));
    rows.push(("disk, MB".to_owned(), megabytes(|results| results.disk.map(|bytes| bytes as f64))));
    rows.push((
        format!("disk of {:.0} MB of duplicates, MB", duplicates::bytes(plan) as f64 / MB),
        megabytes(|results| results.duplicates_disk.map(|bytes| bytes as f64)),
    ));
    rows.push((
        "written for them, MB".to_owned(),
        megabytes(|results| results.duplicates_written.map(|bytes| bytes as f64)),
    ));
    rows
}

fn micros(of: fn(&Results) -> &Samples) -> Cell<'static> {
    Box::new(move |results, base| timed(of(results), base.map(of), 1.0))
}

fn megabytes(of: fn(&Results) -> Option<f64>) -> Cell<'static> {
    Box::new(move |results, _| {
        of(results).map_or_else(|| NONE.to_owned(), |bytes| format!("{:.0}", bytes / MB))
    })
}

/// `unit` is in microseconds.
fn timed(samples: &Samples, base: Option<&Samples>, unit: f64) -> String {
    let Some(summary) = samples.summary() else { return NONE.to_owned() };
    let ratio = base.and_then(Samples::summary).map(|base| summary.median / base.median);
    let ratio = ratio.map_or_else(String::new, |ratio| format!(" {ratio:.2}x"));
    format!("{} / {}{ratio}", short(summary.median / unit), short(summary.p99 / unit))
}

fn rate(kops: Option<f64>, base: Option<f64>) -> String {
    let Some(kops) = kops else { return NONE.to_owned() };
    let ratio = base.map_or_else(String::new, |base| format!(" {:.2}x", kops / base));
    format!("{kops:.1}{ratio}")
}

/// Returns the number with two digits that matter, or all of those before the point.
fn short(number: f64) -> String {
    match number {
        ..1.0 => format!("{number:.2}"),
        ..10.0 => format!("{number:.1}"),
        _ => format!("{number:.0}"),
    }
}

pub(crate) fn median(numbers: &[f64]) -> Option<f64> {
    let mut sorted = numbers.to_vec();
    sorted.sort_unstable_by(f64::total_cmp);
    sorted.get(sorted.len().checked_sub(1)? / 2).copied()
}

fn aligned(lines: &[Vec<String>]) -> String {
    let columns = lines.first().map_or(0, Vec::len);
    let width = |column: usize| {
        lines.iter().filter_map(|line| line.get(column)).map(|cell| cell.chars().count()).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let line = |cells: &Vec<String>| {
        let padded = cells.iter().zip(&widths).enumerate().map(|(column, (cell, &width))| {
            if column == 0 { format!("{cell:<width$}") } else { format!("{cell:>width$}") }
        });
        format!("| {} |", padded.collect::<Vec<_>>().join(" | "))
    };
    let rule = widths.iter().enumerate().map(|(column, width)| {
        if column == 0 { "-".repeat(*width) } else { format!("{}:", "-".repeat(width - 1)) }
    });
    let mut text: Vec<String> = lines.iter().map(line).collect();
    text.insert(1.min(text.len()), format!("| {} |", rule.collect::<Vec<_>>().join(" | ")));
    text.join("\n")
}

pub(crate) fn million(million: &Million) -> String {
    let millis = |time: Duration| format!("{:.2} ms", time.as_secs_f64() * 1e3);
    [
        "segments with a million small entries".to_owned(),
        format!("  open and count for stats      {}", millis(million.stats)),
        format!(
            "  evict a tenth                 {} in {} puts, {:.0} MB went",
            millis(million.evict_tenth),
            million.puts,
            million.evicted as f64 / MB
        ),
        format!("  longest put while evicting    {}", millis(million.longest_put)),
        format!("  longest get while evicting    {}", millis(million.longest_get)),
        format!("  memory for all of that        {} KiB", million.memory >> 10),
    ]
    .join("\n")
}

pub(crate) fn hits(hits: &[Hits], plan: &Plan) -> String {
    let mut lines = vec![format!(
        "hit ratio of a cache for 1/{CACHED_PART} of the bytes, {} reads; with one insert that is never read for {READS_PER_SCAN} reads",
        plan.policy_reads
    )];
    for cache in hits {
        let disk = cache.disk.as_ref().map_or_else(String::new, |disk| {
            let (most, limit) = (disk.most as f64 / MB, disk.limit as f64 / MB);
            let held = disk.held_bytes as f64 / MB;
            format!("   took at most {most:.1} MB of {limit:.1} MB, held {held:.1} MB of values at the end")
        });
        lines.push(format!(
            "  {:<14}{:>6.1} %   with scans {:>6.1} %{disk}",
            cache.name,
            cache.zipf * 100.0,
            cache.with_scans * 100.0
        ));
    }
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_markdown() {
        let lines = [vec!["a".to_owned(), "bb".to_owned()], vec!["µs".to_owned(), "1".to_owned()]];
        assert_eq!(aligned(&lines), "| a  | bb |\n| -- | -: |\n| µs |  1 |");
    }

    #[test]
    fn numbers_are_short() {
        assert_eq!([0.123, 1.24, 12.6].map(short), ["0.12", "1.2", "13"]);
        assert_eq!(median(&[3.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median(&[]), None);
    }
}

//! `du`: what takes the space.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::Write as _;

use cache_core::ListFilter;
use cache_run::human;
use serde::Serialize;

use super::{Context, ls};
use crate::args::DuArgs;
use crate::failure::Result;
use crate::output::{self, Column};
use crate::place;

/// Entries asked for at a time.
const PAGE: usize = 1000;
/// Rows in the table; the others are added up.
const MAX_ROWS: usize = 20;

/// What entries are added up by; empty where it does not matter.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize)]
struct Group {
    namespace: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    kind: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    label: String,
}

#[derive(Clone, Copy, Debug, Default, Serialize)]
struct Sums {
    entries: u64,
    bytes: u64,
}

#[derive(Serialize)]
struct Row {
    #[serde(flatten)]
    group: Group,
    #[serde(flatten)]
    sums: Sums,
}

#[derive(Serialize)]
struct Json {
    /// Bytes on disk: what several entries share counts once.
    disk_bytes: u64,
    max_bytes: Option<u64>,
    free_bytes: Option<u64>,
    entries: u64,
    blobs: u64,
    groups: Vec<Row>,
}

pub(super) fn run(context: &Context, args: &DuArgs) -> Result {
    let store = place::open(&context.config)?;
    let filter = ListFilter { namespace: context.config.namespace_filter(), ..ListFilter::default() };
    let mut groups: BTreeMap<Group, Sums> = BTreeMap::new();
    let mut after = None;
    loop {
        let page = store.list(&filter, after.as_deref(), PAGE)?;
        for item in page.items {
            let mut group = Group { namespace: item.meta.namespace.into(), ..Group::default() };
            if args.by == "label" && ls::is_run(&item.meta.kind) {
                group.label = item.meta.name;
            }
            let counts = !ls::is_bookkeeping(&item.meta.kind);
            if args.by != "namespace" {
                // What serves a result takes space for it.
                group.kind = if counts { item.meta.kind } else { "run".to_owned() };
            }
            let sums = groups.entry(group).or_default();
            sums.entries += u64::from(counts);
            sums.bytes = sums.bytes.saturating_add(item.size);
        }
        match page.next {
            Some(next) => after = Some(next),
            None => break,
        }
    }
    let mut groups: Vec<Row> = groups.into_iter().map(|(group, sums)| Row { group, sums }).collect();
    groups.sort_by(|a, b| b.sums.bytes.cmp(&a.sums.bytes).then_with(|| a.group.cmp(&b.group)));
    let usage = store.usage();
    let json = Json {
        disk_bytes: usage.bytes,
        max_bytes: usage.max_bytes,
        free_bytes: usage.free,
        entries: usage.entries,
        blobs: usage.blobs,
        groups,
    };
    let mut out = output::stdout();
    if args.json {
        output::json_line(&mut out, &json)?;
    } else {
        out.write_all(show(&json, &args.by, context).as_bytes())?;
    }
    Ok(out.flush()?)
}

fn show(json: &Json, by: &str, context: &Context) -> String {
    let several = json.groups.iter().any(|row| row.group.namespace != json.groups[0].group.namespace);
    let with_namespace = several || by == "namespace";
    let mut columns = vec![Column::Right("size"), Column::Right("entries")];
    let mut names = Vec::new();
    if by == "label" {
        names.push(Column::Left("label"));
    }
    if by != "namespace" {
        names.push(Column::Left("kind"));
    }
    if with_namespace {
        names.push(Column::Left("namespace"));
    }
    columns.extend(names);
    let line = |row: &Row| {
        let mut cells = vec![human::size(row.sums.bytes), row.sums.entries.to_string()];
        if by == "label" {
            cells.push(output::visible(&row.group.label));
        }
        if by != "namespace" {
            cells.push(output::visible(&row.group.kind));
        }
        if with_namespace {
            cells.push(row.group.namespace.clone());
        }
        cells
    };
    let mut text = String::new();
    if !json.groups.is_empty() {
        let rows = json.groups.iter().take(MAX_ROWS).map(line).collect();
        text = output::table(&columns, rows, context.color.stdout());
    }
    if let Some(rest) = json.groups.get(MAX_ROWS..).filter(|rest| !rest.is_empty()) {
        let bytes = rest.iter().map(|row| row.sums.bytes).sum();
        let _ = writeln!(text, "… and {} more with {}; --json has all", rest.len(), human::size(bytes));
    }
    if !text.is_empty() {
        text.push('\n');
    }
    let limit = json
        .max_bytes
        .map_or_else(|| "without a limit".to_owned(), |limit| format!("of {}", human::size(limit)));
    let _ = write!(
        text,
        "on disk {} {limit}, {}, {}",
        human::size(json.disk_bytes),
        entries(json.entries),
        human::count(json.blobs as usize, "blob"),
    );
    if let Some(free) = json.free_bytes {
        let _ = write!(text, "; {} free", human::size(free));
    }
    text.push('\n');
    text
}

fn entries(count: u64) -> String {
    if count == 1 { "1 entry".to_owned() } else { format!("{count} entries") }
}

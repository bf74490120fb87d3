//! `ls`: lists entries.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::fmt::Write as _;
use std::io::Write as _;

use cache_core::{Key, ListFilter, Listed, Timestamp};
use cache_run::human;
use serde::Serialize;

use super::{Context, ago};
use crate::args::LsArgs;
use crate::failure::Result;
use crate::output::{self, Column};
use crate::place;

/// Entries asked for at a time.
const PAGE: usize = 1000;

pub(super) fn run(context: &Context, args: &LsArgs) -> Result {
    let store = place::open(&context.config)?;
    let filter = ListFilter {
        namespace: context.config.namespace_filter(),
        kind: args.kind.clone(),
        name_prefix: args.prefix.clone().or_else(|| args.label.clone()),
    };
    let mut out = output::stdout();
    let mut newest = Newest::new(if args.limit == 0 { usize::MAX } else { args.limit });
    let mut after = None;
    loop {
        let page = store.list(&filter, after.as_deref(), PAGE)?;
        for item in page.items {
            if args.kind.is_none() && is_bookkeeping(&item.meta.kind) {
                continue;
            }
            if args.label.as_ref().is_some_and(|label| !is_run(&item.meta.kind) || item.meta.name != *label) {
                continue;
            }
            if args.json {
                output::json_line(&mut out, &Json::new(&item))?;
            } else {
                newest.push(item);
            }
        }
        match page.next {
            Some(next) => after = Some(next),
            None => break,
        }
    }
    if !args.json {
        out.write_all(show(newest, context).as_bytes())?;
    }
    Ok(out.flush()?)
}

/// Returns whether entries of this kind come from `run`, so that their name is a label.
pub(super) fn is_run(kind: &str) -> bool {
    kind == "run" || is_bookkeeping(kind)
}

/// Returns whether entries of this kind only serve others: they are listed when their kind is asked for.
pub(super) fn is_bookkeeping(kind: &str) -> bool {
    kind.starts_with("run.")
}

fn show(newest: Newest, context: &Context) -> String {
    let more = newest.seen.saturating_sub(newest.kept.len());
    let items = newest.sorted();
    if items.is_empty() {
        return "there is nothing in the cache that fits\n".to_owned();
    }
    let several = items.iter().any(|item| item.meta.namespace != items[0].meta.namespace);
    let mut columns = vec![
        Column::Left("name"),
        Column::Left("kind"),
        Column::Right("size"),
        Column::Right("age"),
        Column::Right("last used"),
        Column::Right("saves"),
    ];
    if several {
        columns.insert(1, Column::Left("namespace"));
    }
    let rows = items.iter().map(|item| {
        let saves = match item.meta.cost_ms {
            0 => String::new(),
            millis => human::duration(std::time::Duration::from_millis(millis)),
        };
        let mut row = vec![
            output::visible(&item.meta.name),
            output::visible(&item.meta.kind),
            human::size(item.size),
            ago(item.meta.created),
            item.last_used.map_or_else(String::new, ago),
            saves,
        ];
        if several {
            row.insert(1, item.meta.namespace.to_string());
        }
        row
    });
    let mut text = output::table(&columns, rows.collect(), context.color.stdout());
    if more > 0 {
        let _ = writeln!(text, "… and {more} more; --limit 0 shows all");
    }
    text
}

/// The entries used last, so that a table of a few needs no memory for all.
struct Newest {
    limit: usize,
    seen: usize,
    kept: BinaryHeap<Reverse<ByUse>>,
}

struct ByUse(Listed);

impl ByUse {
    fn rank(&self) -> (Timestamp, Key) {
        (self.0.last_used.unwrap_or(self.0.meta.created), self.0.key)
    }
}

impl PartialEq for ByUse {
    fn eq(&self, other: &Self) -> bool {
        self.rank() == other.rank()
    }
}

impl Eq for ByUse {}

impl PartialOrd for ByUse {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for ByUse {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.rank().cmp(&other.rank())
    }
}

impl Newest {
    fn new(limit: usize) -> Self {
        Self { limit, seen: 0, kept: BinaryHeap::new() }
    }

    fn push(&mut self, item: Listed) {
        self.seen += 1;
        self.kept.push(Reverse(ByUse(item)));
        if self.kept.len() > self.limit {
            self.kept.pop();
        }
    }

    /// Returns what was kept, used last first.
    fn sorted(self) -> Vec<Listed> {
        // Ascending in reverse order is descending.
        self.kept.into_sorted_vec().into_iter().map(|Reverse(ByUse(item))| item).collect()
    }
}

#[derive(Serialize)]
struct Json<'a> {
    name: &'a str,
    namespace: &'a str,
    kind: &'a str,
    key: Key,
    size: u64,
    created_ms: u64,
    last_used_ms: Option<u64>,
    expires_ms: Option<u64>,
    cost_ms: u64,
    writer: &'a str,
    tags: &'a std::collections::BTreeMap<String, String>,
}

impl<'a> Json<'a> {
    fn new(item: &'a Listed) -> Self {
        Self {
            name: &item.meta.name,
            namespace: item.meta.namespace.as_str(),
            kind: &item.meta.kind,
            key: item.key,
            size: item.size,
            created_ms: item.meta.created.as_millis(),
            last_used_ms: item.last_used.map(Timestamp::as_millis),
            expires_ms: item.meta.expires.map(Timestamp::as_millis),
            cost_ms: item.meta.cost_ms,
            writer: &item.meta.writer,
            tags: &item.meta.tags,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use cache_core::EntryMeta;

    #[test]
    fn the_newest_are_kept_and_the_others_counted() {
        let mut newest = Newest::new(2);
        for used in [5, 1, 9, 3] {
            let last_used = Some(Timestamp::from_millis(used));
            newest.push(Listed {
                key: Key::from_bytes([used as u8; 32]),
                meta: EntryMeta::default(),
                size: 0,
                last_used,
                signer: None,
            });
        }
        assert_eq!((newest.seen, newest.kept.len()), (4, 2));
        let used: Vec<u64> =
            newest.sorted().iter().filter_map(|item| item.last_used).map(Timestamp::as_millis).collect();
        assert_eq!(used, [9, 5]);
    }
}

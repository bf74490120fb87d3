//! `rm`: removes entries.

use cache_core::{Key, ListFilter};
use cache_fs::FsStore;

use super::{Context, ls, value};
use crate::args::RmArgs;
use crate::failure::{Failure, Result};
use crate::output;
use crate::place;

/// Entries asked for at a time.
const PAGE: usize = 1000;

pub(super) fn run(context: &Context, args: &RmArgs) -> Result {
    let store = place::open(&context.config)?;
    let namespace = context.config.namespace();
    if !args.keys.is_empty() {
        let mut missing = Vec::new();
        for name in &args.keys {
            let mut found = store.remove(&value::key(&namespace, name))?;
            // A name may look like a key, so the name goes first.
            if !found && let Ok(key) = name.parse::<Key>() {
                found = store.remove(&key)?;
            }
            if !found {
                missing.push(format!("`{}`", output::visible(name)));
            }
        }
        return match missing.as_slice() {
            [] => Ok(()),
            [one] => Err(Failure::failed(format_args!(
                "there is nothing under {one}; `vitte-cache ls` shows what there is"
            ))),
            several => Err(Failure::failed(format_args!(
                "there is nothing under {}; `vitte-cache ls` shows what there is",
                several.join(", ")
            ))),
        };
    }
    let filter = ListFilter { namespace: Some(namespace), kind: None, name_prefix: args.label.clone() };
    let removed = remove_all(&store, &filter, args.label.as_deref())?;
    if let (0, Some(label)) = (removed, &args.label) {
        return Err(Failure::failed(format_args!(
            "there is no result with the label `{}`; `vitte-cache ls` shows what there is",
            output::visible(label)
        )));
    }
    output::note(&format!(
        "removed {}",
        if removed == 1 { "1 entry".to_owned() } else { format!("{removed} entries") }
    ));
    Ok(())
}

/// Removes what passes `filter`, with a `label` only results of runs that have it, and returns how many there were.
fn remove_all(store: &FsStore, filter: &ListFilter, label: Option<&str>) -> Result<usize> {
    let (mut removed, mut after) = (0, None);
    loop {
        let page = store.list(filter, after.as_deref(), PAGE)?;
        for item in &page.items {
            let fits = |label| ls::is_run(&item.meta.kind) && item.meta.name == label;
            if label.is_none_or(fits) && store.remove(&item.key)? {
                removed += usize::from(!ls::is_bookkeeping(&item.meta.kind));
            }
        }
        match page.next {
            Some(next) => after = Some(next),
            None => return Ok(removed),
        }
    }
}

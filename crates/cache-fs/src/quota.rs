//! Quotas of namespaces.

use cache_core::{Key, ListFilter, Namespace, Result, Timestamp};

use crate::FsStore;

/// Entries that are listed at a time.
const PAGE: usize = 1000;

/// An entry of a namespace.
struct Held {
    used: Timestamp,
    key: Key,
    size: u64,
}

/// Removes from each namespace that has more than its quota the entries that were not used for the longest time, down to the
/// low-water mark; returns how many.
pub(crate) fn keep(store: &FsStore, dry_run: bool) -> Result<u64> {
    let policy = store.policy();
    let mut removed = 0;
    for (namespace, &quota) in &policy.namespace_bytes {
        let mut held = entries(store, namespace)?;
        let mut bytes = held.iter().map(|held| held.size).fold(0, u64::saturating_add);
        if bytes <= quota {
            continue;
        }
        held.sort_unstable_by_key(|held| held.used);
        for Held { key, size, .. } in held {
            if bytes <= policy.low_water(quota) {
                break;
            }
            if dry_run || store.remove(&key)? {
                removed += 1;
            }
            bytes = bytes.saturating_sub(size);
        }
    }
    Ok(removed)
}

fn entries(store: &FsStore, namespace: &Namespace) -> Result<Vec<Held>> {
    let filter = ListFilter { namespace: Some(namespace.clone()), ..ListFilter::default() };
    let (mut held, mut after) = (Vec::new(), None);
    loop {
        let page = store.list(&filter, after.as_deref(), PAGE)?;
        held.extend(page.items.into_iter().map(|item| Held {
            used: item.last_used.unwrap_or(item.meta.created),
            key: item.key,
            size: item.size,
        }));
        after = page.next;
        if after.is_none() {
            return Ok(held);
        }
    }
}

//! Lists of entries.

use std::collections::{BTreeMap, BTreeSet};

use cache_core::{Entry, HashFunction, Key, ListFilter, Listed, Namespace, Page, Store};

use super::samples::{blob, entry, entry_with, key, put};
use super::{Outcome, Stop, Suite, ensure};

/// A list that goes on for more pages than this, for fewer entries, never ends.
const MOST_PAGES: usize = 10_000;

async fn page(
    store: &dyn Store,
    filter: &ListFilter,
    after: Option<&str>,
    limit: usize,
) -> Result<Page, Stop> {
    let page = store.list(filter, after, limit).await?;
    ensure!(page.items.len() <= limit, "a page of at most {limit} entries has {}", page.items.len());
    Ok(page)
}

/// Returns everything that `filter` lets through, page by page.
async fn collect(store: &dyn Store, filter: &ListFilter, limit: usize) -> Result<Vec<Listed>, Stop> {
    let mut all = Vec::new();
    let mut after: Option<String> = None;
    for _ in 0..MOST_PAGES {
        let page = page(store, filter, after.as_deref(), limit).await?;
        all.extend(page.items);
        if page.next.is_none() {
            return Ok(all);
        }
        after = page.next;
    }
    Err(Stop::Failed(format!("a list is not at its end after {MOST_PAGES} pages")))
}

fn ensure_same(listed: &[Listed], expected: &BTreeMap<Key, Entry>) -> Outcome {
    let keys: BTreeSet<Key> = listed.iter().map(|item| item.key).collect();
    ensure!(keys.len() == listed.len(), "a list names {} entries twice", listed.len() - keys.len());
    ensure!(
        keys.iter().eq(expected.keys()),
        "a list of {} entries names {} others or fewer",
        expected.len(),
        listed.len()
    );
    for item in listed {
        let entry = &expected[&item.key];
        ensure!(item.meta == entry.meta, "a list shows the entry {:?} with other facts", entry.meta.name);
        ensure!(item.size == entry.size(), "a list shows {} bytes for {}", item.size, entry.size());
    }
    Ok(())
}

async fn listing_store(suite: &Suite) -> Result<std::sync::Arc<dyn Store>, Stop> {
    let store = suite.store().await;
    if store.capabilities().list { Ok(store) } else { Err(Stop::Skipped("it cannot list")) }
}

/// Checks that a list names each entry once whatever the size of its pages.
///
/// # Errors
/// Where the store does not keep the contract.
///
/// # Cancel safety
/// Dropping the future ends the check.
pub async fn list_pages(suite: &Suite) -> Outcome {
    const COUNT: u64 = 60;
    let store = listing_store(suite).await?;
    ensure!(collect(&*store, &ListFilter::default(), 10).await?.is_empty(), "an empty store lists entries");
    let (digest, _) = blob(&*store, HashFunction::Blake3, 1, 1000).await?;
    let mut expected = BTreeMap::new();
    for number in 0..COUNT {
        let blobs = if number % 2 == 0 { &[(digest, 1000)][..] } else { &[] };
        let entry = entry_with(&format!("entry {number}"), blobs)?;
        put(&*store, &key(number), &entry).await?;
        expected.insert(key(number), entry);
    }
    for limit in [1, 7, COUNT as usize - 1, COUNT as usize, COUNT as usize + 1, 1000] {
        ensure_same(&collect(&*store, &ListFilter::default(), limit).await?, &expected)?;
    }
    // Nobody's cursor: an error or a page, but no panic.
    let _ = store.list(&ListFilter::default(), Some("\u{1F980}/../no cursor"), 10).await;
    ensure!(store.remove(&key(0)).await?, "remove denies having removed an entry");
    expected.remove(&key(0));
    ensure_same(&collect(&*store, &ListFilter::default(), 7).await?, &expected)
}

/// Checks every combination of the parts of a filter.
///
/// # Errors
/// Where the store does not keep the contract.
///
/// # Cancel safety
/// Dropping the future ends the check.
pub async fn list_filters(suite: &Suite) -> Outcome {
    let store = listing_store(suite).await?;
    let namespace = |name: &str| Namespace::new(name).map_err(|error| Stop::Failed(error.to_string()));
    let mut all = BTreeMap::new();
    for (number, space) in ["one", "two"].into_iter().enumerate() {
        for (kind_number, kind) in ["run", "value"].into_iter().enumerate() {
            for (name_number, name) in ["", "lib/a", "lib/b", "LIB", "é"].into_iter().enumerate() {
                let mut entry = entry(name);
                entry.meta.namespace = namespace(space)?;
                kind.clone_into(&mut entry.meta.kind);
                let key = key((number * 100 + kind_number * 10 + name_number) as u64);
                put(&*store, &key, &entry).await?;
                all.insert(key, entry);
            }
        }
    }
    for space in [None, Some("one"), Some("three")] {
        for kind in [None, Some("run"), Some("ru")] {
            for prefix in [None, Some(""), Some("lib/"), Some("lib/a"), Some("é"), Some("x")] {
                let filter = ListFilter {
                    namespace: space.map(namespace).transpose()?,
                    kind: kind.map(str::to_owned),
                    name_prefix: prefix.map(str::to_owned),
                };
                let passing = all.iter().filter(|(_, entry)| filter.passes(&entry.meta));
                let expected = passing.map(|(key, entry)| (*key, entry.clone())).collect();
                ensure_same(&collect(&*store, &filter, 3).await?, &expected)?;
            }
        }
    }
    Ok(())
}

/// Checks that a list that is under way while entries come and go names all those that stay, once.
///
/// # Errors
/// Where the store does not keep the contract.
///
/// # Cancel safety
/// Dropping the future ends the check.
pub async fn list_while_writing(suite: &Suite) -> Outcome {
    const STAYING: u64 = 60;
    const LEAVING: u64 = 20;
    let store = listing_store(suite).await?;
    for number in 0..STAYING + LEAVING {
        put(&*store, &key(number), &entry(&format!("entry {number}"))).await?;
    }
    let mut seen = BTreeMap::<Key, u32>::new();
    let mut after: Option<String> = None;
    let mut leaving = STAYING..STAYING + LEAVING;
    let mut coming = 1000..;
    for _ in 0..MOST_PAGES {
        let page = page(&*store, &ListFilter::default(), after.as_deref(), 5).await?;
        for item in page.items {
            *seen.entry(item.key).or_default() += 1;
        }
        for number in leaving.by_ref().take(2) {
            let _ = store.remove(&key(number)).await?;
        }
        // Fewer than a page, so that even a list that names all newcomers comes to its end.
        for number in coming.by_ref().take(2) {
            put(&*store, &key(number), &entry("a newcomer")).await?;
        }
        after = page.next;
        if after.is_none() {
            break;
        }
    }
    ensure!(after.is_none(), "a list is not at its end after {MOST_PAGES} pages");
    let twice = seen.values().filter(|times| **times > 1).count();
    ensure!(twice == 0, "a list names {twice} entries twice while others come and go");
    let lost = (0..STAYING).filter(|number| !seen.contains_key(&key(*number))).count();
    ensure!(lost == 0, "a list does not name {lost} entries that were there all the time");
    Ok(())
}

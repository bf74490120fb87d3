//! How many bytes an entry or a blob takes.

use std::collections::BTreeMap;
use std::mem::size_of;

use cache_core::{Dependencies, Entry, EntryMeta, EnvDependency, FileDependency, Key, Output, OutputKind};

use crate::item::{Address, Blob, Item, Stored};

/// Bytes of the tables of `quick_cache` per item: a slot of 64 bytes in a vector that, just grown, is half empty, and five
/// bytes per bucket of a hash table that, just grown, is not half full. The test below asks `quick_cache`. Measured with a
/// counting allocator, all that is counted here exceeds what is allocated by 1 to 15 % for entries.
pub(crate) const SLOT: u64 = 144;
/// Bytes of the ordered index of the keys per entry: the nodes of a B-tree are two thirds full on average.
const INDEX: u64 = 56;
/// The two counters of an `Arc`, in bytes.
const COUNTERS: usize = 16;
/// What keeps `Bytes` shared besides its content, in bytes.
const SHARED: usize = 24;
/// Bytes of a node of the map of tags: 11 names and values, and its header.
const TAG_NODE: usize = 11 * 2 * size_of::<String>() + 16;
/// A node of a B-tree is at least so full, except for the only one.
const TAGS_PER_NODE: usize = 5;

/// Returns the bytes that a blob of `len` bytes takes, all around it included.
pub(crate) fn of_blob(len: usize) -> u64 {
    SLOT + piece(COUNTERS + size_of::<Blob>()) + of_bytes(len)
}

/// Returns the bytes that an entry takes, all around it included; the blobs that it names count for themselves.
pub(crate) fn of_entry(entry: &Entry) -> u64 {
    let outputs = entry.outputs.iter().fold(table::<Output>(entry.outputs.len()), |sum, output| {
        sum + piece(output.path.as_bytes().len())
            + match &output.kind {
                OutputKind::Symlink { target } => piece(target.len()),
                OutputKind::File { .. } | OutputKind::Directory => 0,
            }
    });
    let fixed = SLOT + INDEX + piece(COUNTERS + size_of::<Stored>());
    fixed + of_meta(&entry.meta) + of_bytes(entry.value.len()) + outputs
}

fn of_meta(meta: &EntryMeta) -> u64 {
    let texts = [meta.namespace.as_str(), &meta.kind, &meta.name, &meta.writer];
    texts.iter().map(|text| piece(text.len())).sum::<u64>()
        + of_tags(&meta.tags)
        + of_dependencies(&meta.dependencies)
}

fn of_tags(tags: &BTreeMap<String, String>) -> u64 {
    let nodes = tags.len().div_ceil(TAGS_PER_NODE) as u64 * piece(TAG_NODE);
    tags.iter().fold(nodes, |sum, (name, value)| sum + piece(name.len()) + piece(value.len()))
}

fn of_dependencies(dependencies: &Dependencies) -> u64 {
    let Dependencies { files, upstream, env, tool: _ } = dependencies;
    let paths: u64 = files.iter().map(|file| piece(file.path.path.as_bytes().len())).sum();
    let names: u64 = env.iter().map(|variable| piece(variable.name.len())).sum();
    table::<FileDependency>(files.len())
        + paths
        + table::<Key>(upstream.len())
        + table::<EnvDependency>(env.len())
        + names
}

fn of_bytes(len: usize) -> u64 {
    if len == 0 { 0 } else { piece(SHARED) + piece(len) }
}

/// Returns the bytes that an allocator takes for a piece of `len` bytes, none at all if that is 0: with a word of its own,
/// rounded up to two words, and at least four, as in the GNU C library. Others take less.
fn piece(len: usize) -> u64 {
    const WORD: u64 = 8;
    if len == 0 { 0 } else { (len as u64 + WORD).next_multiple_of(2 * WORD).max(4 * WORD) }
}

fn table<T>(len: usize) -> u64 {
    piece(len * size_of::<T>())
}

/// Tells `quick_cache` what an item weighs.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Weigher;

impl quick_cache::Weighter<Address, Item> for Weigher {
    fn weight(&self, _: &Address, item: &Item) -> u64 {
        item.weight()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use bytes::Bytes;
    use cache_core::{Digest, Policy, Timestamp};

    use super::*;
    use crate::Options;
    use crate::item::LastUse;
    use crate::limits::cache;

    #[test]
    fn a_slot_is_enough_for_the_tables_of_quick_cache_at_any_number_of_items() {
        let (cache, _) = cache(&Options { policy: Policy::unlimited(), ..Options::default() });
        for number in 0_u32..40_000 {
            let blob = Blob { content: Bytes::new(), used: LastUse::new(Timestamp::default()) };
            let digest = Digest::blake3(&number.to_be_bytes());
            cache.insert(Address::blob(&digest), Item::Blob(Arc::new(blob)));
            let items = cache.len();
            if items > 1000 && items.is_multiple_of(97) {
                let used = cache.memory_used();
                // `entries` leaves out the empty part of the vector.
                let most = used.entries * 2 + used.map;
                assert!(most as u64 <= SLOT * items as u64, "{most} bytes for {items} items");
            }
        }
    }

    #[test]
    fn pieces_are_rounded_as_the_allocator_does() {
        assert_eq!([0, 1, 24, 25, 40, 41, 1000].map(piece), [0, 32, 32, 48, 48, 64, 1008]);
    }
}

//! How many bytes an entry or a blob takes.

use std::collections::BTreeMap;
use std::mem::size_of;

use cache_core::{Dependencies, Entry, EntryMeta, EnvDependency, FileDependency, Key, Output, OutputKind};

use crate::item::{Address, Blob, Item, Stored};

/// Bytes of the tables of `quick_cache` per item: see the test below, which asks `quick_cache` for them.
pub(crate) const SLOT: u64 = 160;
/// Bytes of the ordered index of the keys per entry.
const INDEX: u64 = 64;
/// What an allocator adds to each piece of memory, in bytes: a word of its own and rounding up to two words.
const ALLOCATION: u64 = 16;
/// The two counters of an `Arc`, in bytes.
const COUNTERS: u64 = 16;
/// What keeps the content of a blob shared besides the content itself, in bytes.
const SHARED: u64 = 32;
/// Bytes of a node of the map of tags: 11 keys and values, and its header.
const TAG_NODE: u64 = 11 * 2 * size_of::<String>() as u64 + 16 + ALLOCATION;
/// A node of a B-tree is at least so full, except for the only one.
const TAGS_PER_NODE: usize = 5;

/// Returns the bytes that a blob of `len` bytes takes, all around it included.
pub(crate) fn of_blob(len: u64) -> u64 {
    let fixed = SLOT + COUNTERS + size_of::<Blob>() as u64 + SHARED + 3 * ALLOCATION;
    fixed.saturating_add(len)
}

/// Returns the bytes that an entry takes, all around it included; the blobs that it names count for themselves.
pub(crate) fn of_entry(entry: &Entry) -> u64 {
    let fixed = SLOT + INDEX + COUNTERS + size_of::<Stored>() as u64 + ALLOCATION;
    let outputs = entry.outputs.iter().fold(table::<Output>(entry.outputs.len()), |sum, output| {
        sum + piece(output.path.as_bytes().len())
            + match &output.kind {
                OutputKind::Symlink { target } => piece(target.len()),
                OutputKind::File { .. } | OutputKind::Directory => 0,
            }
    });
    fixed + of_meta(&entry.meta) + of_value(entry.value.len()) + outputs
}

fn of_meta(meta: &EntryMeta) -> u64 {
    let texts = [meta.namespace.as_str(), &meta.kind, &meta.name, &meta.writer];
    texts.iter().map(|text| piece(text.len())).sum::<u64>()
        + of_tags(&meta.tags)
        + of_dependencies(&meta.dependencies)
}

fn of_tags(tags: &BTreeMap<String, String>) -> u64 {
    let nodes = tags.len().div_ceil(TAGS_PER_NODE) as u64 * TAG_NODE;
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

fn of_value(len: usize) -> u64 {
    if len == 0 { 0 } else { SHARED + ALLOCATION + piece(len) }
}

/// Returns the bytes of one piece of memory of `len` bytes, which is none at all if that is 0.
fn piece(len: usize) -> u64 {
    if len == 0 { 0 } else { len as u64 + ALLOCATION }
}

fn table<T>(len: usize) -> u64 {
    piece(len.saturating_mul(size_of::<T>()))
}

/// Tells `quick_cache` what an item weighs.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Weigher;

impl quick_cache::Weighter<Address, Item> for Weigher {
    fn weight(&self, _: &Address, item: &Item) -> u64 {
        item.weight()
    }
}

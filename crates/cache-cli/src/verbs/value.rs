//! What `put`, `get` and `rm` have in common: entries under keys of the user's own.

use cache_core::{Key, KeyBuilder, Namespace};

/// Kind of the entries that `put` makes.
pub(super) const KIND: &str = "file";
/// Values up to this many bytes are kept in the entry itself; larger ones become a blob, and are never whole in memory.
pub(super) const MAX_INLINE: usize = 64 << 10;
/// Name of the one output of an entry whose value is a blob.
pub(super) const OUTPUT: &str = "value";

/// Returns the key of the entry that `put` makes under `name`.
pub(super) fn key(namespace: &Namespace, name: &str) -> Key {
    KeyBuilder::new(namespace, KIND).text(name).finish()
}

//! Where in an entry a value is: in the entry while it is small, and else in a blob that the entry names.

use bytes::Bytes;
use cache_core::{Digest, Entry, EntryMeta, Output, OutputKind, RelPath};

use crate::Result;

/// Values up to this many bytes are kept in their entry; for larger ones a blob of their own is quicker to check.
pub(crate) const MAX_INLINE: usize = 64 << 10;
/// The path of a value that is an output of its entry.
const VALUE_PATH: &str = "value";

/// Where the value of an entry is.
pub(crate) enum Laid {
    Inline,
    /// In the blob of this digest and length.
    Blob(Digest, u64),
    /// The entry is none of a value.
    Otherwise,
}

/// Returns where the value of `entry` is.
pub(crate) fn of(entry: &Entry) -> Laid {
    match entry.outputs.first().map(|output| &output.kind) {
        None => Laid::Inline,
        Some(OutputKind::File { digest, len, .. }) => Laid::Blob(*digest, *len),
        Some(OutputKind::Directory | OutputKind::Symlink { .. }) => Laid::Otherwise,
    }
}

/// Returns the entry of a value that is in it.
pub(crate) fn inline(meta: EntryMeta, value: Bytes) -> Entry {
    Entry { meta, value, ..Entry::default() }
}

/// Returns the entry of a value that is in a blob.
pub(crate) fn blob(meta: EntryMeta, digest: Digest, len: u64) -> Result<Entry> {
    let path = RelPath::new(VALUE_PATH).map_err(|error| cache_core::Error::Invalid(error.to_string()))?;
    let kind = OutputKind::File { digest, len, mode: 0o600, modified_ns: 0 };
    Ok(Entry { meta, outputs: vec![Output { path, kind }], ..Entry::default() })
}

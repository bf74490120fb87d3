//! An [`Entry`] in an envelope. The key is in it, so that right bytes under another key are wrong bytes.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::{Compression, EnvelopeError, Limits, decode, encode};
use crate::{Entry, EntryMeta, Key, Output};

/// The metadata of an entry's envelope, version 1. Fields are never reordered or removed within a version.
#[derive(Serialize, Deserialize)]
struct Record<M, O> {
    key: Key,
    meta: M,
    outputs: O,
}

/// Returns `entry`, as stored under `key`, in bytes.
///
/// # Errors
/// [`EnvelopeError::TooLarge`] if its metadata is over the limit that [`decode_entry`] has by default.
pub fn encode_entry(key: &Key, entry: &Entry, compression: Compression) -> Result<Vec<u8>, EnvelopeError> {
    let metadata = encode_entry_facts(key, entry)?;
    encode(&metadata, &entry.value, compression)
}

/// Returns everything of `entry` but its value, as stored under `key`, in bytes, for a store that checks them itself.
///
/// # Errors
/// As [`encode_entry`].
pub fn encode_entry_facts(key: &Key, entry: &Entry) -> Result<Vec<u8>, EnvelopeError> {
    let record = Record { key: *key, meta: &entry.meta, outputs: &entry.outputs };
    let facts =
        postcard::to_stdvec(&record).map_err(|_| EnvelopeError::Corrupt("its metadata cannot be written"))?;
    let (size, limit) = (facts.len() as u64, u64::from(Limits::default().metadata));
    if size > limit {
        return Err(EnvelopeError::TooLarge { what: "metadata", size, limit });
    }
    Ok(facts)
}

/// Returns the entry that [`encode_entry_facts`] made `bytes` of, with an empty value, and the key that it was stored under.
///
/// # Errors
/// If they are not exactly that.
pub fn decode_entry_facts(bytes: &[u8]) -> Result<(Key, Entry), EnvelopeError> {
    let (record, rest): (Record<EntryMeta, Vec<Output>>, _) = postcard::take_from_bytes(bytes)
        .map_err(|_| EnvelopeError::Corrupt("its metadata is not that of an entry"))?;
    if !rest.is_empty() {
        return Err(EnvelopeError::Corrupt("its metadata has something after its end"));
    }
    Ok((record.key, Entry { meta: record.meta, value: Bytes::new(), outputs: record.outputs }))
}

/// Returns the entry that `bytes` holds and the key that it was stored under, which the caller compares with the one
/// that it looked for.
///
/// # Errors
/// As [`decode`], and if the metadata is not exactly that of an entry.
pub fn decode_entry(bytes: &[u8], limits: Limits) -> Result<(Key, Entry), EnvelopeError> {
    let parts = decode(bytes, limits)?;
    let (key, mut entry) = decode_entry_facts(parts.metadata)?;
    entry.value = Bytes::from(parts.payload.into_owned());
    Ok((key, entry))
}

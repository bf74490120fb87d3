//! An [`Entry`] in an envelope. The key is in it, so that right bytes under another key are wrong bytes.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::{Compression, EnvelopeError, Limits, decode, encode};
use crate::signing::{KeyId, Signature};
use crate::{Entry, EntryMeta, Key, Output};

/// The metadata of an entry's envelope, version 1. Fields are never reordered or removed within a version.
#[derive(Serialize, Deserialize)]
struct Record<M, O> {
    key: Key,
    meta: M,
    outputs: O,
}

/// Version of the trailer.
const SIGNATURE_VERSION: u8 = 1;
/// Bytes of the trailer of a signed entry: its version, the name of the key, the keyed hash.
const SIGNATURE: usize = 1 + 8 + 32;

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
    let mut facts = encode_signed_facts(key, entry)?;
    if let Some(Signature { key, mac }) = &entry.signature {
        facts.push(SIGNATURE_VERSION);
        facts.extend_from_slice(key.as_bytes());
        facts.extend_from_slice(mac);
    }
    let (size, limit) = (facts.len() as u64, u64::from(Limits::default().metadata));
    if size > limit {
        return Err(EnvelopeError::TooLarge { what: "metadata", size, limit });
    }
    Ok(facts)
}

/// Returns what a signature of `entry` under `key` covers besides the value.
pub(crate) fn encode_signed_facts(key: &Key, entry: &Entry) -> Result<Vec<u8>, EnvelopeError> {
    let record = Record { key: *key, meta: &entry.meta, outputs: &entry.outputs };
    postcard::to_stdvec(&record).map_err(|_| EnvelopeError::Corrupt("its metadata cannot be written"))
}

/// Returns the signature in what follows the record of an entry.
fn decode_signature(trailer: &[u8]) -> Result<Option<Signature>, EnvelopeError> {
    match trailer {
        [] => Ok(None),
        [SIGNATURE_VERSION, signature @ ..] if trailer.len() == SIGNATURE => {
            let (key, mac) = signature.split_at(8);
            Ok(Some(Signature {
                key: KeyId::from_bytes(std::array::from_fn(|at| key[at])),
                mac: std::array::from_fn(|at| mac[at]),
            }))
        }
        _ => Err(EnvelopeError::Corrupt("its metadata has something after its end")),
    }
}

/// Returns the entry that [`encode_entry_facts`] made `bytes` of, with an empty value, and the key that it was stored under.
///
/// # Errors
/// If they are not exactly that.
pub fn decode_entry_facts(bytes: &[u8]) -> Result<(Key, Entry), EnvelopeError> {
    let (record, rest): (Record<EntryMeta, Vec<Output>>, _) = postcard::take_from_bytes(bytes)
        .map_err(|_| EnvelopeError::Corrupt("its metadata is not that of an entry"))?;
    let signature = decode_signature(rest)?;
    Ok((record.key, Entry { meta: record.meta, value: Bytes::new(), outputs: record.outputs, signature }))
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

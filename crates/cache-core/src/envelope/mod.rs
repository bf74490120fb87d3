//! The envelope: what is written to disk and what crosses a wire. Back ends see opaque bytes, so that integrity never
//! depends on them.
//!
//! All numbers are little-endian.
//!
//! | offset | bytes | what |
//! |--:|--:|---|
//! | 0 | 4 | magic `VTCE` |
//! | 4 | 1 | version, 1 |
//! | 5 | 1 | codec of the payload: 0 none, 1 lz4 (block format), 2 zstd |
//! | 6 | 2 | flags, 0; a reader refuses flags that it does not know |
//! | 8 | 4 | length of the metadata |
//! | 12 | 8 | length of the payload as stored |
//! | 20 | 8 | length of the payload when decoded |
//! | 28 | 4 | CRC32C of bytes 0 to 27 |
//! | 32 | … | metadata (postcard) |
//! | … | … | payload |
//! | end − 16 | 16 | XXH3-128 of everything before |
//!
//! The lengths must add up to the length of the whole: nothing may follow. Decoding allocates no more than the
//! declared length, which is checked against the caller's limit first, and grows with what really comes out.

//!
//! The metadata of an entry is a record, the key, the facts and the outputs, and after it, if the entry is
//! [signed](crate::signing), a trailer:
//!
//! | offset from the end of the record | bytes | what |
//! |--:|--:|---|
//! | 0 | 1 | version of the trailer, 1 |
//! | 1 | 8 | name of the signing key |
//! | 9 | 32 | keyed BLAKE3 of the record and the value, each after its length as eight bytes |
//!
//! Anything else after the record is refused.

mod compress;
mod record;

pub use compress::Compression;
pub(crate) use compress::worthwhile;
pub(crate) use record::encode_signed_facts;
pub use record::{decode_entry, decode_entry_facts, encode_entry, encode_entry_facts};

use std::borrow::Cow;

use crate::{Fingerprint, crc32c};
use compress::Codec;

const MAGIC: [u8; 4] = *b"VTCE";
/// The newest version that this code writes and reads.
pub const VERSION: u8 = 1;
const HEADER: usize = 32;
const CHECKSUM: usize = 16;

/// How much a decoder accepts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of metadata.
    pub metadata: u32,
    /// Bytes of payload, decoded.
    pub payload: u64,
}

impl Default for Limits {
    /// Returns limits that fit every entry of ours: 64 MiB of metadata (half a million outputs), 256 MiB of payload.
    fn default() -> Self {
        Self { metadata: 64 << 20, payload: 256 << 20 }
    }
}

/// Why some bytes are no envelope that can be used. Each is a miss.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EnvelopeError {
    /// A newer version of the program wrote it. It is to be left alone.
    #[error("it has format version {0}, newer than {VERSION}")]
    Newer(u8),
    /// It is damaged, cut off, or something else altogether.
    #[error("{0}")]
    Corrupt(&'static str),
    /// A declared length is over the limit.
    #[error("its {what} of {size} bytes is over the limit of {limit}")]
    TooLarge {
        /// Metadata or payload.
        what: &'static str,
        /// The length declared.
        size: u64,
        /// The limit.
        limit: u64,
    },
}

/// The two parts of an envelope.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parts<'a> {
    /// The metadata, never compressed.
    pub metadata: &'a [u8],
    /// The payload, decoded.
    pub payload: Cow<'a, [u8]>,
}

/// Returns an envelope around `metadata` and `payload`.
///
/// # Errors
/// [`EnvelopeError::TooLarge`] if the metadata has 4 GiB or more.
pub fn encode(metadata: &[u8], payload: &[u8], compression: Compression) -> Result<Vec<u8>, EnvelopeError> {
    let metadata_len = u32::try_from(metadata.len()).map_err(|_| EnvelopeError::TooLarge {
        what: "metadata",
        size: metadata.len() as u64,
        limit: u32::MAX.into(),
    })?;
    let (codec, stored) = compress::compress(payload, compression);
    let mut out = Vec::with_capacity(HEADER + metadata.len() + stored.len() + CHECKSUM);
    out.extend_from_slice(&MAGIC);
    out.extend_from_slice(&[VERSION, codec as u8, 0, 0]);
    out.extend_from_slice(&metadata_len.to_le_bytes());
    out.extend_from_slice(&(stored.len() as u64).to_le_bytes());
    out.extend_from_slice(&(payload.len() as u64).to_le_bytes());
    out.extend_from_slice(&crc32c(&out).to_le_bytes());
    out.extend_from_slice(metadata);
    out.extend_from_slice(&stored);
    out.extend_from_slice(&Fingerprint::of(&out).to_bytes());
    Ok(out)
}

/// Returns the parts of the envelope that is exactly `bytes`.
///
/// # Errors
/// If anything about it is in doubt. Never panics, and allocates no more than `limits` allow.
pub fn decode(bytes: &[u8], limits: Limits) -> Result<Parts<'_>, EnvelopeError> {
    let corrupt = EnvelopeError::Corrupt;
    let header: &[u8; HEADER] = bytes.first_chunk().ok_or(corrupt("it is cut off in its header"))?;
    if header[..4] != MAGIC {
        return Err(corrupt("it is no envelope"));
    }
    // The version comes before the checksum, whose place another version may have moved.
    match header[4] {
        VERSION => {}
        0 => return Err(corrupt("it has version 0, which never existed")),
        newer => return Err(EnvelopeError::Newer(newer)),
    }
    if crc32c(&header[..28]).to_le_bytes() != header[28..] {
        return Err(corrupt("the checksum of its header is wrong"));
    }
    let codec = Codec::from_id(header[5]).ok_or(corrupt("it has an unknown codec"))?;
    if header[6..8] != [0, 0] {
        return Err(corrupt("it has unknown flags"));
    }
    let metadata_len = u32_at(header, 8);
    let stored_len = u64_at(header, 12);
    let payload_len = u64_at(header, 20);
    for (what, size, limit) in [
        ("metadata", u64::from(metadata_len), u64::from(limits.metadata)),
        ("payload", payload_len, limits.payload),
    ] {
        if size > limit {
            return Err(EnvelopeError::TooLarge { what, size, limit });
        }
    }
    let whole = u128::from(metadata_len) + u128::from(stored_len) + (HEADER + CHECKSUM) as u128;
    if whole != bytes.len() as u128 {
        return Err(corrupt("its length is not the one that its header declares"));
    }
    let (content, checksum) = bytes.split_at(bytes.len() - CHECKSUM);
    if Fingerprint::of(content).to_bytes() != checksum {
        return Err(corrupt("its checksum is wrong"));
    }
    let (metadata, stored) = content[HEADER..].split_at(metadata_len as usize);
    Ok(Parts { metadata, payload: compress::decompress(codec, stored, payload_len)? })
}

fn u32_at(header: &[u8; HEADER], at: usize) -> u32 {
    u32::from_le_bytes(std::array::from_fn(|i| header[at + i]))
}

fn u64_at(header: &[u8; HEADER], at: usize) -> u64 {
    u64::from_le_bytes(std::array::from_fn(|i| header[at + i]))
}

#[cfg(test)]
mod tests;

//! Values in bytes, and how it is known that bytes are a value of the type that is asked for.
//!
//! The bytes are those of [postcard](https://postcard.jamesmunns.com/wire-format): small and quick, but without a trace
//! of the type that they came from, so that those of one type may well decode as another. Therefore a *shape* goes
//! before them: a fingerprint of everything that the type told serde on its way into the bytes, that is, names and
//! lengths of structs, tuples and enums, names of fields and variants, and the kind of each leaf. Decoding makes the
//! same fingerprint from what the type *asks* of serde. Only if the two are equal were the same questions asked as
//! answers given, so that each field got what was stored for it. Anything else is a miss.
//!
//! What a value does not contain has no shape: the element of an empty list, the variants that are not taken. It cannot
//! be decoded wrongly either.
//!
//! What the shape cannot know is meaning: whoever makes seconds into milliseconds under the same name needs another key.
//!
//! | offset | bytes | what |
//! |--:|--:|---|
//! | 0 | 1 | version, 1 |
//! | 1 | 16 | shape: XXH3-128 of the trace |
//! | 17 | 8 | number of steps of the trace, little-endian: decoding another type ends after so many |
//! | 25 | … | postcard |
//!
//! A cache that compresses keeps all of that as the payload of an envelope, which begins with another byte.

mod de;
mod error;
mod ser;
#[cfg(test)]
mod tests;
mod trace;

use cache_core::envelope::{self, Compression, Limits};
use serde::Serialize;
use serde::de::DeserializeOwned;

pub(crate) use error::EncodeError;
use error::Problem;
use trace::Shape;

use crate::inner::MAX_VALUE_BYTES;

const VERSION: u8 = 1;
const HEADER: usize = 25;
/// How deep values are nested. Each level takes a few stack frames, and a stack has room for thousands of them.
const MAX_DEPTH: u32 = 128;

/// Returns `value` in bytes, having made sure that it can be read back.
///
/// # Errors
/// If the type cannot be written, or not read the way that it is written.
pub(crate) fn encode<T: Serialize + DeserializeOwned>(value: &T) -> Result<Vec<u8>, EncodeError> {
    let problem = |problem: Problem| EncodeError { type_name: std::any::type_name::<T>(), problem };
    let (mut bytes, shape) = ser::encode(value, HEADER).map_err(problem)?;
    // Types may be written in one way and read in another, and then every later read would be a miss, or worse.
    let read = de::decode::<T>(&bytes[HEADER..], shape.steps).map_err(problem)?;
    if read.1 != shape {
        return Err(problem(Problem::Asymmetric));
    }
    write_header(&mut bytes, shape);
    Ok(bytes)
}

fn write_header(bytes: &mut [u8], shape: Shape) {
    bytes[0] = VERSION;
    bytes[1..17].copy_from_slice(&shape.fingerprint.to_bytes());
    bytes[17..HEADER].copy_from_slice(&shape.steps.to_le_bytes());
}

/// Returns a part of a key in bytes, its shape included, so that equal bytes of two types are two keys; nothing if the
/// type cannot be written. It need not be read back.
#[cfg(feature = "macros")]
pub(crate) fn of_key<T: Serialize + ?Sized>(part: &T) -> Option<Vec<u8>> {
    let (mut bytes, shape) = ser::encode(part, HEADER).ok()?;
    write_header(&mut bytes, shape);
    Some(bytes)
}

/// Returns an encoded value as it is stored: as it is, or compressed in an [envelope].
pub(crate) fn pack(bytes: Vec<u8>, compression: Compression) -> cache_core::Result<Vec<u8>> {
    if compression == Compression::None {
        return Ok(bytes);
    }
    envelope::encode(&[], &bytes, compression).map_err(|error| cache_core::Error::Invalid(error.to_string()))
}

/// Returns the value that `bytes` hold, compressed or not, or nothing if it is not certain that they hold one of this type.
pub(crate) fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Option<T> {
    // The first byte of an envelope is no version of a value.
    if bytes.first() == Some(&VERSION) {
        return decode_plain(bytes);
    }
    let parts = envelope::decode(bytes, Limits { metadata: 0, payload: MAX_VALUE_BYTES }).ok()?;
    decode_plain(&parts.payload)
}

fn decode_plain<T: DeserializeOwned>(bytes: &[u8]) -> Option<T> {
    let (header, postcard) = bytes.split_first_chunk::<HEADER>()?;
    if header[0] != VERSION {
        return None;
    }
    let fingerprint = cache_core::Fingerprint::from_bytes(std::array::from_fn(|at| header[1 + at]));
    let steps = u64::from_le_bytes(std::array::from_fn(|at| header[17 + at]));
    let (value, shape) = de::decode(postcard, steps).ok()?;
    (shape == Shape { fingerprint, steps }).then_some(value)
}

//! Which payloads are worth compressing, and how to take them apart again without trusting them.

use std::borrow::Cow;
use std::io::Read;

use super::EnvelopeError;

/// How a payload is compressed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Compression {
    /// Not at all: for a local disk, where compressing costs more than the store.
    #[default]
    None,
    /// By what a sample promises: small and incompressible payloads are left alone, middling ones get lz4, large ones zstd.
    Adaptive,
    /// lz4, whatever comes out.
    Lz4,
    /// zstd at its fastest standard level, whatever comes out.
    Zstd,
}

/// Below this many bytes, what is saved is less than a disk block or a network packet.
const SMALL: usize = 1 << 10;
/// From here on the better ratio of zstd is worth its time.
const LARGE: usize = 64 << 10;
/// Bytes of each of the three samples: start, middle, end.
const SAMPLE: usize = 4 << 10;
/// Compressing pays if at most this percentage of the bytes is left.
const WORTHWHILE_PERCENT: usize = 90;
/// Speed over ratio: the network behind it is faster than higher levels.
const ZSTD_LEVEL: i32 = 1;
/// An lz4 block grows at most this many times: one byte of input extends a match by 255.
const LZ4_MAX_RATIO: u64 = 255;
/// Bytes by which the output buffer of zstd grows ahead of what really came out.
const STEP: u64 = 1 << 20;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Codec {
    None = 0,
    Lz4 = 1,
    Zstd = 2,
}

impl Codec {
    pub(super) fn from_id(id: u8) -> Option<Self> {
        [Self::None, Self::Lz4, Self::Zstd].into_iter().find(|codec| *codec as u8 == id)
    }
}

pub(super) fn compress(payload: &[u8], compression: Compression) -> (Codec, Cow<'_, [u8]>) {
    match compression {
        Compression::None => (Codec::None, payload.into()),
        Compression::Lz4 => apply(Codec::Lz4, payload),
        Compression::Zstd => apply(Codec::Zstd, payload),
        Compression::Adaptive if payload.len() < SMALL || !promising(payload) => {
            (Codec::None, payload.into())
        }
        Compression::Adaptive => {
            let codec = if payload.len() < LARGE { Codec::Lz4 } else { Codec::Zstd };
            match apply(codec, payload) {
                (codec, stored) if worthwhile(stored.len(), payload.len()) => (codec, stored),
                _ => (Codec::None, payload.into()),
            }
        }
    }
}

fn apply(codec: Codec, payload: &[u8]) -> (Codec, Cow<'_, [u8]>) {
    match codec {
        Codec::None => (Codec::None, payload.into()),
        Codec::Lz4 => (Codec::Lz4, lz4_flex::block::compress(payload).into()),
        // zstd fails only for want of memory; raw is always right.
        Codec::Zstd => match zstd::bulk::compress(payload, ZSTD_LEVEL) {
            Ok(stored) => (Codec::Zstd, stored.into()),
            Err(_) => (Codec::None, payload.into()),
        },
    }
}

/// Returns whether it pays that `after` bytes are left of `before`.
pub(crate) fn worthwhile(after: usize, before: usize) -> bool {
    after <= before / 100 * WORTHWHILE_PERCENT
}

/// Compresses three small samples instead of the whole.
fn promising(payload: &[u8]) -> bool {
    if payload.len() <= 3 * SAMPLE {
        return true; // Then trying costs no more than sampling.
    }
    let middle = payload.len() / 2;
    let samples = [&payload[..SAMPLE], &payload[middle..middle + SAMPLE], &payload[payload.len() - SAMPLE..]];
    worthwhile(samples.iter().map(|sample| lz4_flex::block::compress(sample).len()).sum(), 3 * SAMPLE)
}

/// Returns exactly `len` bytes or an error.
pub(super) fn decompress(codec: Codec, stored: &[u8], len: u64) -> Result<Cow<'_, [u8]>, EnvelopeError> {
    let wrong = EnvelopeError::Corrupt("its payload does not have the length that its header declares");
    match codec {
        Codec::None if stored.len() as u64 == len => Ok(stored.into()),
        Codec::None => Err(wrong),
        Codec::Lz4 => {
            // A block cannot give more than this, so a larger claim is refused before anything is allocated.
            if len > (stored.len() as u64).saturating_mul(LZ4_MAX_RATIO) {
                return Err(wrong);
            }
            let out = lz4_flex::block::decompress(stored, len as usize)
                .map_err(|_| EnvelopeError::Corrupt("its payload is no lz4 block"))?;
            if out.len() as u64 == len { Ok(out.into()) } else { Err(wrong) }
        }
        Codec::Zstd => {
            let broken = |_| EnvelopeError::Corrupt("its payload is no zstd frame");
            let mut decoder = zstd::stream::read::Decoder::new(stored).map_err(broken)?;
            let mut out = Vec::with_capacity(len.min(STEP) as usize);
            // One byte more than declared tells a bomb from a payload, without unpacking the bomb.
            decoder.by_ref().take(len.saturating_add(1)).read_to_end(&mut out).map_err(broken)?;
            if out.len() as u64 == len { Ok(out.into()) } else { Err(wrong) }
        }
    }
}

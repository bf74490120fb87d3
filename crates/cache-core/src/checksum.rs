//! Fast checks against accidents. Neither resists an attacker: content addresses are [`Digest`](crate::Digest)s.

use std::fmt;

use serde::{Deserialize, Serialize};

/// XXH3-128 of some bytes: tells whether something known in this process or on this disk is still the same.
///
/// Source: <https://github.com/Cyan4973/xxHash/blob/dev/doc/xxhash_spec.md>, seed 0.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Fingerprint(u128);

impl Fingerprint {
    /// Returns the fingerprint of `bytes`.
    pub fn of(bytes: &[u8]) -> Self {
        Self(twox_hash::XxHash3_128::oneshot(bytes))
    }

    /// Returns the sixteen bytes as they are written to disk, little-endian.
    pub fn to_bytes(self) -> [u8; 16] {
        self.0.to_le_bytes()
    }

    /// Returns the fingerprint whose [`to_bytes`](Self::to_bytes) is `bytes`.
    pub fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(u128::from_le_bytes(bytes))
    }
}

impl fmt::Display for Fingerprint {
    /// Writes 32 hexadecimal digits.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "xxh3:{self}")
    }
}

/// A [`Fingerprint`] in the making, for bytes that arrive in pieces.
pub struct Fingerprinter {
    /// The bytes taken so far, while they are few.
    few: [u8; FEW],
    len: usize,
    /// What has taken them if they are more. It is large and slow to make.
    many: Option<Box<twox_hash::XxHash3_128>>,
}

/// Bytes that are hashed at once: more than there are in most shapes of values.
const FEW: usize = 256;

impl Fingerprinter {
    /// Returns a fingerprinter that has seen nothing.
    pub fn new() -> Self {
        Self { few: [0; FEW], len: 0, many: None }
    }

    /// Takes the next `bytes`; how the whole is cut into pieces makes no difference.
    pub fn update(&mut self, bytes: &[u8]) {
        if self.many.is_none()
            && let Some(room) = self.few[self.len..].get_mut(..bytes.len())
        {
            room.copy_from_slice(bytes);
            self.len += bytes.len();
            return;
        }
        let begin = || {
            let mut many = Box::new(twox_hash::XxHash3_128::new());
            many.write(&self.few[..self.len]);
            many
        };
        self.many.get_or_insert_with(begin).write(bytes);
    }

    /// Returns the fingerprint of everything taken so far.
    pub fn finish(&self) -> Fingerprint {
        match &self.many {
            Some(many) => Fingerprint(many.finish_128()),
            None => Fingerprint::of(&self.few[..self.len]),
        }
    }
}

impl Default for Fingerprinter {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Fingerprinter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Fingerprinter").field(&self.finish()).finish()
    }
}

/// Returns CRC32C (Castagnoli, RFC 3720 appendix B.4) of `bytes`: the check of small on-disk records.
pub fn crc32c(bytes: &[u8]) -> u32 {
    ::crc32c::crc32c(bytes)
}

/// Returns CRC32C of the bytes that `crc` was computed from, followed by `bytes`.
pub fn crc32c_append(crc: u32, bytes: &[u8]) -> u32 {
    ::crc32c::crc32c_append(crc, bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn published_vectors() {
        // RFC 3720 B.4: 32 bytes of zeroes; xxHash: the empty input.
        assert_eq!(crc32c(&[0; 32]), 0x8a91_36aa);
        assert_eq!(Fingerprint::of(b"").0, 0x99aa_06d3_0147_98d8_6001_c324_468d_497f);
    }

    #[test]
    fn pieces_make_no_difference() {
        let bytes: Vec<u8> = (0..3000_u32).map(|i| (i % 251) as u8).collect();
        for len in [0, 1, 240, 241, FEW - 1, FEW, FEW + 1, 2 * FEW, 3000] {
            for piece in [1, 7, 255, 256, 257, 3000] {
                let mut pieces = Fingerprinter::new();
                bytes[..len].chunks(piece).for_each(|chunk| pieces.update(chunk));
                assert_eq!(pieces.finish(), Fingerprint::of(&bytes[..len]), "{len} by {piece}");
            }
        }
        assert_eq!(crc32c_append(crc32c(&bytes[..11]), &bytes[11..]), crc32c(&bytes));
    }
}

//! The record: what one put appends to the log.

use cache_core::{Fingerprint, crc32c};

/// Bytes of a header.
pub(super) const HEADER: usize = 128;
/// Records begin at multiples of this many bytes.
pub(super) const ALIGN: u64 = 16;
const MAGIC: [u8; 4] = *b"VTCR";
const VERSION: u8 = 1;
/// Offset of the byte that is the one thing to change in a record, and so is in no checksum.
pub(super) const STATE: u64 = 6;

/// What a key names. Keys of different kinds never meet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub(crate) enum Kind {
    /// A caller's own bytes.
    Raw = 0,
    /// An entry.
    Entry = 1,
    /// A blob under its BLAKE3 digest.
    Blake3 = 2,
    /// A blob under its SHA-256 digest.
    Sha256 = 3,
}

impl Kind {
    pub(super) fn from_byte(byte: u8) -> Option<Self> {
        [Self::Raw, Self::Entry, Self::Blake3, Self::Sha256].into_iter().find(|kind| *kind as u8 == byte)
    }
}

/// Which of the two logs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Class {
    /// What was stored for the first time.
    Probation = 0,
    /// What has proved to be used again.
    Main = 1,
}

impl Class {
    pub(super) const ALL: [Self; 2] = [Self::Probation, Self::Main];
}

/// Where a record begins: a log, and a byte in it. Positions only grow and are never used twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Position {
    pub(super) class: Class,
    /// A multiple of [`ALIGN`], below [`Position::END`].
    pub(super) byte: u64,
}

impl Position {
    /// Bits of a packed position.
    pub(super) const BITS: u32 = 44;
    /// The end of a log: 140 TB have been written to it.
    pub(super) const END: u64 = ALIGN << (Self::BITS - 1);

    /// Returns the position in the low [`BITS`](Self::BITS) bits. It is never 0: the first segment has the number 1.
    pub(super) fn pack(self) -> u64 {
        (self.byte / ALIGN) | ((self.class as u64) << (Self::BITS - 1))
    }

    pub(super) fn unpack(bits: u64) -> Self {
        let top = 1 << (Self::BITS - 1);
        let class = if bits & top == 0 { Class::Probation } else { Class::Main };
        Self { class, byte: (bits & (top - 1)) * ALIGN }
    }
}

/// Whether a record counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum State {
    /// It was replaced or removed, or never took effect.
    Dead = 0,
    Alive = 0xA5,
}

/// How much a record is worth when room is made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Worth {
    #[default]
    Normal = 0,
    /// It never gets a second life.
    Low = 1,
    /// It starts in the main log.
    High = 2,
}

/// Where the payload of a record is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// After the metadata.
    Inline,
    /// In a file of its own.
    File,
    /// It is that of another record, with the same length and fingerprint.
    Alias(Position),
}

/// The fixed part of a record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) state: State,
    pub(super) kind: Kind,
    pub(super) worth: Worth,
    pub(super) place: Place,
    /// Random number of the store: the records of another store are not taken for its own.
    pub(super) store: u64,
    pub(super) position: Position,
    /// Packed position at which the content was first stored: of two records of one key, the greater counts.
    pub(super) version: u64,
    pub(super) key: [u8; 32],
    /// Of the payload.
    pub(super) fingerprint: Fingerprint,
    pub(super) payload_len: u64,
    pub(super) meta_len: u32,
    pub(super) meta_crc: u32,
    /// Milliseconds since 1970.
    pub(super) stored: u64,
    /// Milliseconds since 1970 from which on it is absent; never if 0.
    pub(super) expires: u64,
}

impl Header {
    /// Returns the bytes that the record takes in its segment.
    pub(super) fn record_len(&self) -> u64 {
        aligned(self.written_len())
    }

    /// Returns the bytes of the record that are written: all but those that align the next one, which may lie beyond the
    /// end of the file.
    pub(super) fn written_len(&self) -> u64 {
        let inline = if self.place == Place::Inline { self.payload_len } else { 0 };
        (HEADER as u64).saturating_add(u64::from(self.meta_len)).saturating_add(inline)
    }

    pub(super) fn encode(&self) -> [u8; HEADER] {
        let mut bytes = [0; HEADER];
        let (place, alias) = match self.place {
            Place::Inline => (0, 0),
            Place::File => (1, 0),
            Place::Alias(target) => (2, target.pack()),
        };
        bytes[..4].copy_from_slice(&MAGIC);
        bytes[4] = VERSION;
        bytes[5] = self.kind as u8 | (place << 4);
        bytes[6] = self.state as u8;
        bytes[7] = self.worth as u8;
        bytes[8..16].copy_from_slice(&self.store.to_le_bytes());
        bytes[16..24].copy_from_slice(&self.position.pack().to_le_bytes());
        bytes[24..32].copy_from_slice(&self.version.to_le_bytes());
        bytes[32..64].copy_from_slice(&self.key);
        bytes[64..80].copy_from_slice(&self.fingerprint.to_bytes());
        bytes[80..88].copy_from_slice(&self.payload_len.to_le_bytes());
        bytes[88..92].copy_from_slice(&self.meta_len.to_le_bytes());
        bytes[92..96].copy_from_slice(&self.meta_crc.to_le_bytes());
        bytes[96..104].copy_from_slice(&self.stored.to_le_bytes());
        bytes[104..112].copy_from_slice(&self.expires.to_le_bytes());
        bytes[112..120].copy_from_slice(&alias.to_le_bytes());
        let check = check(&bytes);
        bytes[124..].copy_from_slice(&check.to_le_bytes());
        bytes
    }

    /// Returns whether `bytes` may begin with a header.
    pub(super) fn starts(bytes: &[u8]) -> bool {
        bytes.starts_with(&MAGIC)
    }

    /// Returns the header in the first [`HEADER`] bytes, if they are one, whole and of this version.
    pub(super) fn decode(bytes: &[u8]) -> Option<Self> {
        let bytes: &[u8; HEADER] = bytes.first_chunk()?;
        if bytes[..4] != MAGIC || bytes[4] != VERSION || u32_at(bytes, 124) != check(bytes) {
            return None;
        }
        let place = match bytes[5] >> 4 {
            0 => Place::Inline,
            1 => Place::File,
            2 => Place::Alias(Position::unpack(u64_at(bytes, 112))),
            _ => return None,
        };
        Some(Self {
            state: if bytes[6] == State::Alive as u8 { State::Alive } else { State::Dead },
            kind: Kind::from_byte(bytes[5] & 15)?,
            worth: match bytes[7] {
                0 => Worth::Normal,
                1 => Worth::Low,
                2 => Worth::High,
                _ => return None,
            },
            place,
            store: u64_at(bytes, 8),
            position: Position::unpack(u64_at(bytes, 16)),
            version: u64_at(bytes, 24),
            key: *bytes[32..].first_chunk()?,
            fingerprint: Fingerprint::from_bytes(*bytes[64..].first_chunk()?),
            payload_len: u64_at(bytes, 80),
            meta_len: u32_at(bytes, 88),
            meta_crc: u32_at(bytes, 92),
            stored: u64_at(bytes, 96),
            expires: u64_at(bytes, 104),
        })
    }
}

/// Decodes `data` as a header, also with a right beginning and checksum; what is accepted is encoded as it was.
#[cfg(feature = "fuzzing")]
pub(super) fn fuzz(data: &[u8]) {
    let _ = Header::decode(data);
    let mut bytes = [0; HEADER];
    let len = data.len().min(HEADER);
    bytes[..len].copy_from_slice(&data[..len]);
    bytes[..4].copy_from_slice(&MAGIC);
    bytes[4] = VERSION;
    let sum = check(&bytes);
    bytes[124..].copy_from_slice(&sum.to_le_bytes());
    let Some(header) = Header::decode(&bytes) else { return };
    // A length that no segment has room for is only known to be one.
    let (whole, written) = (header.record_len(), header.written_len());
    assert!(written >= HEADER as u64 && (whole >= written || written > u64::MAX - ALIGN));
    assert!(whole.is_multiple_of(ALIGN));
    assert_eq!(Header::decode(&header.encode()), Some(header));
}

/// Returns the CRC32C of a header without its state and without itself.
fn check(bytes: &[u8; HEADER]) -> u32 {
    let mut covered = *bytes;
    covered[STATE as usize] = 0;
    crc32c(&covered[..124])
}

/// Returns `len` rounded up to a multiple of [`ALIGN`].
pub(super) const fn aligned(len: u64) -> u64 {
    len.saturating_add(ALIGN - 1) / ALIGN * ALIGN
}

/// Returns the little-endian number at `at`, which the caller knows to be within `bytes`.
pub(super) fn u64_at(bytes: &[u8], at: usize) -> u64 {
    bytes.get(at..).and_then(|rest| rest.first_chunk()).map_or(0, |chunk| u64::from_le_bytes(*chunk))
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    bytes.get(at..).and_then(|rest| rest.first_chunk()).map_or(0, |chunk| u32::from_le_bytes(*chunk))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header() -> Header {
        Header {
            state: State::Alive,
            kind: Kind::Sha256,
            worth: Worth::High,
            place: Place::Alias(Position { class: Class::Main, byte: 48 }),
            store: 7,
            position: Position { class: Class::Main, byte: Position::END - ALIGN },
            version: 9,
            key: [3; 32],
            fingerprint: Fingerprint::of(b"x"),
            payload_len: u64::MAX,
            meta_len: 5,
            meta_crc: 6,
            stored: 1,
            expires: 2,
        }
    }

    #[test]
    fn round_trip_and_every_flipped_bit_is_seen() {
        let bytes = header().encode();
        assert_eq!(Header::decode(&bytes), Some(header()));
        for bit in 0..HEADER * 8 {
            let mut flipped = bytes;
            flipped[bit / 8] ^= 1 << (bit % 8);
            let found = Header::decode(&flipped);
            if bit / 8 == STATE as usize {
                assert_eq!(found.map(|found| found.state), Some(State::Dead), "a state is alive or dead");
            } else {
                assert_eq!(found, None, "bit {bit}");
            }
        }
        assert_eq!(Header::decode(&bytes[..HEADER - 1]), None);
    }

    #[test]
    fn positions_pack_into_their_bits() {
        for class in Class::ALL {
            for byte in [ALIGN, 1 << 40, Position::END - ALIGN] {
                let position = Position { class, byte };
                assert!(position.pack() >> Position::BITS == 0 && position.pack() != 0);
                assert_eq!(Position::unpack(position.pack()), position);
            }
        }
    }
}

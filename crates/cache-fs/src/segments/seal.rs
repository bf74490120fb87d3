//! What is in a segment: found by walking along its records, or told by its seal.

use std::io::{self, Read};
use std::ops::Range;
use std::path::Path;

use cache_core::crc32c;

use super::record::{ALIGN, Class, HEADER, Header, Kind, Position, u64_at};
use super::{Log, sys};

const MAGIC: &[u8; 8] = b"VTCSEAL1";
/// Bytes of the head: magic, store, number of items, and their check.
const HEAD: usize = 32;
/// Bytes of an item: key, kind and offset, length.
const ITEM: usize = 40;
/// Bytes that are read at a time on the way from record to record.
const PAGE: usize = 4 << 10;
/// Bytes of a gap that are looked through at a time.
const WINDOW: usize = 64 << 10;
/// Records to a page from which on as much is read at a time on the way.
const DENSE: usize = 4;

/// A record of a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Item {
    pub(super) kind: Kind,
    pub(super) key: [u8; 32],
    /// Where it begins in the segment.
    pub(super) offset: u64,
    pub(super) len: u64,
}

/// Returns the bytes of a seal.
pub(super) fn encode(store: u64, items: &[Item]) -> Vec<u8> {
    let mut bytes = vec![0; HEAD];
    for item in items {
        bytes.extend(item.key);
        bytes.extend(((item.offset / ALIGN) as u32 | ((item.kind as u32) << 28)).to_le_bytes());
        bytes.extend(((item.len / ALIGN) as u32).to_le_bytes());
    }
    bytes[..8].copy_from_slice(MAGIC);
    bytes[8..16].copy_from_slice(&store.to_le_bytes());
    bytes[16..24].copy_from_slice(&(items.len() as u64).to_le_bytes());
    let check = crc32c(&bytes[8..24]) ^ crc32c(&bytes[HEAD..]).rotate_left(1);
    bytes[24..28].copy_from_slice(&check.to_le_bytes());
    bytes
}

/// Returns the items of a seal of a segment of `segment` bytes, if it is one of this store and whole.
pub(super) fn decode(bytes: &[u8], store: u64, segment: u64) -> Option<Vec<Item>> {
    let (head, rest) = bytes.split_at_checked(HEAD)?;
    let check = crc32c(&head[8..24]) ^ crc32c(rest).rotate_left(1);
    let right = head[..8] == *MAGIC
        && u64_at(head, 8) == store
        && u64_at(head, 16).checked_mul(ITEM as u64) == Some(rest.len() as u64)
        && u64_at(head, 24) == u64::from(check);
    if !right {
        return None;
    }
    let item = |bytes: &[u8; ITEM]| {
        let word = u64_at(bytes, 32);
        let (place, len) = (word as u32, word >> 32);
        let kind = [Kind::Raw, Kind::Entry, Kind::Blake3, Kind::Sha256].into_iter();
        let kind = kind.into_iter().find(|kind| *kind as u32 == place >> 28)?;
        let (offset, len) = (u64::from(place & 0x0fff_ffff) * ALIGN, len * ALIGN);
        let fits = len >= HEADER as u64 && offset.checked_add(len)? <= segment;
        fits.then_some(Item { kind, key: *bytes.first_chunk()?, offset, len })
    };
    rest.as_chunks::<ITEM>().0.iter().map(item).collect()
}

/// Decodes `data` as a seal, also with a right head; what is accepted lies in the segment and is encoded as it was.
#[cfg(feature = "fuzzing")]
pub(super) fn fuzz(data: &[u8]) {
    const SEGMENT: u64 = 1 << 20;
    let _ = decode(data, 5, SEGMENT);
    let items = data.as_chunks::<ITEM>().0;
    let mut bytes = encode(5, &[]);
    bytes.extend(items.as_flattened());
    bytes[16..24].copy_from_slice(&(items.len() as u64).to_le_bytes());
    let check = crc32c(&bytes[8..24]) ^ crc32c(&bytes[HEAD..]).rotate_left(1);
    bytes[24..28].copy_from_slice(&check.to_le_bytes());
    let Some(items) = decode(&bytes, 5, SEGMENT) else { return };
    assert!(items.iter().all(|item| item.offset + item.len <= SEGMENT && item.len >= HEADER as u64));
    assert_eq!(encode(5, &items), bytes);
}

/// Reads a seal; nothing if it is not there or of no use.
fn read(path: &Path, store: u64, segment: u64) -> Option<Vec<Item>> {
    let file = sys::open(path, false).ok()?;
    let most = HEAD as u64 + segment / HEADER as u64 * ITEM as u64;
    let mut bytes = Vec::new();
    file.take(most + 1).read_to_end(&mut bytes).ok()?;
    decode(&bytes, store, segment)
}

impl Log {
    /// Writes down what is in a segment that nobody appends to any more, so that the index can be made anew without reading
    /// all of it.
    pub(super) fn seal(&self, class: Class, number: u64) -> io::Result<()> {
        let path = self.files.path(class, number).with_extension("seal");
        if path.symlink_metadata().is_ok() || self.files.get(class, number)?.is_none() {
            return Ok(());
        }
        let items = self.walk(class, number)?;
        let bytes = encode(self.control.constant.store, &items);
        let (file, temp) = sys::create_temp(&self.root.join("tmp"), "seal")?;
        sys::write_at(&file, &bytes, 0)?;
        sys::rename(&temp, &path)?;
        let held = super::files::blocks(&file.metadata()?);
        self.control.update(
            || self.recover(),
            |state| {
                let log = state.log(class);
                log.held = log.held.saturating_add(held);
                Ok(())
            },
        )
    }

    /// Returns the records of a segment: by its seal, and by walking along where that tells of none. A process that has
    /// leased a piece long ago may have written there after the seal was made.
    pub(super) fn items(&self, class: Class, number: u64) -> io::Result<Vec<Item>> {
        let path = self.files.path(class, number).with_extension("seal");
        let sealed = read(&path, self.control.constant.store, self.segment()).unwrap_or_default();
        let (mut items, mut end) = (Vec::with_capacity(sealed.len()), 0);
        for item in sealed {
            let next = item.offset + item.len;
            items.extend(self.walk_within(class, number, end..item.offset)?);
            items.push(item);
            end = next.max(end);
        }
        items.extend(self.walk_within(class, number, end..self.segment())?);
        Ok(items)
    }

    /// Walks along a segment.
    fn walk(&self, class: Class, number: u64) -> io::Result<Vec<Item>> {
        self.walk_within(class, number, 0..self.segment())
    }

    /// Walks along a part of a segment. Leases leave gaps of zeros, and writers that died leave worse: where no record
    /// begins, the next one is looked for.
    fn walk_within(&self, class: Class, number: u64, part: Range<u64>) -> io::Result<Vec<Item>> {
        let (mut items, mut offset) = (Vec::new(), part.start);
        if part.end.saturating_sub(offset) < HEADER as u64 {
            return Ok(items);
        }
        let Some(file) = self.files.get(class, number)? else { return Ok(items) };
        let (start, segment) = (number * self.segment(), part.end);
        let mut window = vec![0; WINDOW];
        let mut piece = PAGE;
        while offset + HEADER as u64 <= segment {
            let position = Position { class, byte: start + offset };
            let read = sys::read_at(&file, &mut window[..piece], offset)?;
            if read < HEADER {
                break;
            }
            // Small records lie many to a page; of a large one only the header is looked at.
            let (mut within, before) = (0, items.len());
            while offset + HEADER as u64 <= segment
                && let Some(bytes) = window[..read].get(within..).filter(|bytes| bytes.len() >= HEADER)
                && let Some(header) = self.header_at(Position { class, byte: start + offset }, bytes)
                && offset.checked_add(header.record_len()).is_some_and(|end| end <= segment)
            {
                let len = header.record_len();
                items.push(Item { kind: header.kind, key: header.key, offset, len });
                offset += len;
                within = within.saturating_add(len as usize);
            }
            piece = if (items.len() - before) * PAGE >= DENSE * read { WINDOW } else { PAGE };
            if within > 0 {
                continue;
            }
            let read = sys::read_at(&file, &mut window, offset)?;
            let next =
                (ALIGN as usize..read.saturating_sub(HEADER - 1)).step_by(ALIGN as usize).find(|&at| {
                    Header::starts(&window[at..])
                        && self
                            .header_at(Position { class, byte: position.byte + at as u64 }, &window[at..])
                            .is_some()
                });
            let skipped = next.unwrap_or_else(|| (read.saturating_sub(HEADER - 1)).max(ALIGN as usize));
            offset += super::record::aligned(skipped as u64);
        }
        Ok(items)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seal_round_trips_and_a_damaged_one_is_none() {
        let segment = 1 << 20;
        let item = |at: u64| Item { kind: Kind::Entry, key: [at as u8; 32], offset: at * 160, len: 160 };
        let items: Vec<_> = (0..9).map(item).collect();
        let bytes = encode(5, &items);
        assert_eq!(decode(&bytes, 5, segment), Some(items));
        assert_eq!(decode(&bytes, 6, segment), None, "another store's");
        for bit in 0..bytes.len() * 8 {
            let mut flipped = bytes.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(decode(&flipped, 5, segment), None, "bit {bit}");
        }
        assert_eq!(decode(&bytes[..bytes.len() - 1], 5, segment), None);
        let beyond = encode(5, &[Item { offset: segment - 16, ..item(1) }]);
        assert_eq!(decode(&beyond, 5, segment), None, "an item must lie in the segment");
    }
}

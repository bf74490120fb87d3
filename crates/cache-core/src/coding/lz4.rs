//! Frames of lz4, with independent blocks: a number, a description, the blocks, and an end.
//!
//! Source: Collet, *LZ4 Frame Format Description*, 1.6.2.

use bytes::{Buf, Bytes, BytesMut};
use lz4_flex::block;

use super::Malformed;

const MAGIC: [u8; 4] = 0x184d_2204_u32.to_le_bytes();
/// What frames of ours begin with: independent blocks of at most 64 KiB, no checksums but that of these two bytes.
const HEADER: [u8; 7] = [MAGIC[0], MAGIC[1], MAGIC[2], MAGIC[3], 0x60, 0x40, 0x82];
/// Bytes of a block of ours before it is compressed.
const BLOCK: usize = 64 << 10;
/// What comes after the last block.
const END: [u8; 4] = [0; 4];
/// Bytes of a length, and of a checksum.
const WORD: usize = 4;
/// Set in the length of a block that is not compressed.
const RAW: u32 = 1 << 31;

/// Returns `content` in blocks, at the beginning of a frame if `first`.
pub(super) fn blocks(content: &[u8], first: bool) -> Vec<u8> {
    let mut coded = if first { HEADER.to_vec() } else { Vec::new() };
    for piece in content.chunks(BLOCK) {
        let small = block::compress(piece);
        let (bytes, raw) = if small.len() < piece.len() { (&small[..], 0) } else { (piece, RAW) };
        coded.extend_from_slice(&(bytes.len() as u32 | raw).to_le_bytes());
        coded.extend_from_slice(bytes);
    }
    coded
}

/// Returns the end of a frame; all of it, if it is `empty`.
pub(super) fn end(empty: bool) -> Vec<u8> {
    if empty { [&HEADER[..], &END].concat() } else { END.to_vec() }
}

/// How a frame describes itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Frame {
    /// Bytes of its largest block.
    block: usize,
    has_block_checksums: bool,
    has_checksum: bool,
}

/// What frames of lz4 are made of, as they arrive.
#[derive(Debug, Default)]
pub(super) struct Frames {
    /// What arrived and is not a whole block yet.
    buffer: BytesMut,
    /// The frame that has begun.
    frame: Option<Frame>,
}

impl Frames {
    pub(super) fn push(&mut self, piece: &[u8]) {
        self.buffer.extend_from_slice(piece);
    }

    pub(super) fn is_open(&self) -> bool {
        self.frame.is_some() || !self.buffer.is_empty()
    }

    /// Returns the content of the next block, if it is there.
    pub(super) fn take(&mut self) -> Result<Option<Bytes>, Malformed> {
        loop {
            let Some(frame) = self.frame else {
                let Some((frame, len)) = header(&self.buffer)? else { return Ok(None) };
                self.buffer.advance(len);
                self.frame = Some(frame);
                continue;
            };
            let Some(word) = self.buffer.first_chunk::<WORD>() else { return Ok(None) };
            let word = u32::from_le_bytes(*word);
            let (len, is_raw) = ((word & !RAW) as usize, word & RAW != 0);
            let is_end = word == 0;
            if len > frame.block {
                return Err(Malformed);
            }
            let has_checksum = if is_end { frame.has_checksum } else { frame.has_block_checksums };
            let end = WORD + len + if has_checksum { WORD } else { 0 };
            if self.buffer.len() < end {
                return Ok(None);
            }
            let bytes = self.buffer.split_to(end).freeze().slice(WORD..WORD + len);
            if is_end {
                self.frame = None;
                continue;
            }
            let content = if is_raw { bytes } else { decompressed(&bytes, frame.block)? };
            if !content.is_empty() {
                return Ok(Some(content));
            }
        }
    }
}

/// Returns what a block is, which has no more than `limit` bytes.
fn decompressed(bytes: &[u8], limit: usize) -> Result<Bytes, Malformed> {
    let mut content = vec![0; limit];
    let len = block::decompress_into(bytes, &mut content).map_err(|_| Malformed)?;
    content.truncate(len);
    Ok(content.into())
}

/// Returns the description at the beginning of `bytes` and its length, if all of it is there.
fn header(bytes: &[u8]) -> Result<Option<(Frame, usize)>, Malformed> {
    let known = bytes.len().min(MAGIC.len());
    if bytes[..known] != MAGIC[..known] {
        return Err(Malformed);
    }
    let Some([flags, sizes]) = bytes[known..].first_chunk() else { return Ok(None) };
    // Version 1 with independent blocks, of no dictionary.
    if flags & 0b1110_0011 != 0b0110_0000 {
        return Err(Malformed);
    }
    let block = match sizes {
        0x40 => 64 << 10,
        0x50 => 256 << 10,
        _ => return Err(Malformed),
    };
    // The length of the content may follow, and a checksum does.
    let len = MAGIC.len() + 2 + if flags & 0b1000 != 0 { 8 } else { 0 } + 1;
    let frame = Frame { block, has_block_checksums: flags & 0b1_0000 != 0, has_checksum: flags & 0b100 != 0 };
    Ok((bytes.len() >= len).then_some((frame, len)))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `lz4 -B4 -BX --content-size` of 1,000 times `x`, by lz4 1.9.4.
    const FOREIGN: &[u8] = &[
        0x04, 0x22, 0x4d, 0x18, 0x7c, 0x40, 0xe8, 0x03, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x3d, 0x0e, 0x00,
        0x00, 0x00, 0x1f, 0x78, 0x01, 0x00, 0xff, 0xff, 0xff, 0xd2, 0x50, 0x78, 0x78, 0x78, 0x78, 0x78, 0x16,
        0xe8, 0x38, 0x9a, 0x00, 0x00, 0x00, 0x00, 0x17, 0xd8, 0xbc, 0x73,
    ];

    #[test]
    fn frames_of_other_programs_are_read() {
        let mut frames = Frames::default();
        frames.push(FOREIGN);
        assert_eq!(frames.take().unwrap().unwrap(), [b'x'; 1_000][..]);
        assert_eq!((frames.take(), frames.is_open()), (Ok(None), false));
    }

    #[test]
    fn what_frames_may_not_have() {
        for (flags, sizes) in
            [(0x40, 0x40), (0xa0, 0x40), (0x61, 0x40), (0x62, 0x40), (0x60, 0x70), (0x60, 0)]
        {
            let mut frames = Frames::default();
            frames.push(&[&MAGIC[..], &[flags, sizes, 0]].concat());
            assert_eq!(frames.take(), Err(Malformed), "{flags:x} {sizes:x}");
        }
        for bytes in [&[5][..], &[4, 0x22, 0x4e], &[&HEADER[..], &[1, 0, 1, 0]].concat()] {
            let mut frames = Frames::default();
            frames.push(bytes);
            assert_eq!(frames.take(), Err(Malformed), "{bytes:?}");
        }
    }
}

//! Content that is compressed for its way over a wire, piece by piece, and made again at the other end.
//!
//! Nothing coded like this is ever stored: what is, is the content itself, and its digest proves what comes out here. Values of
//! entries are compressed in their [envelopes](crate::envelope) instead.

mod lz4;

use std::fmt;
use std::io::{self, Write};

use bytes::{Buf, Bytes};
use zstd::stream::raw::{self, DParameter, InBuffer, Operation, OutBuffer};
use zstd::stream::write;

use crate::envelope::worthwhile;
use lz4::Frames;

/// Level of zstd: the fastest of the usual ones, as it happens while somebody waits.
const LEVEL: i32 = 1;
/// Window of what is compressed with zstd, as a power of two: with its tables, a compressor takes less than 1 MiB.
const WINDOW: u32 = 17;
/// Bytes that come out of a decoder at a time: one block of zstd.
const BLOCK: usize = 128 << 10;
/// Bytes that are enough to tell whether the rest will shrink.
const SAMPLE: usize = 64 << 10;

/// How content is coded on its way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Coding {
    /// Frames of zstd (RFC 8878).
    Zstd,
    /// Frames of lz4 (*LZ4 Frame Format* 1.6) of independent blocks, which have at most 256 KiB. For networks that are faster than
    /// zstd. Checksums in them are not looked at: the digest of the content proves more.
    Lz4,
}

impl Coding {
    /// Every coding; if there is a choice, the first is the best.
    pub const ALL: [Self; 2] = [Self::Zstd, Self::Lz4];

    /// Returns the name in HTTP's `Content-Encoding`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Zstd => "zstd",
            Self::Lz4 => "lz4",
        }
    }

    /// Returns the coding called `name`, in upper or lower case.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|coding| coding.name().eq_ignore_ascii_case(name))
    }

    /// Returns whether content that begins with `sample` shrinks by so much that it pays. No more than 64 KiB of it are tried.
    pub fn pays(self, sample: &[u8]) -> bool {
        let sample = &sample[..sample.len().min(SAMPLE)];
        let coded = Encoder::new(self, sample.len() as u64).and_then(|mut encoder| {
            let begin = encoder.push(sample)?.len();
            Ok(begin + encoder.finish()?.len())
        });
        coded.is_ok_and(|len| worthwhile(len, sample.len()))
    }
}

impl fmt::Display for Coding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Codes content. What went in has come out after each piece, so that nobody waits for it; what does not shrink grows by a few
/// bytes for each 64 KiB.
pub struct Encoder(Encoding);

enum Encoding {
    Zstd(Box<write::Encoder<'static, Vec<u8>>>),
    Lz4 { begun: bool },
}

impl Encoder {
    /// Returns the encoder of a content of `len` bytes.
    ///
    /// # Errors
    /// If there is no memory for it.
    pub fn new(coding: Coding, len: u64) -> io::Result<Self> {
        Ok(Self(match coding {
            Coding::Lz4 => Encoding::Lz4 { begun: false },
            Coding::Zstd => {
                let mut encoder = write::Encoder::new(Vec::new(), LEVEL)?;
                encoder.window_log(WINDOW)?;
                encoder.set_pledged_src_size(Some(len))?;
                Encoding::Zstd(Box::new(encoder))
            }
        }))
    }

    /// Returns the next `piece`, coded. It is in memory as a whole: pieces should be small.
    ///
    /// # Errors
    /// If the content gets longer than it should be.
    pub fn push(&mut self, piece: &[u8]) -> io::Result<Bytes> {
        if piece.is_empty() {
            return Ok(Bytes::new());
        }
        match &mut self.0 {
            Encoding::Zstd(encoder) => {
                encoder.write_all(piece)?;
                encoder.flush()?;
                Ok(std::mem::take(encoder.get_mut()).into())
            }
            Encoding::Lz4 { begun } => Ok(lz4::blocks(piece, !std::mem::replace(begun, true)).into()),
        }
    }

    /// Returns what comes after the last piece.
    ///
    /// # Errors
    /// If the content is shorter than it should be.
    pub fn finish(self) -> io::Result<Bytes> {
        match self.0 {
            Encoding::Zstd(encoder) => Ok(encoder.finish()?.into()),
            Encoding::Lz4 { begun } => Ok(lz4::end(!begun).into()),
        }
    }
}

impl fmt::Debug for Encoder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Encoder").finish_non_exhaustive()
    }
}

/// What arrives is not in its coding, or needs more memory than it may.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Malformed;

/// Makes coded content again, whoever coded it. It takes the memory of its window, one piece as it arrives, and one block.
pub struct Decoder(Decoding);

enum Decoding {
    Zstd {
        decoder: raw::Decoder<'static>,
        input: Bytes,
        /// Whether the decoder has output that did not fit.
        more: bool,
        /// Whether a frame has begun and not ended.
        open: bool,
    },
    Lz4(Frames),
}

impl Decoder {
    /// Returns a decoder. What comes in zstd may have a window of two to the power of `window` bytes.
    ///
    /// # Errors
    /// If there is no memory for it, or no such window.
    pub fn new(coding: Coding, window: u32) -> io::Result<Self> {
        Ok(Self(match coding {
            Coding::Lz4 => Decoding::Lz4(Frames::default()),
            Coding::Zstd => {
                let mut decoder = raw::Decoder::new()?;
                decoder.set_parameter(DParameter::WindowLogMax(window))?;
                Decoding::Zstd { decoder, input: Bytes::new(), more: false, open: false }
            }
        }))
    }

    /// Takes the next `piece` that arrived. Everything of those before has to be taken out with [`take`](Self::take).
    pub fn push(&mut self, piece: Bytes) {
        match &mut self.0 {
            Decoding::Zstd { input, .. } => *input = piece,
            Decoding::Lz4(frames) => frames.push(&piece),
        }
    }

    /// Returns the next bytes of the content, at most 256 KiB, or nothing if more has to arrive first.
    ///
    /// # Errors
    /// If there are none, because what arrived is not in the coding.
    pub fn take(&mut self) -> Result<Option<Bytes>, Malformed> {
        let (decoder, input, more, open) = match &mut self.0 {
            Decoding::Lz4(frames) => return frames.take(),
            Decoding::Zstd { decoder, input, more, open } => (decoder, input, more, open),
        };
        while *more || !input.is_empty() {
            let mut block = Vec::with_capacity(BLOCK);
            let mut output = OutBuffer::around(&mut block);
            let mut read = InBuffer::around(input);
            let expects = decoder.run(&mut read, &mut output).map_err(|_| Malformed)?;
            let (taken, full) = (read.pos(), output.pos() == output.capacity());
            input.advance(taken);
            *open = expects != 0;
            *more = *open && full;
            if !block.is_empty() {
                return Ok(Some(block.into()));
            }
        }
        Ok(None)
    }

    /// Returns whether something is missing to the end of what has begun.
    pub fn is_open(&self) -> bool {
        match &self.0 {
            Decoding::Zstd { open, .. } => *open,
            Decoding::Lz4(frames) => frames.is_open(),
        }
    }
}

impl fmt::Debug for Decoder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Decoder").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::collection::vec;
    use proptest::prelude::*;

    fn coded(coding: Coding, content: &[u8], piece: usize) -> Vec<u8> {
        let mut encoder = Encoder::new(coding, content.len() as u64).unwrap();
        let mut coded = Vec::new();
        for piece in content.chunks(piece) {
            coded.extend_from_slice(&encoder.push(piece).unwrap());
        }
        coded.extend_from_slice(&encoder.finish().unwrap());
        coded
    }

    /// Returns what `coded` is when it arrives in pieces; an error also if something is missing.
    fn content(coding: Coding, coded: &[u8], piece: usize, window: u32) -> Result<Vec<u8>, Malformed> {
        let mut decoder = Decoder::new(coding, window).unwrap();
        let mut content = Vec::new();
        for piece in coded.chunks(piece) {
            decoder.push(Bytes::copy_from_slice(piece));
            while let Some(bytes) = decoder.take()? {
                assert!(bytes.len() <= 256 << 10 && !bytes.is_empty());
                content.extend_from_slice(&bytes);
            }
        }
        if decoder.is_open() { Err(Malformed) } else { Ok(content) }
    }

    /// Returns bytes that do not shrink.
    fn random(len: usize) -> Vec<u8> {
        (0..=len as u64 / 32).flat_map(|i| *blake3::hash(&i.to_le_bytes()).as_bytes()).take(len).collect()
    }

    #[test]
    fn content_comes_back_in_any_pieces() {
        let text = b"one cache under every build; ".repeat(20_000);
        for coding in Coding::ALL {
            for value in [&b""[..], b"x", &text, &random(300_000), &vec![0; 1_000_000]] {
                let whole = coded(coding, value, usize::MAX);
                assert!(whole.len() <= value.len() + value.len() / 5_000 + 20, "{coding} {}", whole.len());
                for (to, from) in [(1 << 20, 1 << 20), (1 << 17, 1_000), (10_007, 65_536)] {
                    let coded = coded(coding, value, to);
                    assert!(content(coding, &coded, from, 17) == Ok(value.to_vec()), "{coding} {to} {from}");
                }
                // Two frames are one content.
                assert!(content(coding, &[&whole[..], &whole].concat(), 7_000, 17) == Ok(value.repeat(2)));
                for cut in [1, whole.len() / 2, whole.len() - 1] {
                    let cut = content(coding, &whole[..cut.min(whole.len() - 1)], 1_000, 17);
                    assert!(value.is_empty() || cut.is_err(), "{coding}: what is cut off is whole");
                }
            }
            assert!(coding.pays(&text) && !coding.pays(&random(100_000)) && !coding.pays(b""));
            assert_eq!(Coding::named(&coding.name().to_uppercase()), Some(coding));
        }
    }

    #[test]
    fn windows_and_blocks_are_bounded() {
        let mut encoder = write::Encoder::new(Vec::new(), 3).unwrap();
        encoder.window_log(20).unwrap();
        random(3 << 20).chunks(1_000).for_each(|piece| encoder.write_all(piece).unwrap());
        let coded = encoder.finish().unwrap();
        assert!(content(Coding::Zstd, &coded, 1 << 16, 20).is_ok());
        assert_eq!(content(Coding::Zstd, &coded, 1 << 16, 19), Err(Malformed));
    }

    /// zstd finds an error sooner if it has everything at once; what both make of it is the same.
    fn same_if_any(coding: Coding, bytes: &[u8], piece: usize) {
        let whole = content(coding, bytes, usize::MAX, 17);
        let pieces = content(coding, bytes, piece, 17);
        assert!(whole.is_err() || pieces.is_err() || whole == pieces);
    }

    proptest! {
        #[test]
        fn whatever_arrives_is_content_or_malformed(
            bytes in vec(any::<u8>(), 0..2_000),
            at in any::<prop::sample::Index>(),
            piece in 1_usize..3_000,
        ) {
            let text = [b"a text that shrinks ".repeat(100), bytes.clone()].concat();
            for coding in Coding::ALL {
                same_if_any(coding, &bytes, piece);
                let mut coded = coded(coding, &text, piece);
                coded[at.index(text.len() / 2) % 1_000 % bytes.len().max(20)] ^= 1;
                same_if_any(coding, &coded, piece);
            }
        }
    }
}

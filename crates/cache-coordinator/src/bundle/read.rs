//! Reading a bundle, item by item.

use std::io::{self, Read, Seek, Write};

use bytes::Bytes;
use cache_core::{
    Body, Digest, Error, Fingerprint, Fingerprinter, HashFunction, Hasher, Key, Result, crc32c,
};

use super::{BLOB, CHUNK, CONTENTS, END, END_LEN, ENTRY, HEADER, IN_MEMORY, KEY, KEYS, LEFT_OUT, MAGIC};
use super::{START, VERSION};

/// What comes next in the file.
#[derive(Debug)]
pub(super) enum Item {
    /// What is about to come.
    Contents(Vec<Key>),
    /// A blob. Its content follows: [`Reader::blob`] or [`Reader::skip`].
    Blob(Digest, u64),
    /// An entry. Its envelope follows: [`Reader::bytes`] or [`Reader::skip`].
    Entry(Key, u64),
    /// An entry that does not come.
    LeftOut(Key),
    /// The end, as it should be.
    End { entries: u64, blobs: u64, right: bool },
}

/// Why there is no more to be had from a file.
#[derive(Debug)]
pub(super) enum Stop {
    /// It ends too early.
    CutOff,
    /// A header is damaged, or there is something behind the end.
    Damaged,
    /// The system cannot read it.
    Unreadable(io::Error),
    /// The system has no room for a large blob on its way.
    NoRoom(io::Error),
}

pub(super) struct Reader<'a> {
    input: &'a mut (dyn Read + Send),
    sum: Fingerprinter,
}

impl<'a> Reader<'a> {
    /// # Errors
    /// If it is no bundle, or one of a newer version.
    pub(super) fn new(input: &'a mut (dyn Read + Send)) -> Result<Self> {
        let mut reader = Self { input, sum: Fingerprinter::new() };
        let no_bundle = || Error::Invalid("this is no file that an export wrote".to_owned());
        let mut start = [0; START];
        match reader.fill(&mut start) {
            Ok(()) if start[..4] == MAGIC => {}
            Ok(()) | Err(Stop::CutOff | Stop::Damaged) => return Err(no_bundle()),
            Err(Stop::Unreadable(source) | Stop::NoRoom(source)) => {
                return Err(Error::Io { what: "cannot read the export".to_owned(), source });
            }
        }
        let [_, version, ..] = start.as_chunks::<4>().0 else { return Err(no_bundle()) };
        match u32::from_le_bytes(*version) {
            VERSION => {}
            0 => return Err(no_bundle()),
            found => {
                let what = "the export".to_owned();
                return Err(Error::NewerFormat { what, found, known: VERSION });
            }
        }
        if start[8..] != [0; 8] {
            return Err(no_bundle());
        }
        reader.sum.update(&start);
        Ok(reader)
    }

    pub(super) fn next(&mut self) -> Result<Item, Stop> {
        let mut header = [0; HEADER];
        self.fill(&mut header)?;
        let checksum = crc32c(&header[..44]).to_le_bytes();
        let (Some(id), Some(len)) = (header[12..].first_chunk::<KEY>(), header[4..].first_chunk::<8>())
        else {
            return Err(Stop::Damaged);
        };
        if header[44..] != checksum || header[2..4] != [0; 2] || (header[0] != BLOB && header[1] != 0) {
            return Err(Stop::Damaged);
        }
        let len = u64::from_le_bytes(*len);
        if header[0] == END && len == END_LEN && *id == [0; KEY] {
            return self.end();
        }
        self.sum.update(&header);
        match header[0] {
            CONTENTS if len <= (KEYS * KEY) as u64 && len.is_multiple_of(KEY as u64) => {
                let content = self.bytes(len)?;
                Ok(Item::Contents(
                    content.as_chunks::<KEY>().0.iter().map(|key| Key::from_bytes(*key)).collect(),
                ))
            }
            BLOB => {
                let function = HashFunction::ALL.into_iter().find(|function| function.id() == header[1]);
                Ok(Item::Blob(Digest::new(function.ok_or(Stop::Damaged)?, *id), len))
            }
            ENTRY => Ok(Item::Entry(Key::from_bytes(*id), len)),
            LEFT_OUT if len == 0 => Ok(Item::LeftOut(Key::from_bytes(*id))),
            _ => Err(Stop::Damaged),
        }
    }

    fn end(&mut self) -> Result<Item, Stop> {
        let mut content = [0; END_LEN as usize];
        self.fill(&mut content)?;
        let ([entries, blobs], sum) = (
            [&content[..8], &content[8..16]]
                .map(|number| number.first_chunk::<8>().map_or(0, |bytes| u64::from_le_bytes(*bytes))),
            content[16..].first_chunk::<16>().copied().map(Fingerprint::from_bytes),
        );
        let right = sum == Some(self.sum.finish());
        match self.fill(&mut [0]) {
            Err(Stop::CutOff) => Ok(Item::End { entries, blobs, right }),
            Err(stop) => Err(stop),
            Ok(()) => Err(Stop::Damaged),
        }
    }

    /// Returns the next `len` bytes. Memory grows with what is really there.
    pub(super) fn bytes(&mut self, len: u64) -> Result<Vec<u8>, Stop> {
        let mut content = Vec::new();
        (&mut *self.input).take(len).read_to_end(&mut content).map_err(Stop::Unreadable)?;
        self.sum.update(&content);
        if content.len() as u64 == len { Ok(content) } else { Err(Stop::CutOff) }
    }

    /// Passes over the next `len` bytes.
    pub(super) fn skip(&mut self, len: u64) -> Result<(), Stop> {
        self.pieces(len, |_| Ok(()))
    }

    /// Returns the next `len` bytes if they have the digest; a large blob goes through a temporary file.
    pub(super) fn blob(&mut self, digest: &Digest, len: u64) -> Result<Option<Body>, Stop> {
        if len <= IN_MEMORY {
            let content = Bytes::from(self.bytes(len)?);
            return Ok((Digest::of(digest.function(), &content) == *digest).then(|| content.into()));
        }
        let mut file = tempfile::tempfile().map_err(Stop::NoRoom)?;
        let mut hasher = Hasher::new(digest.function());
        self.pieces(len, |piece| {
            hasher.update(piece);
            file.write_all(piece)
        })?;
        if hasher.finish() != *digest {
            return Ok(None);
        }
        file.rewind().map_err(Stop::NoRoom)?;
        Ok(Some(Body::File { file, len, path: None }))
    }

    fn pieces(&mut self, mut len: u64, mut each: impl FnMut(&[u8]) -> io::Result<()>) -> Result<(), Stop> {
        let mut buffer = vec![0; CHUNK];
        while len > 0 {
            let piece = &mut buffer[..CHUNK.min(usize::try_from(len).unwrap_or(CHUNK))];
            self.input.read_exact(piece).map_err(stopped)?;
            self.sum.update(piece);
            each(piece).map_err(Stop::NoRoom)?;
            len -= piece.len() as u64;
        }
        Ok(())
    }

    /// Fills `buffer`, of which the sum knows nothing.
    fn fill(&mut self, buffer: &mut [u8]) -> Result<(), Stop> {
        self.input.read_exact(buffer).map_err(stopped)
    }
}

fn stopped(error: io::Error) -> Stop {
    if error.kind() == io::ErrorKind::UnexpectedEof { Stop::CutOff } else { Stop::Unreadable(error) }
}

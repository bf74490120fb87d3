//! What a command wrote to its standard output and standard error, in the order it was seen.
//!
//! # Format
//! One byte of version, then chunks, then a zero byte, then nothing. A chunk is a LEB128 number `length << 1 | stream`
//! (stream 0 is standard output, 1 standard error; length from 1 to [`CHUNK_BYTES`]) and that many bytes. The zero
//! at the end tells a complete log from a cut one. Neighbours of one stream are one chunk as far as the length allows.

use super::{Limits, Stream};
use std::io::{self, Read, Seek, Write};
use std::path::PathBuf;
use tempfile::SpooledTempFile;

/// The longest chunk, in bytes, and so all the memory that reading a log takes.
pub const CHUNK_BYTES: usize = 64 << 10;

/// The version of the format, the first byte of a log.
const VERSION: u8 = 1;

/// The longest chunk header in bytes: 18 bits, 7 in a byte.
const HEADER_BYTES: usize = 3;

/// How many bytes each stream holds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Lengths {
    /// Bytes of standard output.
    pub stdout: u64,
    /// Bytes of standard error.
    pub stderr: u64,
}

impl Lengths {
    fn add(&mut self, stream: Stream, len: usize) {
        match stream {
            Stream::Stdout => self.stdout += len as u64,
            Stream::Stderr => self.stderr += len as u64,
        }
    }

    /// Returns the bytes of both streams.
    pub fn total(self) -> u64 {
        self.stdout.saturating_add(self.stderr)
    }
}

/// A complete recording, in memory while it is small and else in an unnamed temporary file.
#[derive(Debug)]
pub struct StdioLog {
    encoded: SpooledTempFile,
    encoded_len: u64,
    lengths: Lengths,
}

impl StdioLog {
    /// Returns how many bytes each stream holds.
    pub fn lengths(&self) -> Lengths {
        self.lengths
    }

    /// Returns the length of the serialised log in bytes: at most twice what was recorded, plus two.
    pub fn encoded_len(&self) -> u64 {
        self.encoded_len
    }

    /// Returns the serialised log, from its beginning.
    ///
    /// # Errors
    /// When the temporary file cannot be read.
    pub fn reader(&mut self) -> io::Result<impl Read + '_> {
        self.encoded.rewind()?;
        Ok(&mut self.encoded)
    }

    /// Writes every byte to the stream it came from, in the order it was seen.
    ///
    /// # Errors
    /// As [`replay`].
    pub fn replay(&mut self, stdout: &mut dyn Write, stderr: &mut dyn Write) -> Result<Lengths, LogError> {
        replay(self.reader().map_err(LogError::Read)?, stdout, stderr)
    }
}

/// Why a log cannot be replayed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LogError {
    /// The log was written in a format that this version does not know.
    #[error(
        "the recorded output has the unknown format version {0}; run the command again to record it anew"
    )]
    Version(u8),
    /// The log ends too early.
    #[error("the recorded output ends too early; it is damaged, so run the command again")]
    Truncated,
    /// The log breaks its own rules.
    #[error("the recorded output is damaged; run the command again")]
    Malformed,
    /// The log cannot be read.
    #[error("cannot read the recorded output: {0}")]
    Read(#[source] io::Error),
    /// The output cannot be passed on.
    #[error("cannot write to {stream}: {source}")]
    Write {
        /// The stream that failed.
        stream: Stream,
        /// What the system said.
        source: io::Error,
    },
}

/// Reads a serialised log and writes every byte to the stream it came from, in the order it was seen; flushes both.
///
/// The log is checked while it is read, so a damaged one may be replayed in part; [`check`] tells before.
///
/// # Errors
/// As the variants of [`LogError`] say.
pub fn replay(log: impl Read, stdout: &mut dyn Write, stderr: &mut dyn Write) -> Result<Lengths, LogError> {
    let mut log = io::BufReader::new(log);
    let version = byte(&mut log)?.ok_or(LogError::Truncated)?;
    if version != VERSION {
        return Err(LogError::Version(version));
    }
    let mut lengths = Lengths::default();
    let mut buffer = Vec::new();
    while let Some((stream, len)) = header(&mut log)? {
        buffer.resize(len, 0);
        log.read_exact(&mut buffer).map_err(|error| match error.kind() {
            io::ErrorKind::UnexpectedEof => LogError::Truncated,
            _ => LogError::Read(error),
        })?;
        let sink: &mut dyn Write = if stream == Stream::Stdout { stdout } else { stderr };
        sink.write_all(&buffer)
            .and_then(|()| sink.flush())
            .map_err(|source| LogError::Write { stream, source })?;
        lengths.add(stream, len);
    }
    match byte(&mut log)? {
        None => Ok(lengths),
        Some(_) => Err(LogError::Malformed),
    }
}

/// Reads a serialised log to its end and returns how many bytes each stream holds.
///
/// # Errors
/// As [`replay`], but for writing.
pub fn check(log: impl Read) -> Result<Lengths, LogError> {
    replay(log, &mut io::sink(), &mut io::sink())
}

fn byte(log: &mut impl Read) -> Result<Option<u8>, LogError> {
    let mut byte = [0];
    loop {
        match log.read(&mut byte) {
            Ok(0) => return Ok(None),
            Ok(_) => return Ok(Some(byte[0])),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(LogError::Read(error)),
        }
    }
}

/// Reads the header of a chunk; `None` at the end mark.
fn header(log: &mut impl Read) -> Result<Option<(Stream, usize)>, LogError> {
    let mut value = 0;
    for position in 0..HEADER_BYTES {
        let byte = byte(log)?.ok_or(LogError::Truncated)?;
        value |= usize::from(byte & 0x7f) << (7 * position);
        if byte & 0x80 == 0 {
            // A number has one spelling, so that equal logs are equal bytes.
            if byte == 0 && position > 0 {
                break;
            }
            if value == 0 {
                return Ok(None);
            }
            let stream = if value & 1 == 0 { Stream::Stdout } else { Stream::Stderr };
            return match value >> 1 {
                len @ 1..=CHUNK_BYTES => Ok(Some((stream, len))),
                _ => Err(LogError::Malformed),
            };
        }
    }
    Err(LogError::Malformed)
}

/// Why there is no complete log.
#[derive(Debug)]
pub(super) enum Lost {
    TooLarge,
    Spool { dir: PathBuf, source: io::Error },
}

/// Takes bytes as they arrive. It never fails: from the first trouble on it records nothing and remembers why.
pub(super) struct Recorder {
    encoded: SpooledTempFile,
    encoded_len: u64,
    lengths: Lengths,
    /// The chunk that may still grow.
    chunk: Vec<u8>,
    stream: Stream,
    limit: u64,
    spool_dir: PathBuf,
    lost: Option<Lost>,
}

impl Recorder {
    pub(super) fn new(limits: &Limits<'_>) -> Self {
        let spool_dir = limits.spool_dir.map_or_else(std::env::temp_dir, PathBuf::from);
        let mut recorder = Self {
            encoded: SpooledTempFile::new_in(limits.memory, &spool_dir),
            encoded_len: 0,
            lengths: Lengths::default(),
            chunk: Vec::new(),
            stream: Stream::Stdout,
            limit: limits.max_log,
            spool_dir,
            lost: None,
        };
        recorder.write(&[VERSION]);
        recorder
    }

    pub(super) fn record(&mut self, stream: Stream, mut bytes: &[u8]) {
        self.lengths.add(stream, bytes.len());
        if self.lengths.total() > self.limit {
            self.lose(Lost::TooLarge);
        }
        if self.lost.is_some() {
            return;
        }
        if stream != self.stream {
            self.end_chunk();
            self.stream = stream;
        }
        while !bytes.is_empty() {
            let (now, later) = bytes.split_at(bytes.len().min(CHUNK_BYTES - self.chunk.len()));
            self.chunk.extend_from_slice(now);
            bytes = later;
            if self.chunk.len() == CHUNK_BYTES {
                self.end_chunk();
            }
        }
    }

    /// Returns how many bytes have come, recorded or not.
    #[cfg(windows)]
    pub(super) fn total(&self) -> u64 {
        self.lengths.total()
    }

    pub(super) fn finish(mut self) -> Result<StdioLog, Lost> {
        self.end_chunk();
        self.write(&[0]);
        match self.lost {
            Some(lost) => Err(lost),
            None => {
                Ok(StdioLog { encoded: self.encoded, encoded_len: self.encoded_len, lengths: self.lengths })
            }
        }
    }

    fn end_chunk(&mut self) {
        if self.chunk.is_empty() {
            return;
        }
        let chunk = std::mem::take(&mut self.chunk);
        let mut value = chunk.len() << 1 | usize::from(self.stream == Stream::Stderr);
        let mut header = Vec::with_capacity(HEADER_BYTES);
        while value > 0x7f {
            header.push((value & 0x7f) as u8 | 0x80);
            value >>= 7;
        }
        header.push(value as u8);
        self.write(&header);
        self.write(&chunk);
        self.chunk = chunk;
        self.chunk.clear();
    }

    fn write(&mut self, bytes: &[u8]) {
        if self.lost.is_some() {
            return;
        }
        match self.encoded.write_all(bytes) {
            Ok(()) => self.encoded_len += bytes.len() as u64,
            Err(source) => {
                let dir = self.spool_dir.clone();
                self.lose(Lost::Spool { dir, source });
            }
        }
    }

    /// Gives up, and gives back the memory or the disk space at once.
    fn lose(&mut self, why: Lost) {
        if self.lost.is_none() {
            self.lost = Some(why);
            self.encoded = SpooledTempFile::new_in(0, &self.spool_dir);
            self.chunk = Vec::new();
        }
    }
}

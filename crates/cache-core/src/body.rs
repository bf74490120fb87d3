//! The content of a blob on its way.

use std::fmt;
use std::fs::File;
use std::future::poll_fn;
use std::io::Read;
use std::path::PathBuf;
use std::pin::Pin;

use bytes::Bytes;
use futures_core::Stream;

use crate::{Error, Result};

/// Size of the pieces in which a file is read.
const CHUNK: usize = 256 << 10;

/// Content that is in memory, in a file, or still arriving. A file is kept as such, so that a server can `sendfile` it
/// and a restore can clone it.
pub enum Body {
    /// All of it.
    Bytes(Bytes),
    /// A part of an open file.
    File {
        /// The file, open for reading and positioned at the start of the content.
        file: File,
        /// How many bytes of it belong to the content.
        len: u64,
        /// Where it can be opened again, as long as nothing removes it. Never a path to write to.
        path: Option<PathBuf>,
    },
    /// Pieces, as they come.
    Stream(Pin<Box<dyn Stream<Item = Result<Bytes>> + Send>>),
}

impl Body {
    /// Returns the next piece, or nothing at the end. Pieces of a file are read on the calling thread.
    ///
    /// # Errors
    /// What reading or the stream reports. A file that ends too early is an error.
    ///
    /// # Cancel safety
    /// Dropping the future loses nothing: the piece comes with the next call.
    pub async fn next(&mut self) -> Result<Option<Bytes>> {
        match self {
            Self::Bytes(bytes) if bytes.is_empty() => Ok(None),
            Self::Bytes(bytes) => Ok(Some(std::mem::take(bytes))),
            Self::File { file, len, path } => read_piece(file, len, path.as_ref()),
            Self::Stream(stream) => poll_fn(|cx| stream.as_mut().poll_next(cx)).await.transpose(),
        }
    }

    /// Returns all of the content.
    ///
    /// # Errors
    /// [`Error::TooLarge`] as soon as it has more than `limit` bytes, else as [`next`](Self::next).
    ///
    /// # Cancel safety
    /// Dropping the future loses the content.
    pub async fn into_bytes(mut self, limit: u64) -> Result<Bytes> {
        let too_large = |size| Error::TooLarge { what: "the blob".to_owned(), size, limit };
        let Some(first) = self.next().await? else { return Ok(Bytes::new()) };
        if first.len() as u64 > limit {
            return Err(too_large(first.len() as u64));
        }
        let Some(second) = self.next().await? else { return Ok(first) };
        let mut all = Vec::from(first);
        let mut next = Some(second);
        while let Some(piece) = next {
            if (all.len() + piece.len()) as u64 > limit {
                return Err(too_large((all.len() + piece.len()) as u64));
            }
            all.extend_from_slice(&piece);
            next = self.next().await?;
        }
        Ok(all.into())
    }
}

fn read_piece(file: &mut File, len: &mut u64, path: Option<&PathBuf>) -> Result<Option<Bytes>> {
    if *len == 0 {
        return Ok(None);
    }
    let mut piece = vec![0; CHUNK.min(usize::try_from(*len).unwrap_or(CHUNK))];
    let place = || path.map_or_else(|| "a blob".to_owned(), |path| path.display().to_string());
    file.read_exact(&mut piece)
        .map_err(|source| Error::Io { what: format!("cannot read {}", place()), source })?;
    *len -= piece.len() as u64;
    Ok(Some(piece.into()))
}

impl From<Bytes> for Body {
    fn from(bytes: Bytes) -> Self {
        Self::Bytes(bytes)
    }
}

impl From<Vec<u8>> for Body {
    fn from(bytes: Vec<u8>) -> Self {
        Self::Bytes(bytes.into())
    }
}

impl fmt::Debug for Body {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bytes(bytes) => write!(f, "Body::Bytes({} bytes)", bytes.len()),
            Self::File { len, path, .. } => write!(f, "Body::File({len} bytes of {path:?})"),
            Self::Stream(_) => f.write_str("Body::Stream"),
        }
    }
}

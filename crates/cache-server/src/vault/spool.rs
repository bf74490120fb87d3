//! Uploads on their way: in memory while they are small, then in an unnamed file.

use std::fs::File;
use std::io::{self, Read, Seek, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use axum::BoxError;
use axum::body::Body;
use bytes::{Bytes, BytesMut};
use cache_core::files::create_private_dir;
use cache_core::{Digest, HashFunction, Hasher};
use http::StatusCode;
use http_body_util::BodyExt;
use tokio::time::Instant;

use crate::ServerError;
use crate::pace::Pace;
use crate::reply::Refusal;

/// Bytes of an upload that are in memory before it goes to a file, and then before each write.
pub(super) const MEMORY: usize = 256 << 10;

/// What an upload has to be.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Expected {
    /// Its length, if it was announced.
    pub(crate) len: Option<u64>,
    /// Its SHA-256, if that is its name.
    pub(crate) sha256: Option<Digest>,
    /// Most bytes that are taken.
    pub(crate) limit: u64,
}

/// Why the content of an upload cannot be read, though its bytes arrived.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct Unreadable(pub(crate) &'static str);

/// An upload that has arrived whole and is what it was announced as.
#[derive(Debug)]
pub(crate) struct Upload {
    pub(super) content: Content,
    pub(crate) len: u64,
    /// Its BLAKE3.
    pub(crate) digest: Digest,
    /// Its part of the spool, free when this is dropped.
    pub(super) share: Share,
}

impl Upload {
    /// Returns all of the content, which stays where it is as well.
    pub(crate) async fn bytes(&mut self) -> Result<Bytes, Refusal> {
        let file = match &self.content {
            Content::Memory(bytes) => return Ok(bytes.clone()),
            Content::File(file) => file.try_clone(),
        };
        let read = tokio::task::spawn_blocking(move || {
            let (mut file, mut content) = (file?, Vec::new());
            file.read_to_end(&mut content)?;
            // Both have one position.
            file.rewind()?;
            Ok(content.into())
        });
        read.await.map_err(io::Error::other).flatten().map_err(|error| {
            tracing::error!(%error, "cannot read an upload again");
            lost()
        })
    }
}

/// Where an upload's content is.
#[derive(Debug)]
pub(crate) enum Content {
    Memory(Bytes),
    /// Positioned at the start.
    File(File),
}

/// Where uploads are kept until they are whole.
#[derive(Debug)]
pub(crate) struct Spool {
    dir: PathBuf,
    used: Arc<AtomicU64>,
    terms: RwLock<Terms>,
}

/// What uploads go by.
#[derive(Clone, Copy, Debug)]
pub(super) struct Terms {
    /// Bytes in files, of all of them.
    pub(super) limit: u64,
    pub(super) patience: Duration,
}

/// Bytes in the spool that belong to one upload.
#[derive(Debug)]
pub(super) struct Share {
    used: Arc<AtomicU64>,
    pub(super) bytes: u64,
}

impl Spool {
    /// Returns a spool in `dir`, or in the system's temporary directory. Files in it have no name, so that nothing is left
    /// whatever happens to the process.
    pub(crate) fn open(dir: Option<&Path>, limit: u64, patience: Duration) -> Result<Self, ServerError> {
        let dir = dir.map_or_else(std::env::temp_dir, Path::to_owned);
        create_private_dir(&dir)
            .and_then(|()| tempfile::tempfile_in(&dir))
            .map_err(|source| ServerError::Spool { path: dir.clone(), source })?;
        Ok(Self { dir, used: Arc::default(), terms: RwLock::new(Terms { limit, patience }) })
    }

    /// Changes what uploads go by that begin from now on.
    pub(super) fn set(&self, limit: u64, patience: Duration) {
        *self.terms.write().unwrap_or_else(PoisonError::into_inner) = Terms { limit, patience };
    }

    pub(super) fn terms(&self) -> Terms {
        *self.terms.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns a part of the spool without bytes.
    pub(super) fn share(&self) -> Share {
        Share { used: Arc::clone(&self.used), bytes: 0 }
    }

    /// Returns how many bytes of uploads are in files.
    pub(crate) fn used(&self) -> u64 {
        self.used.load(Ordering::Relaxed)
    }

    /// Takes an upload in.
    ///
    /// # Cancel safety
    /// Dropping the future gives up the upload and leaves nothing.
    pub(crate) async fn receive<B>(&self, body: &mut B, expected: &Expected) -> Result<Upload, Refusal>
    where
        B: http_body::Body<Data = Bytes> + Unpin,
        B::Error: Into<BoxError>,
    {
        if expected.len.is_some_and(|len| len > expected.limit) {
            return Err(Refusal::too_large(expected.limit));
        }
        let Terms { limit, patience } = self.terms();
        let mut state = Receiving::new(expected);
        let pace = Pace::new(patience);
        let mut share = self.share();
        let mut received = 0;
        loop {
            let Some(piece) = next_piece(body, pace.deadline(received)).await? else { break };
            received += piece.len() as u64;
            if received > expected.limit {
                return Err(Refusal::too_large(expected.limit));
            }
            // Compressed ones can be longer than announced, by far.
            if expected.len.is_some_and(|len| received > len) {
                return Err(Refusal::new(
                    StatusCode::BAD_REQUEST,
                    "the upload is longer than announced; nothing was stored",
                ));
            }
            // Below the threshold nothing goes to a file; from there on, whole buffers do.
            if state.file.is_none() && state.buffer.len() + piece.len() <= MEMORY {
                state.buffer.extend_from_slice(&piece);
                continue;
            }
            state.buffer.extend_from_slice(&piece);
            if state.buffer.len() >= MEMORY {
                share.grow(state.buffer.len() as u64, limit)?;
                state = self.write(state).await?;
            }
        }
        if expected.len.is_some_and(|len| len != received) {
            return Err(Refusal::cut_off(received));
        }
        if state.file.is_some() && !state.buffer.is_empty() {
            share.grow(state.buffer.len() as u64, limit)?;
            state = self.write(state).await?;
        }
        state.finish(received, expected, share).map_err(|error| *error)
    }

    /// Returns a body of at most `limit` bytes, which is to be small, as it is.
    ///
    /// # Cancel safety
    /// Dropping the future gives up the body.
    pub(crate) async fn read(&self, body: &mut Body, limit: usize) -> Result<BytesMut, Refusal> {
        let pace = Pace::new(self.terms().patience);
        let mut read = BytesMut::new();
        loop {
            let deadline = pace.deadline(read.len() as u64);
            let Some(piece) = next_piece(body, deadline).await? else { return Ok(read) };
            if read.len() + piece.len() > limit {
                return Err(Refusal::too_large(limit as u64));
            }
            read.extend_from_slice(&piece);
        }
    }

    /// Reads a body to its end and keeps nothing of it; returns how many bytes came. Ends early when more than `limit` bytes
    /// come, or none for too long.
    ///
    /// # Cancel safety
    /// Dropping the future stops reading.
    pub(crate) async fn discard(&self, body: &mut Body, limit: u64) -> u64 {
        let pace = Pace::new(self.terms().patience);
        let mut received = 0;
        while received <= limit {
            match next_piece(body, pace.deadline(received)).await {
                Ok(Some(piece)) => received += piece.len() as u64,
                Ok(None) | Err(_) => break,
            }
        }
        received
    }

    /// Hashes the buffer and writes it to the file, off the runtime's own threads.
    pub(super) async fn write(&self, mut state: Receiving) -> Result<Receiving, Refusal> {
        let dir = self.dir.clone();
        let written = tokio::task::spawn_blocking(move || -> io::Result<Receiving> {
            let file = match &mut state.file {
                Some(file) => file,
                none => none.insert(tempfile::tempfile_in(&dir)?),
            };
            file.write_all(&state.buffer)?;
            state.blake3.update(&state.buffer);
            if let Some(sha256) = &mut state.sha256 {
                sha256.update(&state.buffer);
            }
            state.buffer.clear();
            Ok(state)
        });
        written.await.map_err(io::Error::other).flatten().map_err(|error| self.trouble(&error))
    }

    fn trouble(&self, error: &io::Error) -> Refusal {
        tracing::error!(dir = %self.dir.display(), %error, "cannot keep an upload");
        match error.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => full(),
            _ => lost(),
        }
    }
}

/// An upload of which more is to come.
#[derive(Debug)]
pub(super) struct Receiving {
    pub(super) buffer: BytesMut,
    file: Option<File>,
    blake3: Hasher,
    sha256: Option<Hasher>,
}

impl Receiving {
    pub(super) fn new(expected: &Expected) -> Self {
        // What was announced is reserved only as far as it is going to be in memory.
        let room = expected.len.map_or(0, |len| usize::try_from(len).unwrap_or(MEMORY).min(MEMORY));
        Self {
            buffer: BytesMut::with_capacity(room),
            file: None,
            blake3: Hasher::new(HashFunction::Blake3),
            sha256: expected.sha256.map(|_| Hasher::new(HashFunction::Sha256)),
        }
    }

    pub(super) fn finish(
        mut self,
        len: u64,
        expected: &Expected,
        share: Share,
    ) -> Result<Upload, Box<Refusal>> {
        self.blake3.update(&self.buffer);
        if let (Some(sha256), Some(announced)) = (&mut self.sha256, expected.sha256) {
            sha256.update(&self.buffer);
            let found = sha256.finish();
            if found != announced {
                let message = format!(
                    "the content has the digest {found}, not {announced} as announced; it was not stored"
                );
                return Err(Box::new(Refusal::new(StatusCode::BAD_REQUEST, message)));
            }
        }
        let content = match self.file {
            None => Content::Memory(self.buffer.freeze()),
            Some(mut file) => {
                file.rewind().map_err(|error| {
                    tracing::error!(%error, "cannot read an upload again");
                    Box::new(lost())
                })?;
                Content::File(file)
            }
        };
        Ok(Upload { content, len, digest: self.blake3.finish(), share })
    }
}

/// Returns the next bytes of a body, or nothing at its end.
pub(super) async fn next_piece<B>(body: &mut B, deadline: Instant) -> Result<Option<Bytes>, Refusal>
where
    B: http_body::Body<Data = Bytes> + Unpin,
    B::Error: Into<BoxError>,
{
    loop {
        let frame = tokio::time::timeout_at(deadline, body.frame()).await.map_err(|_| {
            Refusal::new(StatusCode::REQUEST_TIMEOUT, "the upload came too slowly; nothing was stored")
        })?;
        match frame {
            None => return Ok(None),
            Some(Err(error)) => {
                let unreadable = error.into().downcast::<Unreadable>();
                let why = unreadable.map_or("the upload ended too early; nothing was stored", |it| it.0);
                return Err(Refusal::new(StatusCode::BAD_REQUEST, why));
            }
            Some(Ok(frame)) => {
                if let Ok(data) = frame.into_data() {
                    return Ok(Some(data));
                }
            }
        }
    }
}

impl Share {
    /// Returns all of it, and leaves a part without bytes.
    pub(super) fn take(&mut self) -> Self {
        Self { used: Arc::clone(&self.used), bytes: std::mem::take(&mut self.bytes) }
    }

    pub(super) fn grow(&mut self, bytes: u64, limit: u64) -> Result<(), Refusal> {
        let grow = |used: u64| used.checked_add(bytes).filter(|sum| *sum <= limit);
        self.used.fetch_update(Ordering::Relaxed, Ordering::Relaxed, grow).map_err(|_| full())?;
        self.bytes += bytes;
        Ok(())
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.used.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

fn lost() -> Refusal {
    Refusal::new(StatusCode::INTERNAL_SERVER_ERROR, "the upload could not be kept; see the server's log")
}

fn full() -> Refusal {
    Refusal::new(StatusCode::INSUFFICIENT_STORAGE, "there is no room left for uploads; nothing was stored")
}

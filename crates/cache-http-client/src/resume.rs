//! Uploads that go on where they broke off, to servers of this project.

use std::fs::File;
use std::io::{self, Seek as _};
use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use cache_core::{Body, Digest, Error, Hasher, Result};
use futures_util::FutureExt as _;
use futures_util::future::FusedFuture as _;
use futures_util::stream::iter;
use reqwest::header::{HeaderMap, HeaderName, HeaderValue, LOCATION};
use reqwest::{Method, StatusCode};
use tokio::sync::oneshot;
use tokio::time::Instant;

use crate::failure::{Again, Failure};
use crate::server::{Answer, Attempts, Question, Server};
use crate::upload::{self, Part};

/// Smaller content goes in one request: sending it again costs no more than asking how much of it is there.
const FROM: u64 = 8 << 20;
/// Bytes of a file that are read at a time.
const PIECE: usize = 256 << 10;
/// Digits of the name that the server gives an upload.
const ID: usize = 64;

const LENGTH: HeaderName = HeaderName::from_static("upload-length");
const OFFSET: HeaderName = HeaderName::from_static("upload-offset");

/// Content that can be read again from anywhere.
#[derive(Clone)]
pub(crate) enum Source {
    Bytes(Bytes),
    File {
        file: Arc<File>,
        /// Where the content is in the file.
        start: u64,
        len: u64,
        path: Option<PathBuf>,
    },
}

impl Source {
    /// Returns the `len` bytes of `body` if they are worth it and can be read again, else `body`.
    ///
    /// # Errors
    /// If it does not have that length, or the file cannot be used.
    pub(crate) fn of(body: Body, len: u64) -> Result<Result<Self, Body>> {
        let found = match &body {
            Body::Bytes(bytes) => bytes.len() as u64,
            Body::File { len, .. } => *len,
            Body::Stream(_) => return Ok(Err(body)),
        };
        if len < FROM {
            return Ok(Err(body));
        }
        if found != len {
            return Err(Error::LengthMismatch { expected: len, found });
        }
        match body {
            Body::Bytes(bytes) => Ok(Ok(Self::Bytes(bytes))),
            Body::File { mut file, len, path } => {
                let start = file.stream_position().map_err(|source| unreadable(path.as_ref(), source))?;
                Ok(Ok(Self::File { file: Arc::new(file), start, len, path }))
            }
            stream @ Body::Stream(_) => Ok(Err(stream)),
        }
    }

    /// Returns what comes after the first `offset` bytes.
    pub(crate) fn after(&self, offset: u64) -> Body {
        match self {
            Self::Bytes(bytes) => {
                let offset = usize::try_from(offset).unwrap_or(usize::MAX).min(bytes.len());
                Body::Bytes(bytes.slice(offset..))
            }
            Self::File { file, start, len, path } => {
                let (file, path, start, len) = (Arc::clone(file), path.clone(), *start, *len);
                let mut at = offset;
                Body::Stream(Box::pin(iter(std::iter::from_fn(move || {
                    let size = PIECE.min(usize::try_from(len.checked_sub(at)?).unwrap_or(PIECE));
                    if size == 0 {
                        return None;
                    }
                    let mut piece = vec![0; size];
                    let read = read_at(&file, &mut piece, start + at);
                    at += size as u64;
                    Some(read.map(|()| piece.into()).map_err(|source| unreadable(path.as_ref(), source)))
                }))))
            }
        }
    }

    /// Returns a hasher that has seen the first `offset` bytes.
    async fn before(&self, function: cache_core::HashFunction, offset: u64) -> Result<Hasher> {
        let (mut hasher, mut body) = (Hasher::new(function), self.after(0));
        while hasher.len() < offset {
            let Some(mut piece) = body.next().await? else { break };
            piece.truncate(usize::try_from(offset - hasher.len()).unwrap_or(usize::MAX));
            hasher.update(&piece);
            // There may be much of it, and nothing to wait for.
            tokio::task::yield_now().await;
        }
        Ok(hasher)
    }
}

fn unreadable(path: Option<&PathBuf>, source: io::Error) -> Error {
    let place = path.map_or_else(|| "a blob".to_owned(), |path| path.display().to_string());
    Error::Io { what: format!("cannot read {place}"), source }
}

/// Fills `piece` from a place in the file. Where the file is positioned means nothing: an attempt that was given up may still be
/// reading.
#[cfg(unix)]
fn read_at(file: &File, piece: &mut [u8], at: u64) -> io::Result<()> {
    std::os::unix::fs::FileExt::read_exact_at(file, piece, at)
}

#[cfg(windows)]
fn read_at(file: &File, mut piece: &mut [u8], mut at: u64) -> io::Result<()> {
    use std::os::windows::fs::FileExt as _;
    while !piece.is_empty() {
        match file.seek_read(piece, at) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(read) => {
                piece = &mut piece[read..];
                at += read as u64;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// An upload that the server has begun.
pub(crate) struct Upload<'a> {
    server: &'a Server,
    attempts: Attempts<'a>,
    begun: Instant,
    /// Where its parts go.
    path: String,
    digest: Digest,
    len: u64,
}

impl<'a> Upload<'a> {
    /// Begins the upload of a blob, or returns nothing if the server takes none in parts, at least not now.
    ///
    /// # Cancel safety
    /// The server forgets an upload of which nothing comes.
    pub(crate) async fn begin(server: &'a Server, digest: Digest, len: u64) -> Result<Option<Self>> {
        let path = format!("v1/uploads/{}/{}", digest.function().name(), digest.to_hex());
        let mut question = Question::new(Method::POST, &path);
        question.headers.insert(LENGTH, len.into());
        let mut attempts = server.attempts();
        let answer = loop {
            match server.ask_once(&question, attempts.deadline).await {
                Ok(answer) => break answer,
                Err(failure) if failure.again == Again::Yes => attempts.again(failure).await?,
                // If the blob itself is refused as well, that says why.
                Err(_) => return Ok(None),
            }
        };
        let begun = Instant::now();
        let id = (answer.response.status() == StatusCode::CREATED).then(|| id(&answer)).flatten();
        Ok(id.map(|id| Self { server, attempts, begun, path: format!("v1/uploads/{id}"), digest, len }))
    }

    /// Sends `source`, whose blob is at `blob`. When `gone` ends, nobody waits for it any more.
    ///
    /// # Errors
    /// As [`upload::stream`].
    ///
    /// # Cancel safety
    /// The server forgets the upload, or may have got everything.
    pub(crate) async fn send(
        mut self,
        source: &Source,
        blob: &str,
        gone: oneshot::Receiver<()>,
    ) -> Result<()> {
        let mut gone = gone.fuse();
        let mut offset = Some(0);
        loop {
            let failure = match offset {
                Some(at) => match self.part(source, at, &mut gone).await {
                    Ok(there) if there == self.len => return Ok(()),
                    Ok(there) => {
                        offset = Some(there);
                        self.server.passing("it took only a part of an upload")
                    }
                    Err(failure) => {
                        offset = None;
                        // What was sent may have bought more time than has passed: the server is asked.
                        self.attempts.deadline = Instant::now() + self.server.options.timeout;
                        failure
                    }
                },
                None => match self.offset().await {
                    Ok(Some(there)) => {
                        self.attempts.deadline = self.begun + self.server.options.patience(there);
                        if Instant::now() >= self.attempts.deadline {
                            return Err(self.server.unavailable("an upload takes too long"));
                        }
                        offset = Some(there);
                        continue;
                    }
                    // What it had got to its end is over, and so is what it forgot.
                    Ok(None) if self.server.has_blob(blob, self.len).await? => return Ok(()),
                    Ok(None) => return Err(self.server.unavailable("it has forgotten an upload")),
                    Err(failure) => failure,
                },
            };
            let is_over = gone.is_terminated() || failure.again == Again::No;
            if is_over {
                // The server forgets it in any case, only later.
                let _ = self.server.remove(&self.path).await;
                return Err(failure.error);
            }
            self.attempts.again(failure).await?;
        }
    }

    /// Sends what comes after `offset`, and returns how many bytes the server has then.
    async fn part(
        &self,
        source: &Source,
        offset: u64,
        gone: &mut futures_util::future::Fuse<oneshot::Receiver<()>>,
    ) -> Result<u64, Failure> {
        let hasher = source.before(self.digest.function(), offset).await.map_err(Failure::lasting)?;
        let mut headers = HeaderMap::new();
        headers.insert(OFFSET, HeaderValue::from(offset));
        let part = Part {
            method: Method::PATCH,
            path: &self.path,
            headers,
            digest: self.digest,
            len: self.len,
            hasher,
            coding: self.server.coding_of_uploads(),
        };
        let answer = upload::send(self.server, part, source.after(offset), gone).await?;
        match answer.response.status() {
            StatusCode::NO_CONTENT | StatusCode::CONFLICT => self.there(&answer),
            StatusCode::NOT_FOUND => Err(self.server.passing("it has forgotten an upload")),
            status => Err(Failure::lasting(self.server.unavailable(format!("it answers {status} to PATCH")))),
        }
    }

    /// Returns how many bytes the server has; nothing, if the upload is over.
    async fn offset(&self) -> Result<Option<u64>, Failure> {
        let question = Question::new(Method::HEAD, &self.path);
        let answer = self.server.ask_once(&question, self.attempts.deadline).await?;
        match answer.response.status() {
            StatusCode::NO_CONTENT => self.there(&answer).map(Some),
            _ => Ok(None),
        }
    }

    /// Returns how many bytes an answer says are there.
    fn there(&self, answer: &Answer) -> Result<u64, Failure> {
        let offset =
            answer.response.headers().get(OFFSET).and_then(|offset| offset.to_str().ok()?.parse().ok());
        offset.filter(|offset| *offset <= self.len).ok_or_else(|| {
            Failure::lasting(self.server.unavailable("it does not say how much of an upload it has"))
        })
    }
}

/// Returns the name of an upload, wherever the server thinks that it is: a proxy before it may have other paths.
fn id(answer: &Answer) -> Option<String> {
    let location = answer.response.headers().get(LOCATION)?.to_str().ok()?;
    let (_, id) = location.rsplit_once('/')?;
    let is_sound = id.len() == ID && id.bytes().all(|digit| digit.is_ascii_hexdigit());
    is_sound.then(|| id.to_owned())
}

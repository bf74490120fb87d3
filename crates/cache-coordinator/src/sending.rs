//! A caller's body on its way into one tier after the other.

use std::fs::File;
use std::io::{Seek, SeekFrom};
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use cache_core::{Body, Digest, Error, Hasher, Result};
use futures_core::Stream;

use crate::deadline::Progress;

/// What a caller wants to store, for as many tiers as it can be read for.
pub(crate) struct Sending {
    digest: Digest,
    len: u64,
    content: Content,
    progress: Arc<Progress>,
}

enum Content {
    Bytes(Bytes),
    File { file: File, start: u64, len: u64, path: Option<PathBuf> },
    Once(Option<Body>),
}

impl Sending {
    pub(crate) fn new(digest: Digest, len: u64, body: Body) -> Self {
        let content = match body {
            Body::Bytes(bytes) => Content::Bytes(bytes),
            Body::File { mut file, len, path } => match file.stream_position() {
                Ok(start) => Content::File { file, start, len, path },
                // A pipe cannot be read twice.
                Err(_) => Content::Once(Some(Body::File { file, len, path })),
            },
            stream @ Body::Stream(_) => Content::Once(Some(stream)),
        };
        Self { digest, len, content, progress: Arc::default() }
    }

    /// Returns the content from its start, or nothing if it is used up. A body that comes in pieces is checked here, so
    /// that a wrong one is told from a tier that spoils it.
    pub(crate) fn body(&mut self) -> Option<Body> {
        match &mut self.content {
            Content::Bytes(bytes) => Some(bytes.clone().into()),
            Content::File { file, start, len, path } => {
                // A clone shares its position with the file, and one tier reads at a time.
                let mut file = file.try_clone().ok()?;
                file.seek(SeekFrom::Start(*start)).ok()?;
                Some(Body::File { file, len: *len, path: path.clone() })
            }
            Content::Once(body) => match body.take()? {
                Body::Stream(stream) => Some(Body::Stream(Box::pin(Checked {
                    stream,
                    hasher: Hasher::new(self.digest.function()),
                    digest: self.digest,
                    len: self.len,
                    progress: Arc::clone(&self.progress),
                    done: false,
                }))),
                whole => Some(whole),
            },
        }
    }

    /// Returns whether [`body`](Self::body) still gives one.
    pub(crate) fn has_body(&self) -> bool {
        !matches!(self.content, Content::Once(None))
    }

    pub(crate) fn progress(&self) -> Arc<Progress> {
        Arc::clone(&self.progress)
    }

    /// Returns whether the content is what the caller says. Asked only after a tier denied it, so it may cost something.
    pub(crate) async fn is_right(&mut self) -> bool {
        let is_stream = matches!(self.content, Content::Once(_));
        if is_stream {
            return !self.progress.has_failed();
        }
        let mut hasher = Hasher::new(self.digest.function());
        let Some(mut body) = self.body() else { return false };
        loop {
            match body.next().await {
                Ok(Some(piece)) => hasher.update(&piece),
                Ok(None) => return hasher.len() == self.len && hasher.finish() == self.digest,
                Err(_) => return false,
            }
        }
    }
}

/// A stream that tells how it gets on, and ends well only if it is what was announced.
struct Checked {
    stream: Pin<Box<dyn Stream<Item = Result<Bytes>> + Send>>,
    hasher: Hasher,
    digest: Digest,
    len: u64,
    progress: Arc<Progress>,
    done: bool,
}

impl Checked {
    /// Returns what is wrong with the content as a whole.
    fn flaw(&self) -> Option<Error> {
        if self.hasher.len() != self.len {
            return Some(Error::LengthMismatch { expected: self.len, found: self.hasher.len() });
        }
        let found = self.hasher.finish();
        (found != self.digest).then_some(Error::DigestMismatch { expected: self.digest, found })
    }
}

impl Stream for Checked {
    type Item = Result<Bytes>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes>>> {
        if self.done {
            return Poll::Ready(None);
        }
        let error = match self.stream.as_mut().poll_next(cx) {
            Poll::Pending => {
                self.progress.waits();
                return Poll::Pending;
            }
            Poll::Ready(Some(Ok(piece))) => {
                self.progress.piece();
                self.hasher.update(&piece);
                if self.hasher.len() <= self.len {
                    return Poll::Ready(Some(Ok(piece)));
                }
                self.flaw()
            }
            Poll::Ready(Some(Err(error))) => Some(error),
            Poll::Ready(None) => self.flaw(),
        };
        self.progress.piece();
        self.done = true;
        let Some(error) = error else { return Poll::Ready(None) };
        self.progress.fail();
        Poll::Ready(Some(Err(error)))
    }
}

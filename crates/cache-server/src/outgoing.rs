//! Content on its way to a client.

use std::fs::File;
use std::io::{self, Read};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use futures_core::Stream;
use http_body::{Frame, SizeHint};
use tokio::task::JoinHandle;

/// Bytes that are read from a file at a time. More is not faster, and each request under way holds one piece.
pub(crate) const PIECE: usize = 256 << 10;

/// A stored content as the body of an answer: exactly as long as announced, or an error that cuts the connection off.
pub(crate) struct Outgoing {
    source: Source,
    left: u64,
}

enum Source {
    Bytes(Bytes),
    Stream(Pin<Box<dyn Stream<Item = cache_core::Result<Bytes>> + Send>>),
    File(File),
    Reading(JoinHandle<io::Result<(File, Bytes)>>),
    End,
}

impl Outgoing {
    /// Returns the body for `content` of `len` bytes.
    pub(crate) fn new(content: cache_core::Body, len: u64) -> Self {
        let source = match content {
            cache_core::Body::Bytes(bytes) => Source::Bytes(bytes),
            cache_core::Body::File { file, .. } => Source::File(file),
            cache_core::Body::Stream(stream) => Source::Stream(stream),
        };
        Self { source, left: len }
    }

    fn fail(&mut self, error: io::Error) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        tracing::warn!(%error, "a download was cut off");
        self.source = Source::End;
        Poll::Ready(Some(Err(error)))
    }
}

fn read(mut file: File, len: usize) -> io::Result<(File, Bytes)> {
    let mut piece = vec![0; len];
    file.read_exact(&mut piece)?;
    Ok((file, piece.into()))
}

impl http_body::Body for Outgoing {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        let this = self.get_mut();
        if this.left == 0 {
            this.source = Source::End;
            return Poll::Ready(None);
        }
        loop {
            let piece = match &mut this.source {
                Source::Bytes(bytes) => Some(std::mem::take(bytes)).filter(|bytes| !bytes.is_empty()),
                Source::Stream(stream) => match ready!(stream.as_mut().poll_next(cx)).transpose() {
                    Ok(piece) => piece,
                    Err(error) => return this.fail(io::Error::other(error)),
                },
                Source::File(_) => {
                    if let Source::File(file) = std::mem::replace(&mut this.source, Source::End) {
                        let len = usize::try_from(this.left).unwrap_or(PIECE).min(PIECE);
                        this.source = Source::Reading(tokio::task::spawn_blocking(move || read(file, len)));
                    }
                    continue;
                }
                Source::Reading(task) => {
                    match ready!(Pin::new(task).poll(cx)).map_err(io::Error::other).flatten() {
                        Ok((file, piece)) => {
                            this.source = Source::File(file);
                            Some(piece)
                        }
                        Err(error) => return this.fail(error),
                    }
                }
                Source::End => None,
            };
            return match piece {
                Some(piece) if piece.is_empty() => continue,
                Some(piece) if piece.len() as u64 <= this.left => {
                    this.left -= piece.len() as u64;
                    Poll::Ready(Some(Ok(Frame::data(piece))))
                }
                Some(_) => this.fail(io::Error::other("the content is longer than its entry says")),
                None => this.fail(io::Error::other("the content is shorter than its entry says")),
            };
        }
    }

    fn is_end_stream(&self) -> bool {
        self.left == 0
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http_body_util::BodyExt;
    use std::io::{Seek, Write};

    #[tokio::test]
    async fn files_come_whole_and_what_is_too_short_or_too_long_fails() {
        let content: Vec<u8> = (0..3 * PIECE + 17).map(|i| (i % 251) as u8).collect();
        let body = |len: usize| {
            let mut file = tempfile::tempfile().unwrap();
            file.write_all(&content).unwrap();
            file.rewind().unwrap();
            Outgoing::new(cache_core::Body::File { file, len: len as u64, path: None }, len as u64)
        };
        let collect =
            |body: Outgoing| async { body.collect().await.map(http_body_util::Collected::to_bytes) };
        assert_eq!(collect(body(content.len())).await.unwrap(), content);
        assert!(collect(body(content.len() + 1)).await.is_err());
        let bytes = |announced| Outgoing::new(cache_core::Body::Bytes(Bytes::from_static(b"abc")), announced);
        assert_eq!(collect(bytes(3)).await.unwrap(), "abc");
        assert!(collect(bytes(2)).await.is_err());
        assert!(collect(bytes(4)).await.is_err());
        assert_eq!(collect(bytes(0)).await.unwrap(), "");
    }
}

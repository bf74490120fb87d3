//! Content on its way to a client.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use futures_core::Stream;
use http_body::{Frame, SizeHint};
use tokio::task::JoinHandle;

use crate::sendfile::{Hope, STRETCH};

/// Bytes that are read from a file at a time. More does not stay in the processor's cache until it is sent, and each request
/// under way holds up to two pieces: one that is being sent, and the next.
pub(crate) const PIECE: usize = 128 << 10;

/// A stored content as the body of an answer: exactly as long as announced, or an error that cuts the connection off.
pub(crate) struct Outgoing {
    source: Source,
    left: u64,
    spare: Arc<Spare>,
    /// Through which the files themselves may be sent.
    hope: Option<Hope>,
}

enum Source {
    Bytes(Bytes),
    Stream(Pin<Box<dyn Stream<Item = cache_core::Result<Bytes>> + Send>>),
    /// A file, and where the next piece is in it.
    File(Arc<File>, u64),
    /// A piece that is waited for, and the file.
    Reading(JoinHandle<io::Result<Vec<u8>>>, Arc<File>, u64),
    End,
}

/// The memory of a piece that is sent, for the next one: fresh memory takes longer to get than a piece takes to read.
#[derive(Default)]
struct Spare(Mutex<Option<Vec<u8>>>);

/// A piece on its way.
struct Piece {
    bytes: Vec<u8>,
    home: Arc<Spare>,
}

impl Spare {
    fn take(&self) -> Vec<u8> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take().unwrap_or_default()
    }
}

impl AsRef<[u8]> for Piece {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Drop for Piece {
    fn drop(&mut self) {
        let bytes = std::mem::take(&mut self.bytes);
        *self.home.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(bytes);
    }
}

impl Outgoing {
    /// Returns the body for `content` of `len` bytes.
    pub(crate) fn new(content: cache_core::Body, len: u64) -> Self {
        let source = match content {
            cache_core::Body::Bytes(bytes) => Source::Bytes(bytes),
            cache_core::Body::File { mut file, .. } => match file.stream_position() {
                Ok(at) => Source::File(Arc::new(file), at),
                // What has no position is no file that a store keeps.
                Err(_) => Source::End,
            },
            cache_core::Body::Stream(stream) => Source::Stream(stream),
        };
        Self { source, left: len, spare: Arc::default(), hope: None }
    }

    /// Returns the same body, and what `response` has to carry so that a file can be sent without being read.
    pub(crate) fn hoping(mut self) -> (Self, Option<Hope>) {
        if matches!(self.source, Source::File(..)) {
            self.hope = Some(Hope::new(self.left));
        }
        let hope = self.hope.clone();
        (self, hope)
    }

    fn fail(&mut self, error: io::Error) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        tracing::warn!(%error, "a download was cut off");
        self.source = Source::End;
        Poll::Ready(Some(Err(error)))
    }

    fn piece(&self, bytes: Vec<u8>) -> Bytes {
        Bytes::from_owner(Piece { bytes, home: Arc::clone(&self.spare) })
    }

    /// Returns what stands for the next stretch of a file, if that can be sent as it is, and without waiting for a disk.
    fn stretch(&self, file: &Arc<File>, at: u64) -> Option<Bytes> {
        let lane = self.hope.as_ref()?.lane()?;
        let len = usize::try_from(self.left).unwrap_or(STRETCH).min(STRETCH);
        let mut byte = [0];
        // What lies between its ends was read with them.
        for at in [at, at + len as u64 - 1] {
            read_now(file, at, &mut byte)?;
        }
        lane.stretch(file, at, len)
    }

    /// Reads the next piece of a file: here and now if the system has it in memory, else where waiting hinders nobody.
    fn read(&self, file: Arc<File>, at: u64) -> (Source, Option<Bytes>) {
        if let Some(stretch) = self.stretch(&file, at) {
            return (Source::File(file, at + stretch.len() as u64), Some(stretch));
        }
        let len = usize::try_from(self.left).unwrap_or(PIECE).min(PIECE);
        let mut bytes = self.spare.take();
        bytes.resize(len, 0);
        if let Some(there) = read_now(&file, at, &mut bytes) {
            bytes.truncate(there);
            return (Source::File(file, at + there as u64), Some(self.piece(bytes)));
        }
        let from = Arc::clone(&file);
        let task = tokio::task::spawn_blocking(move || read(&from, at, bytes));
        (Source::Reading(task, file, at), None)
    }
}

fn read(mut file: &File, at: u64, mut bytes: Vec<u8>) -> io::Result<Vec<u8>> {
    file.seek(SeekFrom::Start(at))?;
    file.read_exact(&mut bytes)?;
    Ok(bytes)
}

/// Reads what is in the page cache at `at`, and returns how much that is; nothing if one has to wait for it, or it cannot be
/// known.
#[cfg(target_os = "linux")]
fn read_now(file: &File, at: u64, bytes: &mut [u8]) -> Option<usize> {
    use rustix::io::{ReadWriteFlags, preadv2};
    let mut slices = [io::IoSliceMut::new(bytes)];
    preadv2(file, &mut slices, at, ReadWriteFlags::NOWAIT).ok().filter(|there| *there > 0)
}

#[cfg(not(target_os = "linux"))]
fn read_now(_: &File, _: u64, _: &mut [u8]) -> Option<usize> {
    None
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
                // In pieces as well: how fast they go tells how fast they are read.
                Source::Bytes(bytes) => {
                    Some(bytes.split_to(bytes.len().min(PIECE))).filter(|bytes| !bytes.is_empty())
                }
                Source::Stream(stream) => match ready!(stream.as_mut().poll_next(cx)).transpose() {
                    Ok(piece) => piece,
                    Err(error) => return this.fail(io::Error::other(error)),
                },
                Source::File(..) => {
                    let Source::File(file, at) = std::mem::replace(&mut this.source, Source::End) else {
                        continue;
                    };
                    let (source, piece) = this.read(file, at);
                    this.source = source;
                    match piece {
                        Some(piece) => Some(piece),
                        None => continue,
                    }
                }
                Source::Reading(task, file, at) => {
                    match ready!(Pin::new(task).poll(cx)).map_err(io::Error::other).flatten() {
                        Ok(bytes) => {
                            this.source = Source::File(Arc::clone(file), *at + bytes.len() as u64);
                            Some(this.piece(bytes))
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

    #[tokio::test]
    async fn what_has_to_be_waited_for_comes_as_well() {
        let content: Vec<u8> = (0..2 * PIECE + 5).map(|i| (i % 249) as u8).collect();
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(b"before").unwrap();
        file.write_all(&content).unwrap();
        let file = Arc::new(file);
        let from = Arc::clone(&file);
        let waiting = tokio::task::spawn_blocking(move || read(&from, 6, vec![0; PIECE]));
        let body = Outgoing {
            source: Source::Reading(waiting, file, 6),
            ..Outgoing::new(cache_core::Body::Bytes(Bytes::new()), content.len() as u64)
        };
        assert_eq!(body.collect().await.unwrap().to_bytes(), content);
    }
}

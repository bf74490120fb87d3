//! Files that go from the page cache into a socket, and are not read by anybody in between.
//!
//! hyper sends bytes, and knows no files. In place of a stretch of a file it is given as many bytes of [`BLANK`]: memory that
//! means nothing, and that the connection knows by its address. Where hyper would write those bytes, the connection lets the
//! system send the file (`sendfile`).
//!
//! Nobody is ever sent blank bytes. They can only be written by who copied them first, and whoever copies them lets go of
//! the originals before: what is let go and was not sent by `sendfile` breaks the connection, which then writes nothing more.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::task::{Context, Poll, ready};

use axum::response::Response;
use bytes::Bytes;
use http::header::CONTENT_LENGTH;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::listen::Stream;

/// Bytes of a file that are sent at a time, at most.
pub(crate) const STRETCH: usize = 256 << 10;

/// What hyper holds in place of a file. It is never read and takes no memory.
static BLANK: [u8; STRETCH] = [0; STRETCH];

/// What a body and the connection that it is sent through share: the stretches of files that were given to hyper.
#[derive(Debug, Default)]
pub(crate) struct Lane {
    stretches: Mutex<VecDeque<Arc<Stretch>>>,
    broken: AtomicBool,
}

#[derive(Debug)]
struct Stretch {
    file: Arc<File>,
    at: u64,
    len: usize,
    sent: AtomicUsize,
}

/// The blank bytes for a stretch.
struct Blank {
    stretch: Arc<Stretch>,
    lane: Arc<Lane>,
}

impl Lane {
    /// Returns bytes that stand for `len` bytes of `file` from `at` on, if that is no more than [`STRETCH`]. They must go to
    /// the connection of this lane, unread, and in the order in which they were asked for.
    pub(crate) fn stretch(self: &Arc<Self>, file: &Arc<File>, at: u64, len: usize) -> Option<Bytes> {
        if len > STRETCH {
            return None;
        }
        let stretch = Arc::new(Stretch { file: Arc::clone(file), at, len, sent: AtomicUsize::new(0) });
        self.stretches().push_back(Arc::clone(&stretch));
        Some(Bytes::from_owner(Blank { stretch, lane: Arc::clone(self) }))
    }

    fn stretches(&self) -> std::sync::MutexGuard<'_, VecDeque<Arc<Stretch>>> {
        self.stretches.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn check(&self) -> io::Result<()> {
        if self.broken.load(Ordering::Acquire) {
            return Err(io::Error::other(
                "a part of a file was to be sent by other means than it was meant for",
            ));
        }
        Ok(())
    }

    /// Returns the stretch whose rest `bytes` stand for; nothing if they are bytes like any others.
    fn find(&self, bytes: &[u8]) -> io::Result<Option<Arc<Stretch>>> {
        if !BLANK.as_ptr_range().contains(&bytes.as_ptr()) {
            return Ok(None);
        }
        let skipped = bytes.as_ptr().addr() - BLANK.as_ptr().addr();
        let next = self.stretches().front().cloned();
        let right = next
            .filter(|next| next.sent.load(Ordering::Acquire) == skipped && next.len - skipped == bytes.len());
        right.map(Some).ok_or_else(|| {
            io::Error::other("parts of files were to be sent in another order than they were given")
        })
    }

    /// Counts `len` bytes of `stretch`, which is the first one, as sent.
    fn count(&self, stretch: &Stretch, len: usize) {
        if stretch.sent.fetch_add(len, Ordering::AcqRel) + len == stretch.len {
            self.stretches().pop_front();
        }
    }
}

impl AsRef<[u8]> for Blank {
    fn as_ref(&self) -> &[u8] {
        &BLANK[..self.stretch.len]
    }
}

impl Drop for Blank {
    fn drop(&mut self) {
        if self.stretch.sent.load(Ordering::Acquire) < self.stretch.len {
            self.lane.broken.store(true, Ordering::Release);
        }
    }
}

/// By which a body learns what it is sent through. It is an extension of the answer.
#[derive(Clone, Debug)]
pub(crate) struct Hope {
    lane: Arc<OnceLock<Arc<Lane>>>,
    len: u64,
}

impl Hope {
    /// Returns the hope of a body of `len` bytes.
    pub(crate) fn new(len: u64) -> Self {
        Self { lane: Arc::default(), len }
    }

    /// Returns the lane, if the answer goes through one.
    pub(crate) fn lane(&self) -> Option<&Arc<Lane>> {
        self.lane.get()
    }

    /// Lets `response` go through `lane` if its body hopes for one and is as it was made: something that is compressed on its way
    /// has another length, or none.
    pub(crate) fn fulfil(response: &Response, lane: &Arc<Lane>) {
        let Some(hope) = response.extensions().get::<Self>() else { return };
        let len = response.headers().get(CONTENT_LENGTH).and_then(|len| len.to_str().ok()?.parse().ok());
        if cfg!(target_os = "linux") && len == Some(hope.len) {
            let _ = hope.lane.set(Arc::clone(lane));
        }
    }
}

/// A connection in clear text that sends the files of its lane.
#[derive(Debug)]
pub(crate) struct Direct {
    stream: Stream,
    lane: Arc<Lane>,
}

impl Direct {
    pub(crate) fn new(stream: Stream) -> Self {
        Self { stream, lane: Arc::default() }
    }

    pub(crate) fn lane(&self) -> Arc<Lane> {
        Arc::clone(&self.lane)
    }
}

impl AsyncRead for Direct {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_read(cx, buf)
    }
}

impl AsyncWrite for Direct {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(cx, &[IoSlice::new(buf)])
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        this.lane.check()?;
        // What comes before the first stretch goes first.
        for (before, bytes) in bufs.iter().enumerate() {
            if bytes.is_empty() {
                continue;
            }
            let Some(stretch) = this.lane.find(bytes)? else { continue };
            if bufs[..before].iter().any(|bytes| !bytes.is_empty()) {
                return Pin::new(&mut this.stream).poll_write_vectored(cx, &bufs[..before]);
            }
            let sent = stretch.sent.load(Ordering::Acquire);
            let len =
                ready!(this.stream.poll_send_file(cx, &stretch.file, stretch.at + sent as u64, bytes.len()))?;
            this.lane.count(&stretch, len);
            return Poll::Ready(Ok(len));
        }
        Pin::new(&mut this.stream).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
#[cfg(target_os = "linux")]
mod tests {
    use std::io::Write as _;

    use bytes::Buf;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::{TcpListener, TcpStream, UnixStream};

    use super::*;

    fn content() -> Vec<u8> {
        (0..3 * STRETCH).map(|i| (i % 251) as u8).collect()
    }

    fn file() -> Arc<File> {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(&content()).unwrap();
        Arc::new(file)
    }

    async fn tcp() -> (Direct, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        (Direct::new(Stream::Tcp(listener.accept().await.unwrap().0)), client)
    }

    /// Writes a head, two stretches and a tail, and returns what arrives.
    async fn through(mut server: Direct, mut client: impl AsyncRead + Unpin) -> Vec<u8> {
        let (file, lane) = (file(), server.lane());
        let first = lane.stretch(&file, 7, STRETCH).unwrap();
        let second = lane.stretch(&file, 7 + STRETCH as u64, 1000).unwrap();
        let mut bytes = Bytes::from_static(b"head").chain(first).chain(second).chain(&b"tail"[..]);
        let write = async {
            server.write_all_buf(&mut bytes).await.unwrap();
            server.shutdown().await.unwrap();
        };
        let mut arrived = Vec::new();
        let (read, ()) = tokio::join!(client.read_to_end(&mut arrived), write);
        read.unwrap();
        drop(bytes);
        lane.check().unwrap();
        arrived
    }

    #[tokio::test]
    async fn the_file_arrives_between_what_is_around_it() {
        let expected = [b"head", &content()[7..][..STRETCH + 1000], b"tail"].concat();
        let (server, client) = tcp().await;
        assert!(through(server, client).await == expected);
        let (server, client) = UnixStream::pair().unwrap();
        assert!(through(Direct::new(Stream::Unix(server)), client).await == expected);
    }

    #[tokio::test]
    async fn blank_bytes_are_never_written() {
        let file = file();
        // Copied, and sent as other bytes are.
        let (mut server, mut client) = tcp().await;
        let stretch = server.lane().stretch(&file, 0, 100).unwrap();
        let copy = stretch.to_vec();
        drop(stretch);
        server.write_all(&copy).await.unwrap_err();
        drop(server);
        assert_eq!(client.read_to_end(&mut Vec::new()).await.unwrap(), 0);
        // In another order than they were made, or not from where the last one ended.
        let (mut server, _client) = tcp().await;
        let first = server.lane().stretch(&file, 0, 100).unwrap();
        let second = server.lane().stretch(&file, 100, 50).unwrap();
        server.write_all(&second).await.unwrap_err();
        server.write_all(&first[1..]).await.unwrap_err();
        server.write_all(&first[..99]).await.unwrap_err();
        server.write_all(&first).await.unwrap();
        server.write_all(&second).await.unwrap();
        // To another connection.
        let (mut other, _client) = tcp().await;
        let stretch = server.lane().stretch(&file, 0, 100).unwrap();
        other.write_all(&stretch).await.unwrap_err();
    }

    #[tokio::test]
    async fn a_file_that_was_cut_off_ends_the_connection() {
        let (mut server, mut client) = tcp().await;
        let file = file();
        let mut stretch = server.lane().stretch(&file, 3 * STRETCH as u64 - 10, 100).unwrap();
        let error = server.write_all_buf(&mut stretch).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
        drop(server);
        assert_eq!(client.read_to_end(&mut Vec::new()).await.unwrap(), 10);
    }
}

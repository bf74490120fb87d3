//! Several listeners as one.

use std::fs::File;
use std::future::poll_fn;
use std::io;
use std::net::IpAddr;
#[cfg(target_os = "linux")]
use std::os::unix::fs::FileExt;
use std::pin::Pin;
#[cfg(target_os = "linux")]
use std::task::ready;
use std::task::{Context, Poll};

#[cfg(target_os = "linux")]
use rustix::{fs::sendfile, io::Errno};
#[cfg(target_os = "linux")]
use tokio::io::Interest;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
#[cfg(unix)]
use tokio::net::UnixStream;
use tokio::net::{TcpListener, TcpStream};

use super::Listen;
#[cfg(unix)]
use super::socket_file::SocketFile;
use crate::ServerError;

/// What the system says where it cannot send from such a file.
#[cfg(target_os = "linux")]
const CANNOT: [Option<Errno>; 3] = [Some(Errno::INVAL), Some(Errno::NOSYS), Some(Errno::OPNOTSUPP)];
/// Bytes that are copied at a time there.
#[cfg(target_os = "linux")]
const COPIED: usize = 64 << 10;

/// All that a server listens on.
#[derive(Debug)]
pub(crate) struct Listeners {
    all: Vec<Listener>,
    addresses: Vec<Listen>,
    /// Which one is asked first, a different one each time: none is starved by a busy one.
    first: usize,
}

#[derive(Debug)]
enum Listener {
    Tcp(TcpListener),
    #[cfg(unix)]
    Unix(SocketFile),
}

/// A connection that was accepted.
#[derive(Debug)]
pub(crate) enum Stream {
    Tcp(TcpStream),
    #[cfg(unix)]
    Unix(UnixStream),
}

impl Listeners {
    /// Listens on all of `places`, of which there is at least one, or on none.
    pub(crate) async fn bind(places: &[Listen]) -> Result<Self, ServerError> {
        let (mut all, mut addresses) = (Vec::new(), Vec::new());
        for place in places {
            let failed = |source| ServerError::Listen { address: place.clone(), source };
            match place {
                Listen::Tcp(address) => {
                    let listener = TcpListener::bind(address).await.map_err(failed)?;
                    addresses.push(listener.local_addr().map_err(failed)?.into());
                    all.push(Listener::Tcp(listener));
                }
                #[cfg(unix)]
                Listen::Unix(path) => {
                    all.push(Listener::Unix(SocketFile::bind(path).await?));
                    addresses.push(place.clone());
                }
                #[cfg(not(unix))]
                Listen::Unix(_) => return Err(failed(io::ErrorKind::Unsupported.into())),
            }
        }
        Ok(Self { all, addresses, first: 0 })
    }

    /// Returns where they listen, with the ports that were taken.
    pub(crate) fn addresses(&self) -> &[Listen] {
        &self.addresses
    }

    /// Returns the next connection, and the address of who made it: loopback for Unix sockets.
    ///
    /// # Cancel safety
    /// Dropping the future loses no connection.
    pub(crate) async fn accept(&mut self) -> io::Result<(Stream, IpAddr)> {
        poll_fn(|cx| {
            let count = self.all.len();
            for at in (0..count).map(|turn| (self.first + turn) % count) {
                if let Poll::Ready(accepted) = self.all[at].poll_accept(cx) {
                    self.first = (at + 1) % count;
                    return Poll::Ready(accepted);
                }
            }
            Poll::Pending
        })
        .await
    }
}

impl Listener {
    fn poll_accept(&self, cx: &mut Context<'_>) -> Poll<io::Result<(Stream, IpAddr)>> {
        match self {
            Self::Tcp(listener) => listener.poll_accept(cx).map_ok(|(stream, peer)| {
                // Answers are small and somebody waits for each; that they may come late is no reason to refuse.
                let _ = stream.set_nodelay(true);
                (Stream::Tcp(stream), peer.ip().to_canonical())
            }),
            #[cfg(unix)]
            Self::Unix(file) => file
                .listener()
                .poll_accept(cx)
                .map_ok(|(stream, _)| (Stream::Unix(stream), std::net::Ipv4Addr::LOCALHOST.into())),
        }
    }
}

impl Stream {
    /// Waits for the first byte and returns it, and leaves it to be read; nothing at the end, and for Unix sockets.
    ///
    /// # Cancel safety
    /// Dropping the future loses nothing.
    pub(crate) async fn first_byte(&self) -> io::Result<Option<u8>> {
        match self {
            Self::Tcp(stream) => {
                let mut first = [0];
                let len = stream.peek(&mut first).await?;
                Ok((len > 0).then_some(first[0]))
            }
            #[cfg(unix)]
            Self::Unix(_) => Ok(None),
        }
    }

    /// Lets the system send up to `len` bytes of `file` from `at` on, and returns how many it took.
    #[cfg(target_os = "linux")]
    pub(crate) fn poll_send_file(
        &mut self,
        cx: &mut Context<'_>,
        file: &File,
        at: u64,
        len: usize,
    ) -> Poll<io::Result<usize>> {
        loop {
            ready!(match self {
                Self::Tcp(it) => it.poll_write_ready(cx),
                Self::Unix(it) => it.poll_write_ready(cx),
            })?;
            let from = &mut { at };
            let sent = match self {
                Self::Tcp(it) => it.try_io(Interest::WRITABLE, || Ok(sendfile(&*it, file, Some(from), len)?)),
                Self::Unix(it) => {
                    it.try_io(Interest::WRITABLE, || Ok(sendfile(&*it, file, Some(from), len)?))
                }
            };
            match sent {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Ok(0) => return Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into())),
                Err(error) if CANNOT.contains(&Errno::from_io_error(&error)) => break,
                other => return Poll::Ready(other),
            }
        }
        let mut bytes = vec![0; len.min(COPIED)];
        file.read_exact_at(&mut bytes, at)?;
        Pin::new(self).poll_write(cx, &bytes)
    }

    /// Lets the system send up to `len` bytes of `file` from `at` on, and returns how many it took.
    #[cfg(not(target_os = "linux"))]
    pub(crate) fn poll_send_file(
        &mut self,
        _: &mut Context<'_>,
        _: &File,
        _: u64,
        _: usize,
    ) -> Poll<io::Result<usize>> {
        Poll::Ready(Err(io::ErrorKind::Unsupported.into()))
    }

    /// Sends what can be sent without waiting, or nothing.
    pub(crate) fn try_write(&self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Tcp(stream) => stream.try_write(bytes),
            #[cfg(unix)]
            Self::Unix(stream) => stream.try_write(bytes),
        }
    }
}

/// Calls a method of the stream that it is.
macro_rules! either {
    ($stream:expr, $it:ident => $call:expr) => {
        match $stream.get_mut() {
            Stream::Tcp($it) => $call,
            #[cfg(unix)]
            Stream::Unix($it) => $call,
        }
    };
}

impl AsyncRead for Stream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        either!(self, it => Pin::new(it).poll_read(cx, buf))
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        either!(self, it => Pin::new(it).poll_write(cx, buf))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        either!(self, it => Pin::new(it).poll_write_vectored(cx, bufs))
    }

    fn is_write_vectored(&self) -> bool {
        match self {
            Self::Tcp(stream) => stream.is_write_vectored(),
            #[cfg(unix)]
            Self::Unix(stream) => stream.is_write_vectored(),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        either!(self, it => Pin::new(it).poll_flush(cx))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        either!(self, it => Pin::new(it).poll_shutdown(cx))
    }
}

//! One connection of the load generator: a request, its answer, the next request.

use std::io::{self, IoSlice, Read, Write};
use std::net::SocketAddr;
use std::time::Instant;

use mio::net::TcpStream;

use crate::content::{Contents, TAIL};
use crate::{Method, Result};

/// Longest header of an answer, in bytes.
const MAX_HEADER: usize = 4 << 10;

pub(crate) struct Connection {
    pub(crate) stream: TcpStream,
    pub(crate) started: Instant,
    head: String,
    tail: [u8; TAIL],
    state: State,
    header: Vec<u8>,
}

enum State {
    Idle,
    /// So many bytes of the request are sent.
    Sending(usize),
    Header,
    /// So many bytes of the answer are still to come.
    Body(u64),
}

/// What a request is made of.
pub(crate) struct Work<'a> {
    pub(crate) method: Method,
    pub(crate) contents: &'a Contents,
}

impl Connection {
    pub(crate) fn open(address: SocketAddr) -> Result<Self> {
        // Blocking until it is there: connecting is not what is measured.
        let stream = std::net::TcpStream::connect(address)?;
        stream.set_nonblocking(true)?;
        stream.set_nodelay(true)?;
        Ok(Self {
            stream: TcpStream::from_std(stream),
            started: Instant::now(),
            head: String::with_capacity(256),
            tail: [0; TAIL],
            state: State::Idle,
            header: Vec::with_capacity(MAX_HEADER),
        })
    }

    pub(crate) fn is_idle(&self) -> bool {
        matches!(self.state, State::Idle)
    }

    /// Begins the request for the content `number`.
    pub(crate) fn begin(&mut self, work: &Work<'_>, number: u64) -> Result<()> {
        use std::fmt::Write as _;
        self.head.clear();
        self.head.push_str(work.method.name());
        self.head.push(' ');
        work.contents.path(number, &mut self.head);
        self.head.push_str(" HTTP/1.1\r\nHost: bench\r\n");
        if work.method == Method::Put {
            let _ = write!(self.head, "Content-Length: {}\r\n", work.contents.size);
        }
        self.head.push_str("\r\n");
        self.tail = Contents::tail(number);
        self.header.clear();
        self.state = State::Sending(0);
        self.started = Instant::now();
        self.send(work)
    }

    /// Sends as much of the request as goes.
    pub(crate) fn send(&mut self, work: &Work<'_>) -> Result<()> {
        let State::Sending(mut sent) = self.state else { return Ok(()) };
        let head = self.head.as_bytes();
        let body = if work.method == Method::Put { work.contents.head() } else { &[] };
        let tail = if work.method == Method::Put { &self.tail[..] } else { &[] };
        let total = head.len() + body.len() + tail.len();
        while sent < total {
            let mut skip = sent;
            let slices = [head, body, tail].map(|part| {
                let part_skip = skip.min(part.len());
                skip -= part_skip;
                IoSlice::new(&part[part_skip..])
            });
            match self.stream.write_vectored(&slices) {
                Ok(0) => return Err("the server closed the connection".into()),
                Ok(bytes) => sent += bytes,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.state = State::Sending(sent);
                    return Ok(());
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error.into()),
            }
        }
        self.state = State::Header;
        Ok(())
    }

    /// Reads what is there of the answer. Returns whether that was the end of it.
    pub(crate) fn receive(&mut self, work: &Work<'_>, buffer: &mut [u8]) -> Result<bool> {
        loop {
            let got = match self.stream.read(buffer) {
                Ok(0) => return Err("the server closed the connection".into()),
                Ok(bytes) => bytes,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(false),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error.into()),
            };
            let left = match self.state {
                State::Body(left) => left.checked_sub(got as u64).ok_or("the answer is too long")?,
                State::Header => match self.take_header(work, &buffer[..got])? {
                    Some(left) => left,
                    None => return Ok(false),
                },
                State::Sending(_) | State::Idle => {
                    let text = String::from_utf8_lossy(&buffer[..got.min(200)]).into_owned();
                    return Err(format!("an answer that nobody waited for: {text}").into());
                }
            };
            if left == 0 {
                self.state = State::Idle;
                return Ok(true);
            }
            self.state = State::Body(left);
            // A read that is not full was the last for now: epoll tells when there is more.
            if got < buffer.len() {
                return Ok(false);
            }
        }
    }

    /// Returns how many bytes of the body are still to come, once the header is there.
    fn take_header(&mut self, work: &Work<'_>, bytes: &[u8]) -> Result<Option<u64>> {
        // Nearly always all of it is in the first read, and nothing has to be kept.
        if self.header.is_empty()
            && let Some(end) = end_of_header(bytes)
        {
            let body = (bytes.len() - end) as u64;
            return Ok(Some(length(work, &bytes[..end])?.checked_sub(body).ok_or("the answer is too long")?));
        }
        self.header.extend_from_slice(bytes);
        match end_of_header(&self.header) {
            Some(end) => {
                let body = (self.header.len() - end) as u64;
                let length = length(work, &self.header[..end])?;
                Ok(Some(length.checked_sub(body).ok_or("the answer is too long")?))
            }
            None if self.header.len() > MAX_HEADER => Err("the header of the answer is too long".into()),
            None => Ok(None),
        }
    }
}

fn end_of_header(bytes: &[u8]) -> Option<usize> {
    let at = bytes.windows(4).take(MAX_HEADER).position(|four| four == b"\r\n\r\n")?;
    Some(at + 4)
}

/// Returns the length of the body, if the answer is the one that is wanted.
fn length(work: &Work<'_>, header: &[u8]) -> Result<u64> {
    let text = str::from_utf8(header).map_err(|_| "the header of the answer is not text")?;
    let mut lines = text.split("\r\n");
    let status = lines.next().and_then(|line| line.split(' ').nth(1)).unwrap_or_default();
    let length = lines
        .filter_map(|line| line.split_once(':'))
        .find(|(name, _)| name.eq_ignore_ascii_case("content-length"))
        .and_then(|(_, value)| value.trim().parse().ok());
    let length = length.or_else(|| (status == "204").then_some(0));
    match (work.method, status, length) {
        (Method::Get, "200", Some(length)) if length == work.contents.size as u64 => Ok(length),
        (Method::Put, "200" | "201" | "204", Some(length)) => Ok(length),
        _ => Err(format!("a {} was answered:\n{text}", work.method.name()).into()),
    }
}

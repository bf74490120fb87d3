//! Connections that do nothing are closed, and those whose client does too little.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep, sleep_until};

use crate::answers::Answers;

/// Bytes until it is known which version of HTTP a client speaks. Before them, no other timeout counts.
const PREFACE: u64 = 24;

/// A connection that fails when no byte went in either direction for some time, when its client has not even begun to ask, or
/// when it reads an answer too slowly.
#[derive(Debug)]
pub(crate) struct Idle<S> {
    stream: S,
    /// How long nothing may happen.
    patience: Duration,
    /// When the first bytes must be there.
    begun_by: Instant,
    last: Instant,
    read: u64,
    answers: Answers,
    alarm: Pin<Box<Sleep>>,
}

impl<S> Idle<S> {
    pub(crate) fn new(stream: S, header: Duration, idle: Duration, answers: Answers) -> Self {
        let now = Instant::now();
        let alarm = Box::pin(sleep_until(now + header.min(idle)));
        Self { stream, patience: idle, begun_by: now + header, last: now, read: 0, answers, alarm }
    }

    fn deadline(&self) -> Instant {
        let idle = self.last + self.patience;
        if self.read < PREFACE { idle.min(self.begun_by) } else { idle }
    }

    /// Fails if it is too late. The alarm is put off only when it rings: bytes come far more often.
    fn check(&mut self, cx: &mut Context<'_>) -> Poll<io::Error> {
        if let Some(answer) = self.answers.deadline()
            && answer < self.alarm.deadline()
        {
            self.alarm.as_mut().reset(answer);
        }
        while self.alarm.as_mut().poll(cx).is_ready() {
            let (deadline, now) = (self.deadline(), Instant::now());
            let late = |what| Poll::Ready(io::Error::new(io::ErrorKind::TimedOut, what));
            if self.answers.are_late(now) {
                return late("an answer was read too slowly");
            }
            if deadline <= now {
                return late("nothing was sent or received for too long");
            }
            let answer = self.answers.deadline();
            self.alarm.as_mut().reset(answer.map_or(deadline, |answer| answer.min(deadline)));
        }
        Poll::Pending
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Idle<S> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = buf.filled().len();
        match Pin::new(&mut this.stream).poll_read(cx, buf) {
            Poll::Ready(result) => {
                this.read += (buf.filled().len() - before) as u64;
                this.last = Instant::now();
                Poll::Ready(result)
            }
            Poll::Pending => this.check(cx).map(Err),
        }
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Idle<S> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        match Pin::new(&mut this.stream).poll_write(cx, buf) {
            Poll::Ready(result) => {
                this.last = Instant::now();
                Poll::Ready(result)
            }
            Poll::Pending => this.check(cx).map(Err),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        match Pin::new(&mut this.stream).poll_write_vectored(cx, bufs) {
            Poll::Ready(result) => {
                this.last = Instant::now();
                Poll::Ready(result)
            }
            Poll::Pending => this.check(cx).map(Err),
        }
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

//! A blob on its way here: resumed where it broke off, and proved at its end.

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use cache_core::coding::{Coding, Decoder};
use cache_core::{Body, Digest, Error, Hasher, Result};
use futures_util::stream::try_unfold;
use reqwest::header::{ACCEPT_ENCODING, CONTENT_RANGE, ETAG, HeaderMap, HeaderValue, IF_RANGE, RANGE};
use reqwest::{Method, StatusCode};
use tokio::time::{Instant, timeout};

use crate::coded::MAX_WINDOW;
use crate::failure::Failure;
use crate::server::{Answer, Question, Server};

/// What is downloaded.
pub(crate) struct Blob {
    pub(crate) digest: Digest,
    pub(crate) path: String,
    /// Its length, if that is known and the server may not say it.
    pub(crate) len: Option<u64>,
    /// How the server may code all of it.
    pub(crate) coding: Option<Coding>,
}

/// The content of a blob that arrives, from a position to a position.
pub(crate) struct Download {
    server: Arc<Server>,
    path: String,
    answer: Answer,
    /// What makes it out of the answer, if that is coded.
    decoder: Option<Decoder>,
    /// What came at the position together with bytes before it.
    surplus: Bytes,
    /// A strong validator: what has it is byte for byte the same.
    etag: Option<HeaderValue>,
    /// Position of the next byte that arrives.
    at: u64,
    /// Where the content ends, if the server says so.
    end: Option<u64>,
    /// The part that is wanted. Everything else arrives to be verified, or because the server cannot do ranges.
    wanted: Range<u64>,
    proof: Option<(Digest, Hasher)>,
    /// What arrived last. It is handed on when it is known to be right, or not to be the end.
    held: Option<Bytes>,
    /// Time spent on waiting for the server.
    waited: Duration,
    arrived: u64,
    resumed: u32,
    done: bool,
}

/// Where a body begins and ends: positions in the blob, as far as they are known.
struct Extent {
    start: u64,
    end: Option<u64>,
}

impl Download {
    /// Returns the download of the `wanted` part of `blob`, or nothing if it is not there. Unless `partial`, all of the blob is
    /// fetched and verified.
    ///
    /// # Cancel safety
    /// Dropping the future closes the connection.
    pub(crate) async fn begin(
        server: &Arc<Server>,
        blob: Blob,
        wanted: Range<u64>,
        partial: bool,
    ) -> Result<Option<Self>> {
        let Blob { digest, path, len, coding } = blob;
        let mut question = Question::new(Method::GET, &path);
        if partial {
            question.headers = range(wanted.start, Some(wanted.end));
        } else if let Some(coding) = coding {
            question.headers.insert(ACCEPT_ENCODING, HeaderValue::from_static(coding.name()));
        }
        let answer = server.ask(&question).await?;
        if answer.is_absence() {
            return Ok(None);
        }
        let is_beyond = partial && answer.response.status() == StatusCode::RANGE_NOT_SATISFIABLE;
        let extent = if is_beyond {
            Extent { start: wanted.start, end: Some(wanted.start) }
        } else {
            let found = extent(&answer).ok_or_else(|| server.refused(&answer.response, "GET", 0).error)?;
            Extent { end: found.end.or(len.filter(|_| answer.coding.is_some())), ..found }
        };
        if extent.start > wanted.start || (!partial && extent.start != 0) {
            return Err(server.unavailable("it sends another range than the one it was asked for"));
        }
        let limit = server.options.max_blob;
        if let Some(size) = extent.end.filter(|end| *end > limit) {
            return Err(Error::TooLarge { what: format!("the blob {digest}"), size, limit });
        }
        // What comes coded goes on as it is, and is another representation then.
        let etag = answer.response.headers().get(ETAG).filter(|_| answer.coding.is_none());
        let etag = etag.filter(|etag| !etag.as_bytes().starts_with(b"W/")).cloned();
        let decoder = answer.coding.map(|coding| Decoder::new(coding, MAX_WINDOW)).transpose();
        let decoder = decoder.map_err(|error| Error::Io {
            what: "there is no memory to decompress a blob".to_owned(),
            source: error,
        })?;
        Ok(Some(Self {
            server: Arc::clone(server),
            path,
            answer,
            decoder,
            surplus: Bytes::new(),
            etag,
            at: extent.start,
            end: extent.end,
            wanted,
            proof: (!partial).then(|| (digest, Hasher::new(digest.function()))),
            held: None,
            waited: Duration::ZERO,
            arrived: 0,
            resumed: 0,
            done: is_beyond,
        }))
    }

    /// Returns how many bytes will arrive, if that is known.
    pub(crate) fn len(&self) -> Option<u64> {
        self.end.map(|end| end.saturating_sub(self.at))
    }

    /// Returns the content as a body, which fails instead of ending early or wrong.
    pub(crate) fn into_body(self) -> Body {
        let stream = try_unfold(self, |mut download| async move {
            Ok(download.next().await?.map(|piece| (piece, download)))
        });
        Body::Stream(Box::pin(stream))
    }

    /// Returns the next piece of what is wanted.
    ///
    /// # Cancel safety
    /// Dropping the future loses nothing but the connection, if it was being resumed.
    pub(crate) async fn next(&mut self) -> Result<Option<Bytes>> {
        while !self.done {
            let Some(piece) = self.arrive().await? else {
                self.prove()?;
                self.done = true;
                break;
            };
            let start = self.at;
            self.at += piece.len() as u64;
            if let Some((_, hasher)) = &mut self.proof {
                hasher.update(&piece);
            }
            let in_piece = |position: u64| position.saturating_sub(start).min(piece.len() as u64) as usize;
            let (from, to) = (in_piece(self.wanted.start), in_piece(self.wanted.end));
            if from < to
                && let Some(before) = self.held.replace(piece.slice(from..to))
            {
                return Ok(Some(before));
            }
            if self.proof.is_none() && self.at >= self.wanted.end {
                self.done = true;
            }
        }
        Ok(self.held.take())
    }

    fn prove(&self) -> Result<()> {
        let Some((expected, hasher)) = &self.proof else { return Ok(()) };
        let found = hasher.finish();
        if found == *expected { Ok(()) } else { Err(Error::DigestMismatch { expected: *expected, found }) }
    }

    /// Returns the next bytes at the position, over as many connections as it takes.
    async fn arrive(&mut self) -> Result<Option<Bytes>> {
        loop {
            match self.receive().await {
                Ok(Some(piece)) if piece.is_empty() => {}
                Ok(Some(piece)) => {
                    self.arrived += piece.len() as u64;
                    let size = self.at + piece.len() as u64;
                    let limit = self.end.unwrap_or(self.server.options.max_blob);
                    if size > limit {
                        self.done = true;
                        return Err(Error::TooLarge {
                            what: format!("what arrives of {}", self.path),
                            size,
                            limit,
                        });
                    }
                    return Ok(Some(piece));
                }
                Ok(None) if self.end.is_none_or(|end| self.at >= end) => return Ok(None),
                Ok(None) => {
                    let failure = self.server.passing("its answer ends early");
                    self.resume(failure).await?;
                }
                Err(failure) => self.resume(failure).await?,
            }
        }
    }

    /// Returns how long the server may still be waited for: bytes that came have bought time.
    fn patience(&self) -> Duration {
        self.server.options.patience(self.arrived).saturating_sub(self.waited)
    }

    /// Returns the next bytes of the answer, as they are when they are not coded; none if more has to come first.
    async fn receive(&mut self) -> Result<Option<Bytes>, Failure> {
        if !self.surplus.is_empty() {
            return Ok(Some(std::mem::take(&mut self.surplus)));
        }
        if let Some(piece) = self.decoded()? {
            return Ok(Some(piece));
        }
        let piece = self.receive_coded().await?;
        let Some(decoder) = &mut self.decoder else { return Ok(piece) };
        match piece {
            Some(piece) => decoder.push(piece),
            None if decoder.is_open() => return Err(self.server.passing("its answer ends early")),
            None => return Ok(None),
        }
        Ok(Some(self.decoded()?.unwrap_or_default()))
    }

    /// Returns the next bytes of what came coded. What is not in its coding has another digest than it should have.
    fn decoded(&mut self) -> Result<Option<Bytes>, Failure> {
        let Some(decoder) = &mut self.decoder else { return Ok(None) };
        decoder.take().map_err(|_| {
            let is_other = |(expected, hasher): &(Digest, Hasher)| Error::DigestMismatch {
                expected: *expected,
                found: hasher.finish(),
            };
            let unreadable = || self.server.unavailable("what it compressed cannot be read");
            Failure::lasting(self.proof.as_ref().map_or_else(unreadable, is_other))
        })
    }

    async fn receive_coded(&mut self) -> Result<Option<Bytes>, Failure> {
        let patience = self.patience();
        let begin = Instant::now();
        let piece = timeout(patience.min(self.server.options.stall), self.answer.response.chunk()).await;
        self.waited += begin.elapsed();
        match piece {
            Ok(piece) => piece.map_err(|error| self.server.broken(error)),
            Err(_) if self.patience().is_zero() => {
                Err(Failure::lasting(self.server.unavailable("it sends too slowly")))
            }
            Err(_) => Err(self.server.passing("it stops sending in the middle")),
        }
    }

    /// Asks for what is left after `failure`, or returns its error if that makes no sense.
    async fn resume(&mut self, mut failure: Failure) -> Result<()> {
        while let Some(pause) = failure.again.pause(self.resumed)
            && self.resumed < self.server.options.retries
            && self.patience() > pause
            && self.server.budget.spend()
        {
            let begin = Instant::now();
            tokio::time::sleep(pause).await;
            self.resumed += 1;
            let done = self.ask_for_the_rest(begin + self.patience()).await;
            self.waited += begin.elapsed();
            match done {
                Ok(()) => return Ok(()),
                Err(next) => failure = next,
            }
        }
        self.done = true;
        Err(failure.error)
    }

    async fn ask_for_the_rest(&mut self, deadline: Instant) -> Result<(), Failure> {
        let mut question = Question::new(Method::GET, &self.path);
        if self.at > 0 {
            question.headers = range(self.at, None);
            if let Some(etag) = &self.etag {
                question.headers.insert(IF_RANGE, etag.clone());
            }
        }
        let mut answer = self.server.ask_once(&question, deadline).await?;
        let other = || {
            Failure::lasting(self.server.unavailable("it sends something else when it is asked for the rest"))
        };
        let extent = extent(&answer).ok_or_else(other)?;
        // Whatever is verified needs no validator. Without that, only the same content may go on.
        let is_same = self.proof.is_some() || (self.etag.is_some() && extent.start == self.at);
        if extent.start > self.at
            || !is_same
            || (self.end.is_some() && extent.end.is_some() && extent.end != self.end)
        {
            return Err(other());
        }
        // It cannot do ranges: what has come already comes again, and is the same, or else the digest will be wrong.
        let mut skip = self.at - extent.start;
        let mut surplus = Bytes::new();
        while skip > 0 {
            let piece = self.server.within(deadline, answer.response.chunk()).await?;
            let piece = piece.map_err(|error| self.server.broken(error))?;
            let mut piece = piece.ok_or_else(|| self.server.passing("its answer ends early"))?;
            let known = piece.len().min(usize::try_from(skip).unwrap_or(usize::MAX));
            skip -= known as u64;
            surplus = piece.split_off(known);
        }
        self.answer = answer;
        // The rest was asked for as it is: positions in what is coded mean nothing.
        self.decoder = None;
        self.surplus = surplus;
        Ok(())
    }
}

/// Returns the headers that ask for a range.
fn range(start: u64, end: Option<u64>) -> HeaderMap {
    // Positions beyond what servers can count would be refused instead of cut off.
    let last = end.filter(|end| i64::try_from(*end).is_ok()).map(|end| end.saturating_sub(1));
    let text = format!("bytes={start}-{}", last.map_or_else(String::new, |last| last.to_string()));
    HeaderValue::from_str(&text).map(|value| (RANGE, value)).into_iter().collect()
}

/// Returns which part of the blob is in the answer, or nothing if there is none of it.
fn extent(answer: &Answer) -> Option<Extent> {
    match answer.response.status() {
        StatusCode::OK => Some(Extent { start: 0, end: answer.len() }),
        StatusCode::PARTIAL_CONTENT => {
            let (start, end) = content_range(answer.response.headers().get(CONTENT_RANGE)?.to_str().ok()?)?;
            let is_whole = answer.len().is_none_or(|len| start.checked_add(len) == Some(end));
            is_whole.then_some(Extent { start, end: Some(end) })
        }
        _ => None,
    }
}

/// Returns where the range begins, and where it ends, exclusively: `bytes 2-5/100` is 2 and 6.
pub(crate) fn content_range(text: &str) -> Option<(u64, u64)> {
    let (range, _) = text.trim().strip_prefix("bytes ")?.split_once('/')?;
    let (first, last) = range.split_once('-')?;
    let (first, last) = (first.trim().parse().ok()?, last.trim().parse::<u64>().ok()?);
    (first <= last).then_some((first, last.checked_add(1)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_read_strictly() {
        assert_eq!(content_range("bytes 2-5/100"), Some((2, 6)));
        assert_eq!(content_range("bytes 0-0/*"), Some((0, 1)));
        for bad in [
            "",
            "bytes",
            "bytes */100",
            "bytes 5-2/100",
            "items 2-5/100",
            "bytes 2-18446744073709551615/9",
            "bytes -1-5/9",
        ] {
            assert_eq!(content_range(bad), None, "{bad}");
        }
        assert_eq!(range(5, Some(9))[RANGE], "bytes=5-8");
        assert_eq!(range(5, Some(u64::MAX))[RANGE], "bytes=5-");
    }
}

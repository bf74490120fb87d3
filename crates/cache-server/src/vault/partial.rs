//! Uploads that come in parts, over several requests.

use axum::BoxError;
use bytes::{Bytes, BytesMut};
use cache_core::{Digest, HashFunction};
use http::StatusCode;
use tokio::sync::watch;
use tokio::time::Instant;

use super::spool::{Expected, MEMORY, Receiving, Share, Spool, Terms, Upload, next_piece};
use crate::pace::Pace;
use crate::reply::Refusal;

/// An upload of which some bytes are there, in a file without a name. Between two parts nothing of it is in memory.
#[derive(Debug)]
pub(crate) struct Partial {
    /// Nothing, once it is finished or was lost.
    state: Option<Receiving>,
    /// Its part of the spool: all bytes that are there.
    share: Share,
    len: u64,
    digest: Digest,
    /// When the last byte came.
    pub(crate) last: Instant,
}

impl Partial {
    /// Returns how many bytes are there; nothing, if the upload is over.
    pub(crate) fn offset(&self) -> Option<u64> {
        self.state.as_ref().map(|_| self.share.bytes)
    }

    /// Returns the upload if all of its bytes are there and are what was announced. It is over then, in any case.
    pub(crate) fn finish(&mut self) -> Result<Upload, Refusal> {
        let state = self.state.take().ok_or_else(Refusal::miss)?;
        let sha256 = (self.digest.function() == HashFunction::Sha256).then_some(self.digest);
        let expected = Expected { len: Some(self.len), sha256, limit: self.len };
        let upload = state.finish(self.len, &expected, self.share.take()).map_err(|refusal| match refusal
            .status()
        {
            StatusCode::BAD_REQUEST => self.is_other(),
            _ => *refusal,
        })?;
        if self.digest.function() == HashFunction::Blake3 && upload.digest != self.digest {
            return Err(self.is_other());
        }
        Ok(upload)
    }

    fn is_other(&self) -> Refusal {
        let message =
            format!("the content does not have the digest {}; the upload is gone, begin again", self.digest);
        Refusal::new(StatusCode::UNPROCESSABLE_ENTITY, message).coded("other-digest", None)
    }
}

impl Spool {
    /// Returns an upload of `len` bytes that are to have this digest, of which nothing is there.
    pub(crate) fn begin(&self, digest: Digest, len: u64) -> Partial {
        let sha256 = (digest.function() == HashFunction::Sha256).then_some(digest);
        // Without a length, nothing is reserved: it may take long until something comes.
        let state = Some(Receiving::new(&Expected { len: None, sha256, limit: len }));
        Partial { state, share: self.share(), len, digest, last: Instant::now() }
    }

    /// Appends what arrives, until the body ends or breaks off, or somebody changes `interrupt`. What arrived stays, also
    /// if this returns an error, unless the upload is over then because it cannot be kept.
    ///
    /// # Cancel safety
    /// Dropping the future may lose the upload.
    pub(crate) async fn append<B>(
        &self,
        partial: &mut Partial,
        body: &mut B,
        interrupt: &mut watch::Receiver<()>,
    ) -> Result<(), Refusal>
    where
        B: http_body::Body<Data = Bytes> + Unpin,
        B::Error: Into<BoxError>,
    {
        let Terms { limit, patience } = self.terms();
        let (pace, mut received) = (Pace::new(patience), 0);
        loop {
            let piece = tokio::select! {
                piece = next_piece(body, pace.deadline(received)) => piece,
                _ = interrupt.changed() => Err(Refusal::new(StatusCode::CONFLICT, "")),
            };
            let state = partial.state.as_mut().ok_or_else(Refusal::miss)?;
            let end = match piece {
                Ok(Some(piece)) => {
                    received += piece.len() as u64;
                    let there = partial.share.bytes + state.buffer.len() as u64;
                    if piece.len() as u64 > partial.len - there {
                        Some(Err(Refusal::new(
                            StatusCode::BAD_REQUEST,
                            "the upload is longer than announced",
                        )))
                    } else {
                        state.buffer.extend_from_slice(&piece);
                        None
                    }
                }
                Ok(None) => Some(Ok(())),
                Err(refusal) => {
                    let message = "the part broke off; what arrived stays, ask for the offset and go on";
                    Some(Err(Refusal::new(refusal.status(), message)))
                }
            };
            if state.buffer.len() >= MEMORY || (end.is_some() && !state.buffer.is_empty()) {
                self.keep(partial, limit).await?;
            }
            if received > 0 {
                partial.last = Instant::now();
            }
            if let Some(end) = end {
                // Many uploads may wait for their next part.
                if let Some(state) = &mut partial.state {
                    state.buffer = BytesMut::new();
                }
                return end;
            }
        }
    }

    /// Writes what is in memory to the file.
    async fn keep(&self, partial: &mut Partial, limit: u64) -> Result<(), Refusal> {
        let mut state = partial.state.take().ok_or_else(Refusal::miss)?;
        if let Err(refusal) = partial.share.grow(state.buffer.len() as u64, limit) {
            state.buffer = BytesMut::new();
            partial.state = Some(state);
            return Err(refusal);
        }
        // If that fails, nobody knows what is in the file: the upload is over.
        partial.state = Some(self.write(state).await?);
        Ok(())
    }
}

//! A blob on its way from a tier to a caller: checked as it streams, gone on with elsewhere if the tier breaks off.

use std::collections::VecDeque;
use std::ops::Range;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use cache_core::{Body, Digest, Error, Hasher, Result};
use futures_core::Stream;

use crate::chain::Chain;
use crate::link::{Call, count};
use crate::promote::Kept;
use crate::turns::Urgency;

/// What is smaller than this, in bytes, is checked before the caller sees any of it, so that a wrong blob can still be
/// taken from another tier. Of larger ones the caller learns at their end.
const CHECKED_FIRST: usize = 256 << 10;

/// A body under way.
pub(crate) struct Receiving {
    chain: Arc<Chain>,
    digest: Digest,
    /// The part that the caller wants; all is read for it all the same, as only all can be checked.
    window: Range<u64>,
    body: Body,
    /// The tier that `body` is from.
    from: usize,
    /// Whether all bytes so far are from that tier.
    alone: bool,
    hasher: Hasher,
    /// What was read before the caller asked.
    ahead: VecDeque<Bytes>,
    /// What is kept for faster tiers, unless it is too much.
    keep: Option<Kept>,
    /// Deletions before this began.
    deletions: u64,
}

/// What a look at the start of a body gives.
pub(crate) enum Start {
    /// All of it, and it is right.
    Whole(Body),
    /// The start of a large one.
    Large(Box<Receiving>),
    /// Wrong bytes; they are removed already.
    Corrupt,
    /// The tier broke off, and no other could go on.
    Broken,
}

impl Receiving {
    pub(crate) fn new(
        chain: &Arc<Chain>,
        digest: &Digest,
        window: Option<Range<u64>>,
        body: Body,
        from: usize,
        deletions: u64,
        promote: bool,
    ) -> Self {
        Self {
            chain: Arc::clone(chain),
            digest: *digest,
            window: window.unwrap_or(0..u64::MAX),
            body,
            from,
            alone: true,
            hasher: Hasher::new(digest.function()),
            ahead: VecDeque::new(),
            keep: promote.then(|| Kept::new(chain)),
            deletions,
        }
    }

    /// Reads until all is there and checked, or too much to wait for.
    pub(crate) async fn start(mut self) -> Start {
        let mut read = 0;
        loop {
            match self.advance().await {
                Ok(Some(piece)) => {
                    read += piece.len();
                    self.ahead.push_back(piece);
                    if read >= CHECKED_FIRST {
                        return Start::Large(Box::new(self));
                    }
                }
                Ok(None) => return Start::Whole(joined(self.ahead.make_contiguous()).into()),
                Err(Error::DigestMismatch { .. }) => return Start::Corrupt,
                Err(_) => return Start::Broken,
            }
        }
    }

    pub(crate) fn into_body(self) -> Body {
        Body::Stream(Box::pin(Pieces { receiving: Some(self), pending: None }))
    }

    /// Returns the next piece of what the caller wants; nothing at the end, which comes only if all was right.
    async fn advance(&mut self) -> Result<Option<Bytes>> {
        loop {
            let chain = Arc::clone(&self.chain);
            match chain.link(self.from).piece(self.body.next()).await {
                Ok(Some(piece)) => {
                    let position = self.hasher.len();
                    self.hasher.update(&piece);
                    if self.keep.as_mut().is_some_and(|keep| !keep.push(&piece)) {
                        self.keep = None;
                    }
                    let cut = cut(&piece, position, &self.window);
                    if !cut.is_empty() {
                        return Ok(Some(cut));
                    }
                }
                Ok(None) => return self.end().await.map(|()| None),
                Err(error) => self.go_on_elsewhere(error).await?,
            }
        }
    }

    async fn end(&mut self) -> Result<()> {
        let found = self.hasher.finish();
        if found == self.digest {
            if let Some(kept) = self.keep.take() {
                let content = joined(&kept.take());
                self.chain.promote_blob(&self.digest, content, self.from, self.deletions);
            }
            return Ok(());
        }
        if self.alone {
            self.chain.remove_corrupt(self.from, &self.digest).await;
        } else {
            // Nobody knows which of the tiers lied; the next reader starts with another one's bytes only.
            count(&self.chain.link(self.from).counters.corrupt);
        }
        Err(Error::DigestMismatch { expected: self.digest, found })
    }

    /// Replaces the body by the rest of it from a slower tier.
    async fn go_on_elsewhere(&mut self, error: Error) -> Result<()> {
        let chain = Arc::clone(&self.chain);
        let position = self.hasher.len();
        for next in self.from + 1..chain.links.len() {
            let link = chain.link(next);
            if !link.tier.read {
                continue;
            }
            let call = Call::new("read", Urgency::Urgent);
            let rest = link.call(call, link.store().read(&self.digest, Some(position..u64::MAX))).await;
            if let Ok(Some(rest)) = rest {
                (self.body, self.from) = (rest, next);
                self.alone &= position == 0;
                return Ok(());
            }
        }
        Err(error)
    }
}

/// Returns what of `piece`, which starts at `position`, is in `window`.
pub(crate) fn cut(piece: &Bytes, position: u64, window: &Range<u64>) -> Bytes {
    let at = |end: u64| end.saturating_sub(position).min(piece.len() as u64) as usize;
    let (start, end) = (at(window.start), at(window.end));
    piece.slice(start..end.max(start))
}

fn joined(pieces: &[Bytes]) -> Bytes {
    match pieces {
        [] => Bytes::new(),
        [one] => one.clone(),
        many => many.concat().into(),
    }
}

type Next = Pin<Box<dyn Future<Output = (Receiving, Result<Option<Bytes>>)> + Send>>;

/// The stream of a [`Receiving`]. A piece that is being waited for is kept when the caller stops waiting.
struct Pieces {
    receiving: Option<Receiving>,
    pending: Option<Next>,
}

impl Stream for Pieces {
    type Item = Result<Bytes>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes>>> {
        if let Some(mut receiving) = self.receiving.take() {
            if let Some(piece) = receiving.ahead.pop_front() {
                self.receiving = Some(receiving);
                return Poll::Ready(Some(Ok(piece)));
            }
            self.pending = Some(Box::pin(async move {
                let next = receiving.advance().await;
                (receiving, next)
            }));
        }
        let Some(pending) = &mut self.pending else { return Poll::Ready(None) };
        let Poll::Ready((receiving, next)) = pending.as_mut().poll(cx) else { return Poll::Pending };
        self.pending = None;
        if matches!(next, Ok(Some(_))) {
            self.receiving = Some(receiving);
        }
        Poll::Ready(next.transpose())
    }
}

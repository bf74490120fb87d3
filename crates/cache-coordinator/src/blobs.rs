//! Blobs: read, missing, write, delete.

use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use cache_core::{Body, Digest, Error, Result};

use crate::chain::Chain;
use crate::link::{Call, count, is_answer};
use crate::receiving::{Receiving, Start, cut};
use crate::sending::Sending;
use crate::turns::Urgency;

impl Chain {
    pub(crate) async fn read_blob(
        self: &Arc<Self>,
        digest: &Digest,
        range: Option<Range<u64>>,
    ) -> Result<Option<Body>> {
        self.ensure_open()?;
        let tiers: Vec<usize> = self.readable().map(|(index, _)| index).collect();
        match self.read_from(&tiers, digest, range, Urgency::Urgent, true).await {
            (None, Some(error)) if self.strict => Err(error),
            (found, _) => Ok(found),
        }
    }

    /// Returns the blob, or a part of it, from the first of `tiers` that has it and can be believed; and what one that
    /// could not answer said.
    pub(crate) async fn read_from(
        self: &Arc<Self>,
        tiers: &[usize],
        digest: &Digest,
        range: Option<Range<u64>>,
        urgency: Urgency,
        promote: bool,
    ) -> (Option<Body>, Option<Error>) {
        let mut trouble = None;
        let deletions = self.deletions.count();
        for index in tiers.iter().copied() {
            let link = self.link(index);
            // A part cannot be checked against the digest of the whole.
            let part = range.clone().filter(|_| !link.tier.verify);
            let whole = part.is_none();
            let body = match link.call(Call::new("read", urgency), link.store().read(digest, part)).await {
                Ok(Some(body)) => body,
                Ok(None) => continue,
                Err(error) => {
                    trouble = Some(error);
                    continue;
                }
            };
            let known = match &body {
                Body::Bytes(bytes) => bytes.len() as u64,
                Body::File { len, .. } => *len,
                Body::Stream(_) => 0,
            };
            let promote = promote && whole && self.wants_blob(index, known);
            let body = match body {
                Body::Bytes(bytes) if link.tier.verify => {
                    if Digest::of(digest.function(), &bytes) != *digest {
                        self.remove_corrupt(index, digest).await;
                        trouble = Some(self.doubtful(&format!("{} gave wrong bytes", link.name())));
                        continue;
                    }
                    if promote {
                        self.promote_blob(digest, bytes.clone(), index, deletions);
                    }
                    Body::Bytes(range.map_or(bytes.clone(), |range| cut(&bytes, 0, &range)))
                }
                Body::Bytes(bytes) => {
                    if promote {
                        self.promote_blob(digest, bytes.clone(), index, deletions);
                    }
                    Body::Bytes(bytes)
                }
                Body::File { file, len, path } if !link.tier.verify => {
                    if promote {
                        self.promote_copy(digest, len, index);
                    }
                    Body::File { file, len, path }
                }
                body if link.tier.verify || promote => {
                    let window = range.clone();
                    let receiving = Receiving::new(self, digest, window, body, index, deletions, promote);
                    match receiving.start().await {
                        Start::Whole(body) => body,
                        Start::Large(rest) => rest.into_body(),
                        Start::Corrupt | Start::Broken => {
                            trouble = Some(self.doubtful(&format!("{} gave no whole blob", link.name())));
                            continue;
                        }
                    }
                }
                body => body,
            };
            return (Some(body), None);
        }
        (None, trouble)
    }

    pub(crate) async fn missing_blobs(&self, digests: &[Digest]) -> Result<Vec<Digest>> {
        self.ensure_open()?;
        let mut missing = digests.to_vec();
        let mut trouble = None;
        for (index, _) in self.readable() {
            if missing.is_empty() {
                break;
            }
            let (rest, error) = self.missing_in(index, missing, Urgency::Urgent).await;
            missing = rest;
            trouble = trouble.or(error);
        }
        match trouble {
            Some(error) if self.strict && !missing.is_empty() => Err(error),
            _ => Ok(missing),
        }
    }

    /// Stores a blob in every tier that is written through. Those written in the background get it with the entry that
    /// names it.
    pub(crate) async fn write_blob(self: &Arc<Self>, digest: &Digest, len: u64, body: Body) -> Result<()> {
        self.ensure_open()?;
        let mut sending = Sending::new(*digest, len, body);
        let (mut stored, mut refusal, mut trouble) = (None, None, None);
        for (index, link) in self.written_through() {
            if let Err(error) = link.takes(digest, len) {
                refusal = Some(error);
                continue;
            }
            let done = match self.send(index, digest, len, &mut sending, Urgency::Urgent).await {
                // The caller's body can be read but once; the tier that took it has it for the others.
                Err(_) if stored.is_some() && !sending.has_body() => {
                    self.copy_blob(index, digest, len, Urgency::Urgent).await.map(drop)
                }
                done => done,
            };
            match done {
                Ok(()) => stored = Some(index),
                Err(error) if sending.progress().has_failed() => return Err(error),
                Err(error @ (Error::DigestMismatch { .. } | Error::LengthMismatch { .. })) => {
                    if !sending.is_right().await {
                        return Err(error);
                    }
                    self.blame(index, "write", &error);
                    trouble = Some(error);
                }
                Err(error) if is_answer(&error) => refusal = Some(error),
                Err(error) => trouble = Some(error),
            }
        }
        match (stored, trouble, refusal) {
            (_, Some(error), _) if self.strict => Err(error),
            (Some(_), ..) => {
                self.unstored.remove(digest);
                Ok(())
            }
            (None, None, Some(error)) => Err(error),
            (None, None, None) if self.strict => Err(self.doubtful("none of its tiers is written")),
            (None, ..) => {
                self.unstored.insert(digest);
                count(&self.counters.unstored);
                Ok(())
            }
        }
    }

    pub(crate) async fn delete_blob(&self, digest: &Digest) -> Result<bool> {
        self.ensure_open()?;
        self.deletions.record(digest);
        // A copy that lands after its tier was asked to delete would be seen until it is taken back.
        self.deletions.no_copies(digest).await;
        self.unstored.remove(digest);
        let (mut existed, mut trouble) = (false, None);
        for link in self.links.iter().filter(|link| link.tier.write) {
            let call = Call::new("delete", Urgency::Urgent);
            match link.call(call, link.store().delete(digest)).await {
                Ok(deleted) => existed |= deleted && link.tier.read,
                Err(error) => trouble = Some(error),
            }
        }
        match trouble {
            Some(error) if self.strict => Err(error),
            _ => Ok(existed),
        }
    }

    /// Returns the bytes of a blob that is small enough to be kept on its way.
    pub(crate) fn largest_kept(&self) -> u64 {
        self.promotions.largest_blob()
    }

    /// Has a blob that is in memory copied into the tiers before `from`.
    pub(crate) fn promote_blob(
        self: &Arc<Self>,
        digest: &Digest,
        content: Bytes,
        from: usize,
        deletions: u64,
    ) {
        let len = content.len() as u64;
        if self.wants_blob(from, len) && len <= self.largest_kept() {
            self.promotions.add_blob(&self.listener, digest, content, from, deletions);
        }
    }

    /// Has a blob copied from the tier `from` into those before it.
    fn promote_copy(&self, digest: &Digest, len: u64, from: usize) {
        self.promotions.add_copy(&self.listener, digest, len, from);
    }

    /// Returns whether a blob of `len` bytes that is found in the tier `from` is copied anywhere.
    pub(crate) fn wants_blob(&self, from: usize, len: u64) -> bool {
        self.promotion_targets(from).any(|to| self.links[to].largest_blob().is_none_or(|max| len <= max))
    }

    /// Returns the tiers that what is found in the tier `from` is copied into, slowest first: what is taken from the
    /// slow one is then taken once.
    pub(crate) fn promotion_targets(&self, from: usize) -> impl Iterator<Item = usize> + use<'_> {
        (0..from).rev().filter(|index| self.links[*index].tier.promote && self.links[*index].writes_through())
    }
}

//! What a store must not take.

use cache_core::{Digest, Error, HashFunction, PutMode};

use super::samples::{blob, body, ensure_blob, ensure_entry, ensure_no_blob, entry, entry_with, key, put};
use super::{Outcome, Stop, Suite, ensure};
use crate::bodies::{content, endless, failing_after, in_pieces};
use crate::task::poll_at_most;

const LENGTHS: [usize; 3] = [1, 1000, 300_000];

/// Checks that content with another digest than announced is refused, leaves nothing, and stands in nobody's way.
///
/// # Errors
/// Where the store does not keep the contract.
///
/// # Cancel safety
/// Dropping the future ends the check.
pub async fn digest_mismatch(suite: &Suite) -> Outcome {
    let store = suite.store().await;
    for function in HashFunction::ALL {
        for len in LENGTHS {
            let (right, wrong) = (content(1, len), content(2, len));
            let digest = Digest::of(function, &right);
            for sent in [body(&wrong), in_pieces(&wrong, 999)] {
                match store.write(&digest, len as u64, sent).await {
                    Err(Error::DigestMismatch { expected, found }) => ensure!(
                        expected == digest && found == Digest::of(function, &wrong),
                        "the error about a wrong digest names others: {expected} and {found}"
                    ),
                    other => {
                        let message =
                            format!("content with a wrong digest gives {other:?}, not DigestMismatch");
                        return Err(Stop::Failed(message));
                    }
                }
                ensure_no_blob(&*store, &digest, "was refused for its digest").await?;
            }
            ensure_no_blob(&*store, &Digest::of(function, &wrong), "was announced under another digest")
                .await?;
            store.write(&digest, len as u64, body(&right)).await?;
            ensure_blob(&*store, &digest, &right).await?;
        }
    }
    Ok(())
}

/// Checks that content shorter or longer than announced is refused, and that an endless one is not read for ever.
///
/// # Errors
/// Where the store does not keep the contract.
///
/// # Cancel safety
/// Dropping the future ends the check.
pub async fn length_mismatch(suite: &Suite) -> Outcome {
    /// A store may read ahead by so many bytes before it looks.
    const PATIENCE: u64 = 64 << 20;
    /// The endless body is pending before each piece, and a piece has 64 KiB.
    const POLLS: u64 = 2 * (PATIENCE >> 16);
    let store = suite.store().await;
    for len in LENGTHS {
        let content = content(1, len);
        let digest = Digest::blake3(&content);
        for announced in [len as u64 - 1, len as u64 + 1] {
            for sent in [body(&content), in_pieces(&content, 999)] {
                let result = store.write(&digest, announced, sent).await;
                ensure!(
                    matches!(result, Err(Error::LengthMismatch { expected, .. }) if expected == announced),
                    "{len} bytes announced as {announced} give {result:?}, not LengthMismatch"
                );
                ensure_no_blob(&*store, &digest, "was refused for its length").await?;
            }
        }
        store.write(&digest, len as u64, body(&content)).await?;
        ensure_blob(&*store, &digest, &content).await?;
    }
    let digest = Digest::blake3(b"something short");
    let (sent, pulled) = endless();
    let result = poll_at_most(POLLS, store.write(&digest, 15, sent)).await;
    ensure!(matches!(result, Some(Err(_))), "an endless body announced with 15 bytes gives {result:?}");
    ensure!(pulled.bytes() <= PATIENCE, "{} bytes are read of a body announced with 15", pulled.bytes());
    ensure_no_blob(&*store, &digest, "never ended").await
}

/// Checks that a write whose body breaks off, or that is dropped half way, leaves nothing.
///
/// # Errors
/// Where the store does not keep the contract.
///
/// # Cancel safety
/// Dropping the future ends the check.
pub async fn abandoned_write(suite: &Suite) -> Outcome {
    const LEN: usize = 300_000;
    let store = suite.store().await;
    for (seed, function) in (0..).zip(HashFunction::ALL) {
        let content = content(seed, LEN);
        let digest = Digest::of(function, &content);
        for sent in [0, 1, LEN / 2, LEN] {
            let result = store.write(&digest, LEN as u64, failing_after(&content.slice(..sent), 1000)).await;
            ensure!(
                matches!(result, Err(Error::Unavailable { .. })),
                "a body that breaks off after {sent} of {LEN} bytes gives {result:?}, not its own error"
            );
            ensure_no_blob(&*store, &digest, "broke off").await?;
        }
        // Short of the announced length, so that the write cannot have been finished whenever it is dropped.
        for polls in [0, 1, 2, 50, 300] {
            let short = in_pieces(&content.slice(..LEN - 1), 1000);
            let result = poll_at_most(polls, store.write(&digest, LEN as u64, short)).await;
            ensure!(!matches!(result, Some(Ok(()))), "a body that is too short is stored");
            ensure_no_blob(&*store, &digest, "was abandoned").await?;
        }
        store.write(&digest, LEN as u64, body(&content)).await?;
        ensure_blob(&*store, &digest, &content).await?;
    }
    Ok(())
}

/// Checks that an entry is refused while one of its blobs is missing, and that what was there before stays.
///
/// # Errors
/// Where the store does not keep the contract.
///
/// # Cancel safety
/// Dropping the future ends the check.
pub async fn incomplete_entry(suite: &Suite) -> Outcome {
    let store = suite.store().await;
    let (there, _) = blob(&*store, HashFunction::Blake3, 1, 1000).await?;
    let missing = Digest::of(HashFunction::Sha256, b"missing");
    let incomplete = entry_with("incomplete", &[(there, 1000), (missing, 7), (Digest::blake3(b"too"), 3)])?;
    let before = entry("before");
    put(&*store, &key(2), &before).await?;
    for (number, mode) in [(1, PutMode::Overwrite), (1, PutMode::IfAbsent), (2, PutMode::Overwrite)] {
        match store.put(&key(number), &incomplete, mode).await {
            Err(Error::Incomplete { digest }) => {
                ensure!(digest == missing, "the error about a missing blob names {digest}, not {missing}");
            }
            other => {
                let message = format!("an entry without its blobs gives {other:?}, not Incomplete");
                return Err(Stop::Failed(message));
            }
        }
    }
    ensure!(store.get(&key(1)).await?.is_none(), "an entry that was refused is there");
    ensure_entry(store.get(&key(2)).await?.as_ref(), &before)
}

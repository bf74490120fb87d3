//! Several at once.

use std::sync::Arc;

use bytes::Bytes;
use cache_core::{Digest, Entry, PutMode, PutOutcome, Store};

use super::samples::{ensure_blob, ensure_entry, entry, key};
use super::{Outcome, Stop, Suite, ensure};
use crate::bodies::{content, in_pieces};
use crate::task::yield_now;

const WRITERS: u64 = 8;
const ROUNDS: u64 = 20;

/// Returns the entry of one writer: large enough to be written in several steps, and each byte of it says whose it is.
fn version(writer: u64) -> Entry {
    let mut entry = entry(&format!("writer {writer}"));
    entry.value = Bytes::from(vec![writer as u8; 20_000]);
    entry
}

/// Checks that of many writers with `IfAbsent` exactly one stores, and that its entry is the one that stays.
///
/// # Errors
/// Where the store does not keep the contract.
///
/// # Cancel safety
/// Dropping the future ends the check; tasks that were started run on.
pub async fn concurrent_if_absent(suite: &Suite) -> Outcome {
    let store = suite.store().await;
    if !store.capabilities().conditional_put {
        return Err(Stop::Skipped("its IfAbsent is not atomic"));
    }
    for round in 0..ROUNDS {
        let writers: Vec<_> = (0..WRITERS)
            .map(|writer| {
                let store = Arc::clone(&store);
                suite.start(async move {
                    yield_now().await;
                    store.put(&key(round), &version(writer), PutMode::IfAbsent).await
                })
            })
            .collect();
        let mut winners = Vec::new();
        for (writer, outcome) in (0..).zip(writers) {
            if outcome.await?? == PutOutcome::Stored {
                winners.push(writer);
            }
        }
        ensure!(winners.len() == 1, "IfAbsent says Stored to {} of {WRITERS} writers", winners.len());
        ensure_entry(store.get(&key(round)).await?.as_ref(), &version(winners[0]))?;
    }
    Ok(())
}

/// Checks that readers of a key that is overwritten all the time see one version whole, and never nothing.
///
/// # Errors
/// Where the store does not keep the contract.
///
/// # Cancel safety
/// Dropping the future ends the check; tasks that were started run on.
pub async fn concurrent_overwrite(suite: &Suite) -> Outcome {
    let store = suite.store().await;
    let _ = store.put(&key(1), &version(0), PutMode::Overwrite).await?;
    let writers: Vec<_> = (0..WRITERS)
        .map(|writer| {
            let store = Arc::clone(&store);
            suite.start(async move {
                for _ in 0..ROUNDS {
                    let _ = store.put(&key(1), &version(writer), PutMode::Overwrite).await?;
                }
                Ok::<_, cache_core::Error>(())
            })
        })
        .collect();
    let readers: Vec<_> = (0..2)
        .map(|_| {
            let store = Arc::clone(&store);
            suite.start(async move {
                for _ in 0..ROUNDS * 4 {
                    ensure_whole(&*store).await?;
                    yield_now().await;
                }
                Ok::<_, Stop>(())
            })
        })
        .collect();
    for writer in writers {
        writer.await??;
    }
    for reader in readers {
        reader.await??;
    }
    ensure_whole(&*store).await
}

async fn ensure_whole(store: &dyn Store) -> Outcome {
    let found = store.get(&key(1)).await?;
    let writer = found.as_ref().and_then(|entry| entry.value.first()).copied().unwrap_or_default();
    ensure_entry(found.as_ref(), &version(writer.into()))
}

/// Checks that many writers of one blob all succeed, while readers see nothing or all of it.
///
/// # Errors
/// Where the store does not keep the contract.
///
/// # Cancel safety
/// Dropping the future ends the check; tasks that were started run on.
pub async fn concurrent_blob_writers(suite: &Suite) -> Outcome {
    const LEN: usize = 300_000;
    let store = suite.store().await;
    for round in 0..5 {
        let content = content(round, LEN);
        let digest = Digest::blake3(&content);
        let writers: Vec<_> = (0..WRITERS)
            .map(|_| {
                let (store, content) = (Arc::clone(&store), content.clone());
                suite
                    .start(async move { store.write(&digest, LEN as u64, in_pieces(&content, 10_000)).await })
            })
            .collect();
        let reader = {
            let (store, content) = (Arc::clone(&store), content.clone());
            suite.start(async move {
                for _ in 0..ROUNDS {
                    if let Some(found) = super::samples::read(&*store, &digest, None).await? {
                        ensure!(found == content, "a reader sees a part of a blob that is being written");
                    }
                    yield_now().await;
                }
                Ok::<_, Stop>(())
            })
        };
        for writer in writers {
            writer.await??;
        }
        reader.await??;
        ensure_blob(&*store, &digest, &content).await?;
    }
    Ok(())
}

//! The end of a store.

use cache_core::{HashFunction, ListFilter, PutMode};

use super::samples::{blob, body, ensure_blob, ensure_entry, entry, entry_with, key, put};
use super::{Outcome, Suite, ensure};
use crate::bodies::content;

/// Checks that flushing an empty store, one with entries, and twice is fine and takes nothing away.
///
/// # Errors
/// Where the store does not keep the contract.
///
/// # Cancel safety
/// Dropping the future ends the check.
pub async fn flushed_twice(suite: &Suite) -> Outcome {
    let store = suite.store().await;
    store.flush().await?;
    let (digest, content) = blob(&*store, HashFunction::Blake3, 1, 100).await?;
    let there = entry_with("there", &[(digest, 100)])?;
    put(&*store, &key(1), &there).await?;
    store.flush().await?;
    store.flush().await?;
    ensure_entry(store.get(&key(1)).await?.as_ref(), &there)?;
    ensure_blob(&*store, &digest, &content).await
}

/// Checks that closing twice is fine.
///
/// # Errors
/// Where the store does not keep the contract.
///
/// # Cancel safety
/// Dropping the future ends the check.
pub async fn closed_twice(suite: &Suite) -> Outcome {
    let store = suite.store().await;
    put(&*store, &key(1), &entry("there")).await?;
    store.close().await?;
    Ok(store.close().await?)
}

/// Checks that every operation on a closed store is an error, not a panic and not an answer.
///
/// # Errors
/// Where the store does not keep the contract.
///
/// # Cancel safety
/// Dropping the future ends the check.
pub async fn used_after_close(suite: &Suite) -> Outcome {
    let store = suite.store().await;
    let (digest, _) = blob(&*store, HashFunction::Blake3, 1, 100).await?;
    put(&*store, &key(1), &entry("there")).await?;
    store.close().await?;
    let other = content(2, 100);
    let answers = [
        ("get", store.get(&key(1)).await.is_err()),
        ("get_many", store.get_many(&[key(1)]).await.is_err()),
        ("put", store.put(&key(1), &entry("new"), PutMode::Overwrite).await.is_err()),
        ("remove", store.remove(&key(1)).await.is_err()),
        ("list", store.list(&ListFilter::default(), None, 10).await.is_err()),
        ("missing", store.missing(&[digest]).await.is_err()),
        ("read", store.read(&digest, None).await.is_err()),
        ("write", store.write(&cache_core::Digest::blake3(&other), 100, body(&other)).await.is_err()),
        ("delete", store.delete(&digest).await.is_err()),
        ("gc", store.gc().await.is_err()),
        ("flush", store.flush().await.is_err()),
    ];
    for (operation, refused) in answers {
        ensure!(refused, "{operation} succeeds on a closed store");
    }
    let (_, _) = (store.name(), store.capabilities());
    Ok(())
}

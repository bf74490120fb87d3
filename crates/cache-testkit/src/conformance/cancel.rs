//! Futures that are dropped at each await in turn.

use std::sync::Arc;

use cache_core::{Digest, HashFunction, ListFilter, PutMode, Store};

use super::samples::{blob, body, ensure_blob, ensure_entry, ensure_no_blob, entry, key, put, read};
use super::{Outcome, Stop, Suite, ensure};
use crate::bodies::{content, in_pieces};
use crate::task::{BoxFuture, poll_at_most};

/// An operation that is not done after so many polls never will be.
const MOST_POLLS: u64 = 5000;

/// Prepares, runs `operation` for k polls, drops it, and calls `check` with whether it completed; for growing k until
/// it completes.
async fn at_every_await<T>(
    store: &Arc<dyn Store>,
    prepare: impl for<'a> Fn(&'a dyn Store) -> BoxFuture<'a, Outcome>,
    operation: impl for<'a> Fn(&'a dyn Store) -> BoxFuture<'a, cache_core::Result<T>>,
    check: impl for<'a> Fn(&'a dyn Store, bool) -> BoxFuture<'a, Outcome>,
) -> Outcome {
    for polls in 0..MOST_POLLS {
        prepare(&**store).await?;
        let result = poll_at_most(polls, operation(&**store)).await;
        let completed = result.transpose()?.is_some();
        check(&**store, completed).await.map_err(|stop| match stop {
            Stop::Failed(why) => Stop::Failed(format!("dropped after {polls} polls: {why}")),
            skipped @ Stop::Skipped(_) => skipped,
        })?;
        if completed {
            return Ok(());
        }
    }
    Err(Stop::Failed(format!("an operation is not done after {MOST_POLLS} polls")))
}

/// Checks that a dropped put leaves the old entry or the new one.
///
/// # Errors
/// Where the store does not keep the contract.
///
/// # Cancel safety
/// Dropping the future ends the check.
pub async fn cancelled_put(suite: &Suite) -> Outcome {
    let store = suite.store().await;
    at_every_await(
        &store,
        |store| Box::pin(async { put(store, &key(1), &entry("old")).await }),
        |store| Box::pin(async { store.put(&key(1), &entry("new, and longer"), PutMode::Overwrite).await }),
        |store, completed| {
            Box::pin(async move {
                let found = store.get(&key(1)).await?;
                let is_old = !completed && found.as_ref().is_some_and(|entry| entry.meta.name == "old");
                ensure_entry(found.as_ref(), &entry(if is_old { "old" } else { "new, and longer" }))
            })
        },
    )
    .await
}

/// Checks that a dropped remove leaves the entry or removes it.
///
/// # Errors
/// Where the store does not keep the contract.
///
/// # Cancel safety
/// Dropping the future ends the check.
pub async fn cancelled_remove(suite: &Suite) -> Outcome {
    let store = suite.store().await;
    at_every_await(
        &store,
        |store| Box::pin(async { put(store, &key(1), &entry("old")).await }),
        |store| Box::pin(async { store.remove(&key(1)).await }),
        |store, completed| {
            Box::pin(async move {
                let found = store.get(&key(1)).await?;
                ensure!(!completed || found.is_none(), "a removed entry is there");
                found.map_or(Ok(()), |found| ensure_entry(Some(&found), &entry("old")))
            })
        },
    )
    .await
}

/// Checks that a dropped write leaves the whole blob or nothing of it.
///
/// # Errors
/// Where the store does not keep the contract.
///
/// # Cancel safety
/// Dropping the future ends the check.
pub async fn cancelled_write(suite: &Suite) -> Outcome {
    const LEN: usize = 100_000;
    let store = suite.store().await;
    let content = content(1, LEN);
    let digest = Digest::blake3(&content);
    at_every_await(
        &store,
        |store| {
            Box::pin(async move {
                store.delete(&digest).await?;
                Ok(())
            })
        },
        |store| {
            let sent = in_pieces(&content, 3000);
            Box::pin(async move { store.write(&digest, LEN as u64, sent).await })
        },
        |store, completed| {
            let content = content.clone();
            Box::pin(async move {
                if completed || read(store, &digest, None).await?.is_some() {
                    return ensure_blob(store, &digest, &content).await;
                }
                ensure_no_blob(store, &digest, "was abandoned").await
            })
        },
    )
    .await?;
    ensure_blob(&*store, &digest, &content).await
}

/// Checks that a dropped delete leaves the whole blob or nothing of it.
///
/// # Errors
/// Where the store does not keep the contract.
///
/// # Cancel safety
/// Dropping the future ends the check.
pub async fn cancelled_delete(suite: &Suite) -> Outcome {
    const LEN: usize = 10_000;
    let store = suite.store().await;
    let content = content(1, LEN);
    let digest = Digest::blake3(&content);
    at_every_await(
        &store,
        |store| {
            let content = content.clone();
            Box::pin(async move { Ok(store.write(&digest, LEN as u64, body(&content)).await?) })
        },
        |store| Box::pin(async move { store.delete(&digest).await }),
        |store, completed| {
            let content = content.clone();
            Box::pin(async move {
                if !completed && read(store, &digest, None).await?.is_some() {
                    return ensure_blob(store, &digest, &content).await;
                }
                ensure_no_blob(store, &digest, "was deleted").await
            })
        },
    )
    .await
}

/// Checks that dropped questions change nothing.
///
/// # Errors
/// Where the store does not keep the contract.
///
/// # Cancel safety
/// Dropping the future ends the check.
pub async fn cancelled_reads(suite: &Suite) -> Outcome {
    let store = suite.store().await;
    let (digest, content) = blob(&*store, HashFunction::Blake3, 1, 100_000).await?;
    put(&*store, &key(1), &entry("there")).await?;
    let can_list = store.capabilities().list;
    at_every_await(
        &store,
        |_| Box::pin(async { Ok(()) }),
        |store| {
            Box::pin(async move {
                store.get(&key(1)).await?;
                store.get_many(&[key(1), key(2)]).await?;
                store.missing(&[digest]).await?;
                if can_list {
                    store.list(&ListFilter::default(), None, 10).await?;
                }
                if let Some(mut body) = store.read(&digest, None).await? {
                    while body.next().await?.is_some() {}
                }
                Ok(())
            })
        },
        |store, _| {
            let content = content.clone();
            Box::pin(async move {
                ensure_entry(store.get(&key(1)).await?.as_ref(), &entry("there"))?;
                ensure_blob(store, &digest, &content).await
            })
        },
    )
    .await
}

//! Collections.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use cache_core::{Digest, HashFunction, Key, Store, Timestamp};

use super::samples::{blob, body, ensure_blob, ensure_entry, ensure_no_blob, entry, entry_with, key, put};
use super::{Outcome, Stop, Suite, ensure};
use crate::bodies::content;
use crate::task::yield_now;

/// Longer than any store keeps a blob that nobody has named yet.
const LONG: Duration = Duration::from_hours(48);
const WRITERS: u64 = 4;
const ROUNDS: u64 = 25;

/// Checks that after a collection every live entry is a hit with all of its blobs, that those whose time is over are gone, and
/// that a blob which was just written waits for the entry that names it.
///
/// # Errors
/// Where the store does not keep the contract.
///
/// # Cancel safety
/// Dropping the future ends the check.
pub async fn collected_entries(suite: &Suite) -> Outcome {
    let store = suite.store().await;
    let (shared, shared_content) = blob(&*store, HashFunction::Sha256, 1, 30_000).await?;
    let mut live = Vec::new();
    for number in 0..20_u64 {
        let (own, own_content) = blob(&*store, HashFunction::Blake3, 100 + number, 3000).await?;
        let entry = entry_with(&format!("live {number}"), &[(own, 3000), (shared, 30_000)])?;
        put(&*store, &key(number), &entry).await?;
        live.push((key(number), entry, own, own_content));
    }
    let mut over = entry("over");
    over.meta.expires = Some(Timestamp::from_millis(1_000_000_000_000));
    put(&*store, &key(1000), &over).await?;
    for round in 0..2 {
        let (young, _) = blob(&*store, HashFunction::Blake3, 2000 + round, 100).await?;
        store.gc().await?;
        put(&*store, &key(2000 + round), &entry_with("young", &[(young, 100)])?).await?;
        for (key, entry, own, own_content) in &live {
            ensure_entry(store.get(key).await?.as_ref(), entry)?;
            ensure_blob(&*store, own, own_content).await?;
        }
        ensure_blob(&*store, &shared, &shared_content).await?;
        ensure!(store.get(&key(1000)).await?.is_none(), "an expired entry is there after a collection");
        if let Some(pass) = &suite.pass {
            // What is named stays, however long ago it was written.
            pass(LONG);
        }
    }
    Ok(())
}

/// Checks that a blob goes once no entry names it and it is old, not before, and that whoever asked for it keeps it.
///
/// # Errors
/// Where the store does not keep the contract.
///
/// # Cancel safety
/// Dropping the future ends the check.
pub async fn collected_unreferenced(suite: &Suite) -> Outcome {
    let Some(pass) = &suite.pass else {
        return Err(Stop::Skipped("nobody can let time pass for it"));
    };
    let store = suite.store().await;
    let (never, _) = blob(&*store, HashFunction::Blake3, 1, 5000).await?;
    let (replaced, _) = blob(&*store, HashFunction::Sha256, 2, 200_000).await?;
    let (kept, kept_content) = blob(&*store, HashFunction::Blake3, 3, 5000).await?;
    let (asked, asked_content) = blob(&*store, HashFunction::Blake3, 4, 5000).await?;
    let (again, again_content) = blob(&*store, HashFunction::Blake3, 5, 5000).await?;
    put(&*store, &key(1), &entry_with("one", &[(replaced, 200_000), (kept, 5000)])?).await?;
    put(&*store, &key(1), &entry_with("one", &[(kept, 5000)])?).await?;
    pass(LONG);
    ensure!(store.missing(&[asked]).await?.is_empty(), "a blob is gone before anything was collected");
    store.write(&again, 5000, body(&again_content)).await?;
    let (young, young_content) = blob(&*store, HashFunction::Blake3, 6, 5000).await?;
    let collected = store.gc().await?;
    ensure_no_blob(&*store, &never, "no entry ever named").await?;
    ensure_no_blob(&*store, &replaced, "no entry names any more").await?;
    ensure_blob(&*store, &kept, &kept_content).await?;
    ensure_blob(&*store, &asked, &asked_content).await?;
    ensure_blob(&*store, &again, &again_content).await?;
    ensure_blob(&*store, &young, &young_content).await?;
    ensure!(
        collected.unreferenced == 2 && collected.bytes >= 205_000,
        "two blobs of 205,000 bytes went and the report says {collected:?}"
    );
    Ok(())
}

/// Checks that collections never take a blob from an entry that is put at the same time, whether its blobs were written long
/// before, just before, or by somebody else.
///
/// # Errors
/// Where the store does not keep the contract.
///
/// # Cancel safety
/// Dropping the future ends the check; tasks that were started run on.
pub async fn collecting_while_writing(suite: &Suite) -> Outcome {
    let store = suite.store().await;
    let mut old = Vec::new();
    for number in 0..WRITERS * ROUNDS {
        old.push(blob(&*store, HashFunction::Blake3, 10_000 + number, 500).await?);
    }
    if let Some(pass) = &suite.pass {
        pass(LONG);
    }
    let old = Arc::new(old);
    let writers: Vec<_> = (0..WRITERS)
        .map(|writer| {
            let (store, old) = (Arc::clone(&store), Arc::clone(&old));
            suite.start(async move {
                for round in 0..ROUNDS {
                    let number = writer * ROUNDS + round;
                    write_one(&*store, number, &old[number as usize]).await?;
                    yield_now().await;
                }
                Ok::<_, Stop>(())
            })
        })
        .collect();
    let collector = {
        let store = Arc::clone(&store);
        suite.start(async move {
            for _ in 0..ROUNDS {
                store.gc().await?;
                yield_now().await;
            }
            Ok::<_, Stop>(())
        })
    };
    for writer in writers {
        writer.await??;
    }
    collector.await??;
    store.gc().await?;
    for number in 0..WRITERS * ROUNDS {
        ensure_written(&*store, &key(number)).await?;
    }
    Ok(())
}

/// Puts an entry as everybody does: asks which blobs are missing, writes those, and then names all.
async fn write_one(store: &dyn Store, number: u64, (old, old_content): &(Digest, Bytes)) -> Outcome {
    let new_content = content(20_000 + number, 500);
    let new = Digest::blake3(&new_content);
    for missing in store.missing(&[*old, new]).await? {
        let content = if missing == new { &new_content } else { old_content };
        store.write(&missing, 500, body(content)).await?;
    }
    put(store, &key(number), &entry_with("written", &[(*old, 500), (new, 500)])?).await?;
    ensure_written(store, &key(number)).await
}

async fn ensure_written(store: &dyn Store, key: &Key) -> Outcome {
    let Some(entry) = store.get(key).await? else {
        return Err(Stop::Failed(
            "a collection took an entry, or a blob from it, that was just put".to_owned(),
        ));
    };
    for (digest, _) in entry.blobs() {
        ensure!(
            store.read(digest, None).await?.is_some(),
            "a collection took a blob of an entry that is there"
        );
    }
    Ok(())
}

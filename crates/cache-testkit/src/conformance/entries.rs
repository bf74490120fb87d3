//! Entries one at a time.

use bytes::Bytes;
use cache_core::signing::{KeyId, Signature};
use cache_core::{Entry, HashFunction, ListFilter, PutMode, PutOutcome, Timestamp};

use super::samples::{FAR_FUTURE, blob, body, ensure_entry, entry, entry_with, full_entry, key, put};
use super::{Outcome, Suite, ensure};
use crate::bodies::content;

/// Checks that an entry comes back with every field as it was stored, by `get` and by `get_many`.
///
/// # Errors
/// Where the store does not keep the contract.
///
/// # Cancel safety
/// Dropping the future ends the check.
pub async fn entry_round_trip(suite: &Suite) -> Outcome {
    let store = suite.store().await;
    ensure!(store.get(&key(1)).await?.is_none(), "an empty store has an entry");
    let (digest, content) = blob(&*store, HashFunction::Blake3, 1, 1000).await?;
    let full = full_entry(digest, content.len() as u64)?;
    put(&*store, &key(1), &full).await?;
    ensure_entry(store.get(&key(1)).await?.as_ref(), &full)?;
    let minimal = cache_core::Entry::default();
    put(&*store, &key(2), &minimal).await?;
    ensure_entry(store.get(&key(2)).await?.as_ref(), &minimal)?;
    let many = store.get_many(&[key(2), key(3), key(1)]).await?;
    ensure!(many.len() == 3, "get_many returns {} answers to 3 questions", many.len());
    ensure_entry(many[0].as_ref(), &minimal)?;
    ensure!(many[1].is_none(), "get_many finds an entry that was never stored");
    ensure_entry(many[2].as_ref(), &full)
}

/// Checks that a signed entry comes back as it was signed, with its signature, and that lists say who signed it. A store that
/// checks signatures is to leave this out.
///
/// # Errors
/// Where the store does not keep the contract.
///
/// # Cancel safety
/// Dropping the future ends the check.
pub async fn entry_signature(suite: &Suite) -> Outcome {
    let store = suite.store().await;
    let (digest, content) = blob(&*store, HashFunction::Blake3, 1, 1000).await?;
    let signature = |n| Signature { key: KeyId::from_bytes([n; 8]), mac: [!n; 32] };
    let full = Entry { signature: Some(signature(1)), ..full_entry(digest, content.len() as u64)? };
    let minimal = Entry { signature: Some(signature(2)), ..Entry::default() };
    put(&*store, &key(1), &full).await?;
    put(&*store, &key(2), &minimal).await?;
    ensure_entry(store.get(&key(1)).await?.as_ref(), &full)?;
    let many = store.get_many(&[key(2), key(1)]).await?;
    ensure!(many == [Some(minimal), Some(full)], "get_many changes signed entries");
    if store.capabilities().list {
        let mut listed = store.list(&ListFilter::default(), None, 3).await?.items;
        listed.sort_unstable_by_key(|item| item.signer);
        let signers: Vec<_> = listed.iter().map(|item| (item.key, item.signer)).collect();
        let expected = [(key(1), Some(signature(1).key)), (key(2), Some(signature(2).key))];
        ensure!(signers == expected, "a list shows other signers: {signers:?}");
    }
    // What takes the place of a signed entry has a signature only if it brought one.
    put(&*store, &key(2), &entry("unsigned")).await?;
    ensure!(
        store.get(&key(2)).await?.is_some_and(|found| found.signature.is_none()),
        "an unsigned entry comes back with a signature"
    );
    Ok(())
}

/// Checks values from nothing to the largest that the store takes; what is larger is refused or kept, never cut off.
///
/// # Errors
/// Where the store does not keep the contract.
///
/// # Cancel safety
/// Dropping the future ends the check.
pub async fn entry_values(suite: &Suite) -> Outcome {
    /// Larger values are not worth their time here, in bytes.
    const LARGEST: u64 = 4 << 20;
    let store = suite.store().await;
    let max = store.capabilities().max_value;
    for len in [0, 1, 4095, 4096, 65_536, max.min(LARGEST)] {
        if len > max {
            continue;
        }
        let mut entry = entry(&format!("a value of {len} bytes"));
        entry.value = content(len, len as usize);
        put(&*store, &key(len), &entry).await?;
        ensure_entry(store.get(&key(len)).await?.as_ref(), &entry)?;
    }
    if max < LARGEST {
        let mut entry = entry("a value of one byte too many");
        entry.value = content(0, max as usize + 1);
        match store.put(&key(max + 1), &entry, PutMode::Overwrite).await {
            Ok(_) => ensure_entry(store.get(&key(max + 1)).await?.as_ref(), &entry)?,
            Err(_) => {
                ensure!(store.get(&key(max + 1)).await?.is_none(), "an entry that was refused is there");
            }
        }
    }
    Ok(())
}

/// Checks that `Overwrite` replaces and `IfAbsent` does not, and that both say so.
///
/// # Errors
/// Where the store does not keep the contract.
///
/// # Cancel safety
/// Dropping the future ends the check.
pub async fn entry_modes(suite: &Suite) -> Outcome {
    let store = suite.store().await;
    let (first, second, third) = (entry("first"), entry("second, which is longer"), entry("3rd"));
    let outcome = store.put(&key(1), &first, PutMode::IfAbsent).await?;
    ensure!(outcome == PutOutcome::Stored, "IfAbsent does not store where nothing is");
    let outcome = store.put(&key(1), &second, PutMode::IfAbsent).await?;
    ensure!(outcome == PutOutcome::Present, "IfAbsent says Stored where something is");
    ensure_entry(store.get(&key(1)).await?.as_ref(), &first)?;
    put(&*store, &key(1), &second).await?;
    ensure_entry(store.get(&key(1)).await?.as_ref(), &second)?;
    put(&*store, &key(1), &third).await?;
    ensure_entry(store.get(&key(1)).await?.as_ref(), &third)?;
    ensure!(store.get(&key(2)).await?.is_none(), "an entry appears under another key");
    Ok(())
}

/// Checks that a removed entry is gone, and that `remove` says what it did.
///
/// # Errors
/// Where the store does not keep the contract.
///
/// # Cancel safety
/// Dropping the future ends the check.
pub async fn entry_removed(suite: &Suite) -> Outcome {
    let store = suite.store().await;
    ensure!(!store.remove(&key(1)).await?, "remove claims to have removed what never was");
    let (digest, content) = blob(&*store, HashFunction::Blake3, 1, 100).await?;
    put(&*store, &key(1), &entry_with("removed", &[(digest, 100)])?).await?;
    put(&*store, &key(2), &entry("kept")).await?;
    ensure!(store.remove(&key(1)).await?, "remove denies having removed an entry");
    ensure!(store.get(&key(1)).await?.is_none(), "a removed entry is there");
    ensure!(!store.remove(&key(1)).await?, "remove removes an entry twice");
    ensure_entry(store.get(&key(2)).await?.as_ref(), &entry("kept"))?;
    super::samples::ensure_blob(&*store, &digest, &content).await?;
    put(&*store, &key(1), &entry("again")).await?;
    ensure_entry(store.get(&key(1)).await?.as_ref(), &entry("again"))
}

/// Checks that an entry whose time is over is absent, for `get`, `get_many` and `IfAbsent`.
///
/// # Errors
/// Where the store does not keep the contract.
///
/// # Cancel safety
/// Dropping the future ends the check.
pub async fn entry_expires(suite: &Suite) -> Outcome {
    let store = suite.store().await;
    let mut over = entry("over");
    over.meta.expires = Some(Timestamp::from_millis(1));
    let mut lasting = entry("lasting");
    lasting.meta.expires = Some(FAR_FUTURE);
    for entry in [&lasting, &over] {
        let _ = store.put(&key(1), entry, PutMode::Overwrite).await?;
    }
    put(&*store, &key(2), &lasting).await?;
    ensure!(store.get(&key(1)).await?.is_none(), "an entry is returned after its time");
    ensure!(store.get_many(&[key(1)]).await? == [None], "get_many returns an entry after its time");
    ensure_entry(store.get(&key(2)).await?.as_ref(), &lasting)?;
    let outcome = store.put(&key(1), &lasting, PutMode::IfAbsent).await?;
    ensure!(outcome == PutOutcome::Stored, "an entry whose time is over stands in the way of IfAbsent");
    ensure_entry(store.get(&key(1)).await?.as_ref(), &lasting)
}

/// Checks that an entry is a miss as soon as one of its blobs is gone, and takes no harm from other deletions.
///
/// # Errors
/// Where the store does not keep the contract.
///
/// # Cancel safety
/// Dropping the future ends the check.
pub async fn entry_needs_its_blobs(suite: &Suite) -> Outcome {
    let store = suite.store().await;
    let mut blobs = Vec::new();
    for (seed, function) in (0..).zip([HashFunction::Blake3, HashFunction::Sha256, HashFunction::Blake3]) {
        blobs.push((blob(&*store, function, seed, 5000).await?.0, 5000));
    }
    let (both, one) = (entry_with("both", &blobs[..2])?, entry_with("one", &blobs[..1])?);
    put(&*store, &key(1), &both).await?;
    put(&*store, &key(2), &one).await?;
    ensure!(store.delete(&blobs[2].0).await?, "delete denies having deleted a blob");
    ensure_entry(store.get(&key(1)).await?.as_ref(), &both)?;
    ensure!(store.delete(&blobs[1].0).await?, "delete denies having deleted a blob");
    ensure!(store.get(&key(1)).await?.is_none(), "an entry is a hit although one of its blobs is gone");
    ensure!(store.get_many(&[key(1)]).await? == [None], "get_many returns an entry without one of its blobs");
    ensure_entry(store.get(&key(2)).await?.as_ref(), &one)?;
    // It may be stored again, blob first.
    let content: Bytes = content(1, 5000);
    store.write(&blobs[1].0, 5000, body(&content)).await?;
    let _ = store.put(&key(1), &both, PutMode::IfAbsent).await?;
    ensure_entry(store.get(&key(1)).await?.as_ref(), &both)
}

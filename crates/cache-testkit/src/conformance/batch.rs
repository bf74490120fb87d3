//! Many questions at once.

use cache_core::{Digest, HashFunction};

use super::samples::{blob, ensure_entry, entry, key, put};
use super::{Outcome, Suite, ensure};

/// Checks that 10,000 keys and 10,000 digests are answered in one call each, in order.
///
/// # Errors
/// Where the store does not keep the contract.
///
/// # Cancel safety
/// Dropping the future ends the check.
pub async fn batch_of_10_000(suite: &Suite) -> Outcome {
    const COUNT: u64 = 10_000;
    /// Every so manieth is there.
    const STEP: u64 = 10;
    let store = suite.store().await;
    let mut digests: Vec<Digest> =
        (0..COUNT).map(|number| Digest::blake3(&crate::bodies::content(number, 20))).collect();
    for number in (0..COUNT).step_by(STEP as usize) {
        put(&*store, &key(number), &entry(&number.to_string())).await?;
        blob(&*store, HashFunction::Blake3, number, 20).await?;
    }
    let mut numbers: Vec<u64> = (0..COUNT).collect();
    // An order that neither keys nor digests have by themselves, and one key asked for twice.
    numbers.reverse();
    digests.reverse();
    numbers.push(0);
    let keys: Vec<_> = numbers.iter().map(|number| key(*number)).collect();
    let found = store.get_many(&keys).await?;
    ensure!(found.len() == keys.len(), "get_many returns {} answers to {}", found.len(), keys.len());
    for (number, found) in numbers.iter().zip(&found) {
        if number % STEP == 0 {
            ensure_entry(found.as_ref(), &entry(&number.to_string()))?;
        } else {
            ensure!(found.is_none(), "get_many finds an entry that was never stored");
        }
    }
    let last = COUNT - 1;
    let expected: Vec<Digest> = (0..COUNT)
        .zip(&digests)
        .filter(|(at, _)| !(last - at).is_multiple_of(STEP))
        .map(|(_, digest)| *digest)
        .collect();
    let missing = store.missing(&digests).await?;
    ensure!(missing.len() == expected.len(), "{} of {} are missing", missing.len(), expected.len());
    ensure!(missing == expected, "the missing digests come in another order");
    Ok(())
}

/// Checks that no question gets no answer, and no error.
///
/// # Errors
/// Where the store does not keep the contract.
///
/// # Cancel safety
/// Dropping the future ends the check.
pub async fn batch_of_nothing(suite: &Suite) -> Outcome {
    let store = suite.store().await;
    ensure!(store.get_many(&[]).await?.is_empty(), "get_many answers without being asked");
    ensure!(store.missing(&[]).await?.is_empty(), "missing answers without being asked");
    Ok(())
}

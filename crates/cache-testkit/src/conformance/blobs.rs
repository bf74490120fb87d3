//! Blobs one at a time.

use std::io::{Seek, SeekFrom, Write};
use std::ops::Range;

use bytes::Bytes;
use cache_core::{Body, Digest, Error, HashFunction, Hasher};

use super::samples::{blob, body, ensure_blob, ensure_no_blob, read};
use super::{Outcome, Stop, Suite, ensure};
use crate::bodies::{content, in_pieces};

/// Checks blobs of sizes around the powers of two, from nothing to 4 MiB, under both hash functions.
///
/// # Errors
/// Where the store does not keep the contract.
///
/// # Cancel safety
/// Dropping the future ends the check.
pub async fn blob_round_trip(suite: &Suite) -> Outcome {
    const LARGEST: usize = 4 << 20;
    let store = suite.store().await;
    let powers = [1, 64, 1024, 4096, 65_536, 131_072, 1 << 20, LARGEST];
    let sizes: Vec<usize> = powers.iter().flat_map(|power| [power - 1, *power, power + 1]).collect();
    for function in HashFunction::ALL {
        let absent = Digest::of(function, b"never stored");
        ensure_no_blob(&*store, &absent, "was never stored").await?;
        for len in sizes.iter().copied() {
            if store.capabilities().max_blob.is_some_and(|max| len as u64 > max) {
                continue;
            }
            let (digest, content) = blob(&*store, function, len as u64, len).await?;
            ensure_blob(&*store, &digest, &content).await?;
        }
    }
    // The same content is two blobs under two functions.
    let once = content(77, 100);
    store.write(&Digest::sha256(&once), 100, body(&once)).await?;
    ensure_no_blob(&*store, &Digest::blake3(&once), "was stored under another hash function only").await
}

/// Checks that bodies from memory, from an open file and in pieces give the same blob.
///
/// # Errors
/// Where the store does not keep the contract.
///
/// # Cancel safety
/// Dropping the future ends the check.
pub async fn blob_body_kinds(suite: &Suite) -> Outcome {
    const LEN: usize = 300_000;
    let broken =
        |error| Stop::from(Error::Io { what: "the suite's own temporary file".to_owned(), source: error });
    let content = content(5, LEN);
    let digest = Digest::blake3(&content);
    let file = || {
        let mut file = tempfile::tempfile().map_err(broken)?;
        file.write_all(b"something else").map_err(broken)?;
        file.write_all(&content).map_err(broken)?;
        file.write_all(b"and more").map_err(broken)?;
        file.seek(SeekFrom::Start(14)).map_err(broken)?;
        Ok::<_, Stop>(Body::File { file, len: LEN as u64, path: None })
    };
    let bodies = [body(&content), file()?, in_pieces(&content, 1000), in_pieces(&content, LEN)];
    for sent in bodies {
        let store = suite.store().await;
        store.write(&digest, LEN as u64, sent).await?;
        ensure_blob(&*store, &digest, &content).await?;
    }
    Ok(())
}

/// Checks a blob of 200 MiB that is never in memory as a whole, on this side.
///
/// # Errors
/// Where the store does not keep the contract.
///
/// # Cancel safety
/// Dropping the future ends the check.
pub async fn blob_of_200_mib(suite: &Suite) -> Outcome {
    const LEN: u64 = 200 << 20;
    /// A prime, so that no piece of the store's starts at the same place twice.
    const PIECE: usize = 1_048_573;
    let store = suite.store().await;
    if store.capabilities().max_blob.is_some_and(|max| max < LEN) {
        return Err(Stop::Skipped("its blobs are smaller than that"));
    }
    let piece = content(200, PIECE);
    let pieces =
        |len: u64| (0..len.div_ceil(PIECE as u64)).map(move |n| (len - n * PIECE as u64).min(PIECE as u64));
    let mut hasher = Hasher::new(HashFunction::Blake3);
    pieces(LEN).for_each(|len| hasher.update(&piece[..len as usize]));
    let digest = hasher.finish();
    let parts: Vec<Bytes> = pieces(LEN).map(|len| piece.slice(..len as usize)).collect();
    store.write(&digest, LEN, crate::bodies::of_pieces(parts)).await?;
    let Some(mut found) = store.read(&digest, None).await? else {
        return Err(Stop::Failed("a blob of 200 MiB is not there".to_owned()));
    };
    let mut hasher = Hasher::new(HashFunction::Blake3);
    while let Some(piece) = found.next().await? {
        hasher.update(&piece);
    }
    ensure!(hasher.len() == LEN, "a blob of 200 MiB comes back with {} bytes", hasher.len());
    ensure!(hasher.finish() == digest, "a blob of 200 MiB comes back with other bytes");
    let at = LEN - 10;
    let tail = read(&*store, &digest, Some(at..LEN + 10)).await?.unwrap_or_default();
    let start = (at % PIECE as u64) as usize;
    ensure!(tail == piece[start..start + 10], "the last ten bytes of 200 MiB are not those stored");
    Ok(())
}

/// Checks ranges inside, at both ends, empty, across the end and beyond it.
///
/// # Errors
/// Where the store does not keep the contract.
///
/// # Cancel safety
/// Dropping the future ends the check.
pub async fn blob_ranges(suite: &Suite) -> Outcome {
    const LEN: u64 = 200_000;
    let store = suite.store().await;
    for function in HashFunction::ALL {
        let (digest, content) = blob(&*store, function, 9, LEN as usize).await?;
        let ranges: [Range<u64>; 13] = [
            0..LEN,
            0..1,
            0..0,
            1..2,
            100..100,
            4095..4097,
            65_535..131_073,
            LEN - 1..LEN,
            LEN - 10..LEN + 10,
            0..u64::MAX,
            LEN..LEN,
            LEN..LEN + 1,
            LEN * 2..u64::MAX,
        ];
        for range in ranges {
            let (start, end) = (range.start.min(LEN) as usize, range.end.min(LEN) as usize);
            let found = read(&*store, &digest, Some(range.clone())).await?;
            ensure!(
                found.as_deref() == Some(&content[start..end]),
                "bytes {range:?} of a blob of {LEN} are {} bytes that are not those stored",
                found.map_or_else(|| "no".to_owned(), |found| found.len().to_string())
            );
        }
        // A range that ends before it starts makes no sense: refused or empty, but no other bytes and no panic.
        #[expect(clippy::reversed_empty_ranges, reason = "this is the case that is checked")]
        if let Ok(Some(found)) = store.read(&digest, Some(7..3)).await {
            let found = found.into_bytes(LEN).await.unwrap_or_default();
            ensure!(found.is_empty(), "a range that ends before it starts gives {} bytes", found.len());
        }
    }
    let absent = Digest::blake3(b"never stored");
    ensure!(
        read(&*store, &absent, Some(0..10)).await?.is_none(),
        "a range of a blob that is not there is read"
    );
    Ok(())
}

/// Checks that a blob can be stored again, and that no body can change it.
///
/// # Errors
/// Where the store does not keep the contract.
///
/// # Cancel safety
/// Dropping the future ends the check.
pub async fn blob_written_again(suite: &Suite) -> Outcome {
    let store = suite.store().await;
    for len in [0, 10, 100_000] {
        let (digest, content) = blob(&*store, HashFunction::Blake3, 3, len).await?;
        store.write(&digest, len as u64, body(&content)).await?;
        ensure_blob(&*store, &digest, &content).await?;
        // The body need not be read, so this may succeed; the blob stays what it is.
        let _ = store.write(&digest, len as u64, body(&crate::bodies::content(4, len))).await;
        ensure_blob(&*store, &digest, &content).await?;
    }
    Ok(())
}

/// Checks that a deleted blob is gone, can be stored again, and that `delete` says what it did.
///
/// # Errors
/// Where the store does not keep the contract.
///
/// # Cancel safety
/// Dropping the future ends the check.
pub async fn blob_deleted(suite: &Suite) -> Outcome {
    let store = suite.store().await;
    for len in [0, 10, 100_000] {
        let (kept, kept_content) = blob(&*store, HashFunction::Sha256, 1, len + 1).await?;
        let (digest, content) = blob(&*store, HashFunction::Sha256, 2, len).await?;
        ensure!(store.delete(&digest).await?, "delete denies having deleted a blob");
        ensure_no_blob(&*store, &digest, "was deleted").await?;
        ensure!(!store.delete(&digest).await?, "delete deletes a blob twice");
        ensure_blob(&*store, &kept, &kept_content).await?;
        store.write(&digest, len as u64, body(&content)).await?;
        ensure_blob(&*store, &digest, &content).await?;
    }
    Ok(())
}

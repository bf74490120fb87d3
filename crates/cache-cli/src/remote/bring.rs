//! The blobs of an entry, from the remote cache into the local one.

use std::collections::HashSet;
use std::time::Duration;

use cache_core::{Digest, Entry, Error, Store};
use cache_fs::FsStore;
use cache_http_client::HttpStore;
use tokio::task::JoinSet;

/// Blobs that are fetched at once.
const AT_ONCE: usize = 8;
/// The most that the cost of a command, as the entry says it, adds to the time for fetching its result.
const LONGEST: Duration = Duration::from_hours(1);

/// Why a result did not come.
pub(super) enum Failed {
    /// The server is in trouble.
    Remote(String),
    /// It has something else than it should have.
    Wrong(String),
    /// The local cache cannot take it.
    Local(String),
    /// It would take longer than to run the command again.
    Slow,
}

/// Fetches those blobs of `entry` that `store` does not have, each verified, and returns how many bytes came.
///
/// # Errors
/// If one of them does not come, or all of them together do not within `patience` and the time that the command took.
///
/// # Cancel safety
/// Blobs that are whole stay.
pub(super) async fn bring(
    http: &HttpStore,
    store: &FsStore,
    entry: &Entry,
    patience: Duration,
) -> Result<u64, Failed> {
    let digests: Vec<Digest> = entry.blobs().map(|(digest, _)| *digest).collect();
    let mut missing: HashSet<Digest> = store.missing(&digests).into_iter().collect();
    let wanted: Vec<(Digest, u64)> = entry
        .blobs()
        .filter(|(digest, _)| missing.remove(digest))
        .map(|(digest, len)| (*digest, len))
        .collect();
    let bytes = wanted.iter().fold(0_u64, |sum, (_, len)| sum.saturating_add(*len));
    let all = async {
        let mut wanted = wanted.into_iter();
        let mut under_way = JoinSet::new();
        loop {
            while under_way.len() < AT_ONCE
                && let Some((digest, len)) = wanted.next()
            {
                under_way.spawn(fetch(http.clone(), store.clone(), digest, len));
            }
            match under_way.join_next().await {
                None => return Ok(()),
                Some(Ok(done)) => done?,
                Some(Err(_)) => return Err(Failed::Remote("fetching stopped".to_owned())),
            }
        }
    };
    let longest = patience.saturating_add(Duration::from_millis(entry.meta.cost_ms).min(LONGEST));
    tokio::time::timeout(longest, all).await.unwrap_or(Err(Failed::Slow)).map(|()| bytes)
}

async fn fetch(http: HttpStore, store: FsStore, digest: Digest, len: u64) -> Result<(), Failed> {
    let body = match Store::read(&http, &digest, None).await {
        Ok(Some(body)) => body,
        // It said a moment ago that it has it; what is there is something else.
        Ok(None) => return Err(Failed::Wrong(format!("it has other bytes than those of {digest}"))),
        Err(error) => return Err(of(error)),
    };
    Store::write(&store, &digest, len, body).await.map_err(of)
}

fn of(error: Error) -> Failed {
    match error {
        Error::DigestMismatch { .. } | Error::LengthMismatch { .. } => Failed::Wrong(error.to_string()),
        Error::Full { .. } | Error::Io { .. } | Error::TooLarge { .. } => Failed::Local(error.to_string()),
        other => Failed::Remote(other.to_string()),
    }
}

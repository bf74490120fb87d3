//! What `doctor` says about the remote cache.

use std::time::{Duration, Instant, SystemTime};

use cache_core::{Key, Store};
use cache_fs::FsStore;

use super::live::Live;
use super::rest::Rest;
use super::target::Target;

/// What was found out.
pub(crate) struct Findings {
    /// How long the server took for an answer, or why there was none.
    pub(crate) answer: Result<Duration, String>,
    /// Whether something can be stored there, if that was tried.
    pub(crate) writes: Option<Result<(), String>>,
    /// How far its clock is from ours, if it said what time it is.
    pub(crate) clocks_apart: Option<Duration>,
}

/// Asks the remote cache, and if it is to be written, stores an entry there and removes it again.
pub(crate) fn check(target: &Target, store: &FsStore) -> Findings {
    let failed = |why| Findings { answer: Err(why), writes: None, clocks_apart: None };
    let live = match Live::new(target, store, None, false) {
        Ok(live) => live,
        Err(why) => return failed(why),
    };
    let key = random_key();
    let started = Instant::now();
    let ask = async {
        live.http.get(&key).await?;
        // Any web server can say that it has no such entry. To say which blobs are missing takes a cache.
        live.http.missing(&[cache_core::Digest::blake3(key.to_string().as_bytes())]).await
    };
    let asked = live.wait(async { tokio::time::timeout(target.timeout, ask).await });
    match asked {
        Some(Ok(Ok(_))) if live.http.unsound() == 0 => {}
        Some(Ok(Ok(_))) => return failed("something answers there that is no cache".to_owned()),
        Some(Ok(Err(error))) => return failed(error.to_string()),
        Some(Err(_)) | None => return failed(format!("no answer within {:?}", target.timeout)),
    }
    let took = started.elapsed();
    let writes = target.mode.writes().then(|| {
        let entry = cache_core::Entry::default();
        let put = async {
            let _ = live.http.put(&key, &entry, cache_core::PutMode::Overwrite).await?;
            live.http.remove(&key).await
        };
        let done = live.wait(async { tokio::time::timeout(target.timeout.saturating_mul(2), put).await });
        match done {
            Some(Ok(Ok(_))) => Ok(()),
            Some(Ok(Err(error))) => Err(error.to_string()),
            Some(Err(_)) | None => Err("it does not answer in time".to_owned()),
        }
    });
    if writes.as_ref().is_none_or(Result::is_ok)
        && let Ok(side) = store.side_dir(super::cache::SIDE_DIR)
    {
        // Whoever asks has mended it, perhaps.
        Rest::new(&side, &target.url).forget();
    }
    Findings { answer: Ok(took), writes, clocks_apart: live.http.clocks_apart() }
}

/// Returns a key that nobody has.
fn random_key() -> Key {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |time| time.as_nanos());
    let namespace = cache_core::Namespace::default();
    let pid = u64::from(std::process::id());
    cache_core::KeyBuilder::new(&namespace, "doctor").number(pid).text(&now.to_string()).finish()
}

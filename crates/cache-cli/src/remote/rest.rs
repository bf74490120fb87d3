//! What one run learns about a remote cache in trouble, and the next ones go by: a build of a thousand runs waits once.
//!
//! A small file beside the local cache. What cannot be read or written is as if nobody had learned anything.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use cache_core::{Clock, Fingerprint, SystemClock, Timestamp, files};
use cache_run::human;
use serde::{Deserialize, Serialize};

/// Rest after the first failure: longer than a timeout, so that it pays; shorter than a coffee.
const FIRST: Duration = Duration::from_secs(30);
/// Longest rest; it doubles with each failure that follows on another.
const LONGEST: Duration = Duration::from_mins(5);
/// Rest after a server said that this token may not write: somebody has to change something first.
const REFUSED: Duration = Duration::from_mins(10);
/// What is left of uploads is tried by a run that needs nothing else from the server at most this often.
const LEFTOVERS: Duration = Duration::from_secs(30);
/// Characters of a reason that are kept.
const MAX_WHY: usize = 300;

/// The file.
pub(crate) struct Rest {
    path: PathBuf,
}

#[derive(Default, Serialize, Deserialize)]
#[serde(default)]
struct State {
    /// Until then nobody asks.
    until: Timestamp,
    why: String,
    /// Failures that followed on each other.
    failures: u32,
    /// Until then nothing is sent.
    writes_until: Timestamp,
    writes_why: String,
    /// When leftovers were tried.
    leftovers: Timestamp,
}

impl Rest {
    /// Returns what is known, in the directory `side`, about the server at `url`.
    pub(crate) fn new(side: &Path, url: &str) -> Self {
        Self { path: side.join(format!("{}.json", Fingerprint::of(url.as_bytes()))) }
    }

    /// Returns why the server is not asked now.
    pub(crate) fn resting(&self) -> Option<String> {
        let state = self.load();
        rest(state.until, LONGEST).map(|left| tell(&state.why, left))
    }

    /// Returns why nothing is sent to the server now.
    pub(crate) fn refusing(&self) -> Option<String> {
        let state = self.load();
        rest(state.writes_until, REFUSED).map(|left| tell(&state.writes_why, left))
    }

    /// Notes that the server is in trouble.
    pub(crate) fn failed(&self, why: &str) {
        let mut state = self.load();
        let recent = state.until.plus(LONGEST) > now();
        state.failures = if recent { state.failures.saturating_add(1) } else { 1 };
        let time = FIRST.saturating_mul(1 << (state.failures - 1).min(8)).min(LONGEST);
        (state.until, state.why) = (now().plus(time), cut(why));
        self.save(&state);
    }

    /// Notes that the server takes nothing from us.
    pub(crate) fn refused(&self, why: &str) {
        let mut state = self.load();
        (state.writes_until, state.writes_why) = (now().plus(REFUSED), cut(why));
        self.save(&state);
    }

    /// Returns whether it is time to try what is left of uploads, and notes that it is done.
    pub(crate) fn leftovers_due(&self) -> bool {
        let mut state = self.load();
        let due = rest(state.leftovers.plus(LEFTOVERS), LEFTOVERS).is_none();
        if due {
            state.leftovers = now();
            self.save(&state);
        }
        due
    }

    /// Notes that all is well again.
    pub(crate) fn forget(&self) {
        // If it stays, it ends by itself.
        let _ = fs::remove_file(&self.path);
    }

    /// Returns whether there is anything to forget.
    pub(crate) fn is_known(&self) -> bool {
        self.path.exists()
    }

    fn load(&self) -> State {
        fs::read(&self.path).ok().and_then(|bytes| serde_json::from_slice(&bytes).ok()).unwrap_or_default()
    }

    fn save(&self, state: &State) {
        // If it cannot be kept, the next run finds out for itself.
        if let Ok(text) = serde_json::to_vec(state) {
            let _ = files::replace(&self.path, &text);
        }
    }
}

/// Returns how long it is until `until`; nothing if that is over, or further away than anybody would have said.
fn rest(until: Timestamp, longest: Duration) -> Option<Duration> {
    let left = until.since(now());
    (left > Duration::ZERO && left <= longest).then_some(left)
}

fn tell(why: &str, left: Duration) -> String {
    format!("{why}; tried again in {}", human::duration(left))
}

fn cut(why: &str) -> String {
    why.chars().take(MAX_WHY).collect()
}

fn now() -> Timestamp {
    SystemClock.now()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn trouble_is_remembered_for_a_while_and_longer_each_time() {
        let dir = tempfile::tempdir().unwrap();
        let rest = Rest::new(dir.path(), "https://a.example");
        assert!(rest.resting().is_none() && rest.refusing().is_none() && !rest.is_known());
        rest.failed("no answer");
        assert!(rest.resting().unwrap().starts_with("no answer; tried again in "));
        let first = rest.load().until;
        rest.failed("no answer");
        assert!(rest.load().until >= first.plus(Duration::from_secs(25)), "twice as long");
        (0..100).for_each(|_| rest.failed("no answer"));
        assert!(rest.load().until <= now().plus(LONGEST));
        assert!(Rest::new(dir.path(), "https://b.example").resting().is_none(), "each server has its own");
        rest.refused("it does not allow PUT");
        assert!(rest.refusing().is_some() && rest.resting().is_some());
        rest.forget();
        assert!(rest.resting().is_none() && rest.refusing().is_none());
    }

    #[test]
    fn a_damaged_file_or_another_clock_means_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let rest = Rest::new(dir.path(), "https://a.example");
        for text in ["", "{", "[1]", r#"{"until":18446744073709551615,"writes_until":99999999999999}"#] {
            fs::write(&rest.path, text).unwrap();
            assert!(rest.resting().is_none() && rest.refusing().is_none(), "{text}");
        }
        assert!(rest.leftovers_due());
        assert!(!rest.leftovers_due(), "they were tried a moment ago");
    }
}

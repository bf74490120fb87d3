//! How far the clock of the server is from ours.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use reqwest::header::{AGE, DATE, HeaderMap};

/// What is there before any answer said what time it is.
const UNKNOWN: u64 = u64::MAX;

/// What the last answer said, in milliseconds between the two clocks.
#[derive(Debug)]
pub(crate) struct Clock(AtomicU64);

impl Default for Clock {
    fn default() -> Self {
        Self(AtomicU64::new(UNKNOWN))
    }
}

impl Clock {
    /// Takes the time from the head of an answer that arrived at `now` (`Date`, RFC 9110, section 6.6.1).
    pub(crate) fn read(&self, headers: &HeaderMap, now: SystemTime) {
        // What a proxy kept for a while has the time of then.
        if headers.contains_key(AGE) {
            return;
        }
        let date = headers.get(DATE).and_then(|date| httpdate::parse_http_date(date.to_str().ok()?).ok());
        let Some(date) = date else { return };
        let apart = now.duration_since(date).unwrap_or_else(|error| error.duration());
        let millis = u64::try_from(apart.as_millis()).unwrap_or(UNKNOWN - 1);
        self.0.store(millis, Ordering::Relaxed);
    }

    /// Returns the time between the clocks; nothing if no answer said what time it is.
    pub(crate) fn apart(&self) -> Option<Duration> {
        let millis = self.0.load(Ordering::Relaxed);
        (millis != UNKNOWN).then(|| Duration::from_millis(millis))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_the_server_says_now_counts() {
        let clock = Clock::default();
        let now = httpdate::parse_http_date("Sun, 06 Nov 1994 08:49:37 GMT").unwrap();
        let mut headers = HeaderMap::new();
        let mut read = |date: &'static str| {
            headers.insert(DATE, date.parse().unwrap());
            clock.read(&headers, now);
            clock.apart()
        };
        assert_eq!(read("yesterday"), None);
        assert_eq!(read("Sun, 06 Nov 1994 08:49:35 GMT"), Some(Duration::from_secs(2)));
        assert_eq!(read("Sun, 06 Nov 1994 09:49:37 GMT"), Some(Duration::from_hours(1)));
        headers.insert(AGE, "3600".parse().unwrap());
        headers.insert(DATE, "Sun, 06 Nov 1994 07:49:37 GMT".parse().unwrap());
        clock.read(&headers, now + Duration::from_secs(5));
        assert_eq!(clock.apart(), Some(Duration::from_hours(1)));
    }
}

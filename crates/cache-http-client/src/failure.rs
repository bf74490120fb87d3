//! What an attempt may come to, and whether another one makes sense.

use std::time::Duration;

use cache_core::Error;
use reqwest::header::RETRY_AFTER;
use reqwest::{Response, StatusCode};

use crate::budget::{LONGEST_RETRY_AFTER, wait};
use crate::server::Server;

/// Why an attempt failed.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) error: Error,
    pub(crate) again: Again,
}

/// Whether the same attempt may succeed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Again {
    No,
    /// After a while.
    Yes,
    /// Not before so long, as the server says.
    After(Duration),
}

impl Again {
    /// Returns how long to wait before repetition number `made`, from 0; nothing if there should be none.
    pub(crate) fn pause(self, made: u32) -> Option<Duration> {
        match self {
            Self::No => None,
            Self::Yes => Some(wait(made)),
            Self::After(time) => (time <= LONGEST_RETRY_AFTER).then_some(time),
        }
    }
}

impl Failure {
    /// Returns a failure that nothing but somebody's change can mend.
    pub(crate) fn lasting(error: Error) -> Self {
        Self { error, again: Again::No }
    }
}

/// Returns what went wrong, without the layers of the library that only say that something did.
fn why(error: &dyn std::error::Error) -> String {
    const LAYERS: [&str; 2] = ["error sending request", "client error ("];
    let mut why = error.to_string();
    let mut source = error.source();
    // Chains are short; a bound costs nothing.
    for _ in 0..8 {
        let Some(cause) = source else { break };
        let text = cause.to_string();
        if LAYERS.iter().any(|layer| why.starts_with(layer)) {
            why = text;
        } else if !why.ends_with(&text) {
            why = format!("{why}: {text}");
        }
        source = cause.source();
    }
    why
}

impl Server {
    /// Returns that the server is out of reach, because of `why`.
    pub(crate) fn unavailable(&self, why: impl Into<String>) -> Error {
        Error::Unavailable { store: self.place(), why: why.into() }
    }

    pub(crate) fn passing(&self, why: impl Into<String>) -> Failure {
        Failure { error: self.unavailable(why), again: Again::Yes }
    }

    /// Returns what an error of the HTTP library means. There are no addresses in it: they are known, and may be secret.
    pub(crate) fn broken(&self, error: reqwest::Error) -> Failure {
        let is_ours = error.is_builder();
        let why = why(&error.without_url());
        if is_ours {
            let place = self.place();
            return Failure::lasting(Error::Invalid(format!("{place} cannot be asked: {why}")));
        }
        self.passing(why)
    }

    /// Returns what a status other than success, absence and conflict means for something of `size` bytes.
    pub(crate) fn refused(&self, response: &Response, what: &str, size: u64) -> Failure {
        let status = response.status();
        let place = self.place();
        let invalid = |why: String| Failure::lasting(Error::Invalid(why));
        match status {
            StatusCode::UNAUTHORIZED => invalid(format!(
                "{place} wants to know who asks (401): set `token` of the remote cache, or correct it"
            )),
            StatusCode::FORBIDDEN => invalid(format!(
                "{place} does not allow {what} (403): use a token with that right, or another `mode`"
            )),
            StatusCode::PROXY_AUTHENTICATION_REQUIRED => invalid(format!(
                "the proxy before {place} wants credentials (407): put them into the proxy's address"
            )),
            StatusCode::METHOD_NOT_ALLOWED | StatusCode::NOT_IMPLEMENTED => invalid(format!(
                "{place} cannot do {what} ({status}): allow it there (nginx: `dav_methods PUT DELETE MKCOL`), or use `mode` read"
            )),
            StatusCode::PAYLOAD_TOO_LARGE => Failure::lasting(Error::TooLarge {
                what: format!("{what}, refused by {place} as too large for it,"),
                size,
                // It does not say where its limit is.
                limit: size.saturating_sub(1),
            }),
            StatusCode::INSUFFICIENT_STORAGE => Failure::lasting(Error::Full {
                place,
                why: "the server's disk is full (507); make room there".to_owned(),
            }),
            _ if status.is_redirection() => invalid(format!(
                "{place} sends {what} somewhere else ({status}); if it moved, change `url` of the remote cache"
            )),
            StatusCode::TOO_MANY_REQUESTS | StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_EARLY => {
                let after = retry_after(response);
                Failure { error: self.unavailable(format!("it answers {status}")), again: after }
            }
            _ if status.is_server_error() => {
                let after = retry_after(response);
                Failure { error: self.unavailable(format!("it answers {status}")), again: after }
            }
            _ => invalid(format!("{place} answers {status} to {what}; check that `url` leads to a cache")),
        }
    }
}

fn retry_after(response: &Response) -> Again {
    again_after(response.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok()))
}

/// Returns when to come again; a date instead of seconds counts as "later".
pub(crate) fn again_after(text: Option<&str>) -> Again {
    let seconds = text.and_then(|text| text.trim().parse().ok());
    seconds.map_or(Again::Yes, |seconds| Again::After(Duration::from_secs(seconds)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_that_says_when_is_taken_at_its_word() {
        let pause = |text| again_after(text).pause(0);
        assert_eq!(pause(Some(" 4 ")), Some(Duration::from_secs(4)));
        assert_eq!(pause(Some("0")), Some(Duration::ZERO));
        assert_eq!(pause(Some("3600")), None, "it is out of reach for now");
        for text in [None, Some("Wed, 21 Oct 2026 07:28:00 GMT"), Some("-1")] {
            assert!(pause(text).is_some_and(|pause| pause < Duration::from_secs(1)), "{text:?}");
        }
        assert_eq!(Again::No.pause(0), None);
    }
}

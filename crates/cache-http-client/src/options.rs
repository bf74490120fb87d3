//! Where the server is, and how much is expected of it.

use std::fmt;
use std::time::Duration;

use cache_core::envelope::Compression;
use cache_core::{Error, Result};
use reqwest::Url;

use crate::token::Token;

/// Which protocol the server speaks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Backend {
    /// `GET`, `HEAD`, `PUT` and `DELETE` by path: nginx with its DAV module, any `WebDAV` server, any key-value store over HTTP.
    #[default]
    Generic,
    /// Our own: a server of this project.
    Native,
    /// Bazel's HTTP cache, `ac/<hex>` and `cas/<hex>`: bazel-remote and others.
    Bazel,
}

/// What may be done with the server. The server's own rights hold as well.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    /// Nothing is sent there; what would be is [`Error::Unsupported`].
    Read,
    /// Nothing is fetched from there; everything that would be is a miss.
    Write,
    /// Both.
    #[default]
    ReadWrite,
}

impl Mode {
    pub(crate) fn reads(self) -> bool {
        self != Self::Write
    }

    pub(crate) fn writes(self) -> bool {
        self != Self::Read
    }
}

/// How to reach a server, and within which bounds. Made by [`new`](Self::new), and changed field by field.
#[derive(Clone)]
#[non_exhaustive]
pub struct HttpOptions {
    /// Where the cache is, such as `https://cache.example.com/kv/team`. It has no user, password, query or fragment.
    pub url: String,
    /// Sent as `Authorization: Bearer`, or as the password if there is a [`user`](Self::user).
    pub token: Option<Token>,
    /// With it, the token is the password of `Authorization: Basic`.
    pub user: Option<String>,
    /// Which protocol the server speaks.
    pub backend: Backend,
    /// What may be done with it.
    pub mode: Mode,
    /// How long an operation may take with all of its attempts. What is streamed may take longer for each byte, see
    /// [`MIN_RATE`](Self::MIN_RATE).
    pub timeout: Duration,
    /// How long an attempt may go on without an answer, and a body without a byte.
    pub stall: Duration,
    /// How often an operation that is safe to repeat is repeated.
    pub retries: u32,
    /// Bytes of the largest blob that is sent or fetched.
    pub max_blob: u64,
    /// Bytes of the largest entry that is fetched, as stored.
    pub max_entry: u64,
    /// How the values of entries are compressed, and blobs on their way to and from servers that can do that. For those,
    /// [`Adaptive`](Compression::Adaptive) means zstd, unless the server is on this machine.
    pub compression: Compression,
    /// Requests at the same time, and connections of HTTP/1.1 with them.
    pub connections: usize,
    /// Certificates (PEM) of further authorities that are believed, beside those of the system.
    pub extra_ca: Option<Vec<u8>>,
    /// Whether a part of a blob is believed without the rest. It comes at less cost then and cannot be verified, so the server
    /// must be one that cannot err. Without it, all of the blob is fetched and verified for each part.
    pub trust_ranges: bool,
    /// Whether a read that takes longer than 95 of 100 do is asked a second time beside the first, and the earlier answer
    /// taken. It is done for at most one of fifty reads, and never for what changes something.
    pub hedge: bool,
}

impl HttpOptions {
    /// Default of [`timeout`](Self::timeout): a build waits, and making most things again takes no longer.
    pub const TIMEOUT: Duration = Duration::from_secs(30);
    /// Default of [`stall`](Self::stall): three attempts fit into the timeout.
    pub const STALL: Duration = Duration::from_secs(10);
    /// Default of [`retries`](Self::retries).
    pub const RETRIES: u32 = 2;
    /// Default of [`max_blob`](Self::max_blob), in bytes: larger than any sensible artifact.
    pub const MAX_BLOB: u64 = 16 << 30;
    /// Default of [`max_entry`](Self::max_entry), in bytes: the largest value, and facts about a hundred thousand outputs.
    pub const MAX_ENTRY: u64 = 24 << 20;
    /// Default of [`connections`](Self::connections): enough to hide a round trip, few enough for a small server.
    pub const CONNECTIONS: usize = 64;
    /// Bytes per second that buy time: a streamed body may take the timeout, and a second for so many bytes that have come.
    pub const MIN_RATE: u64 = 16 << 10;

    /// Returns the defaults for the server at `url`.
    pub fn new(url: impl Into<String>) -> Self {
        Self {
            url: url.into(),
            token: None,
            user: None,
            backend: Backend::Generic,
            mode: Mode::ReadWrite,
            timeout: Self::TIMEOUT,
            stall: Self::STALL,
            retries: Self::RETRIES,
            max_blob: Self::MAX_BLOB,
            max_entry: Self::MAX_ENTRY,
            compression: Compression::Adaptive,
            connections: Self::CONNECTIONS,
            extra_ca: None,
            trust_ranges: false,
            hedge: true,
        }
    }

    /// Returns how long the server may be waited for, all in all, by an operation that has moved so many bytes.
    pub(crate) fn patience(&self, moved: u64) -> Duration {
        self.timeout + Duration::from_secs(moved / Self::MIN_RATE)
    }

    /// Returns the address as one that paths can be appended to.
    pub(crate) fn base(&self) -> Result<Url> {
        // What is refused is not repeated as a whole: there may be a password in it.
        let invalid =
            |why: &str| Error::Invalid(format!("the url of the remote cache cannot be used: {why}"));
        let example = "write something like https://cache.example.com/kv/team";
        let mut url: Url =
            self.url.trim().parse().map_err(|error| invalid(&format!("{error}; {example}")))?;
        if !matches!(url.scheme(), "http" | "https") {
            return Err(invalid(&format!("its scheme is {}, not http or https; {example}", url.scheme())));
        }
        if !url.has_host() {
            return Err(invalid(&format!("it names no host; {example}")));
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err(invalid("there are credentials in it; put them into `user` and `token`"));
        }
        if url.query().is_some() || url.fragment().is_some() {
            return Err(invalid("there is a `?` or `#` in it; paths are appended to it"));
        }
        if !url.path().ends_with('/') {
            let path = format!("{}/", url.path());
            url.set_path(&path);
        }
        Ok(url)
    }
}

impl fmt::Debug for HttpOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Of a url only what has been understood: there may be a password in it.
        let url = self.base();
        f.debug_struct("HttpOptions")
            .field("url", &url.as_ref().map_or("unusable", Url::as_str))
            .field("token", &self.token)
            .field("mode", &self.mode)
            .field("timeout", &self.timeout)
            .field("stall", &self.stall)
            .field("retries", &self.retries)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_that_moved_buy_time() {
        let mut options = HttpOptions::new("http://a");
        options.timeout = Duration::from_secs(3);
        for (moved, seconds) in [(0, 3), (16_383, 3), (16_384, 4), (16 << 20, 3 + 1024)] {
            assert_eq!(options.patience(moved), Duration::from_secs(seconds));
        }
    }

    #[test]
    fn addresses_that_cannot_be_used_say_why() {
        for (url, why) in [
            ("", "write something like"),
            ("cache.example.com", "write something like"),
            ("ftp://cache.example.com/", "not http or https"),
            ("http://", "host"),
            ("http://me:hunter2@cache.example.com/", "`user` and `token`"),
            ("http://cache.example.com/?x=1", "`?` or `#`"),
            ("http://cache.example.com/#x", "`?` or `#`"),
        ] {
            let options = HttpOptions::new(url);
            let error = options.base().unwrap_err().to_string();
            assert!(error.contains(why) && !error.contains("hunter2"), "{url}: {error}");
            assert!(!format!("{options:?}").contains("hunter2"));
        }
        for (url, base) in [
            ("http://a", "http://a/"),
            (" https://a:8/b/c ", "https://a:8/b/c/"),
            ("http://a/b/", "http://a/b/"),
        ] {
            assert_eq!(HttpOptions::new(url).base().unwrap().as_str(), base);
        }
    }
}

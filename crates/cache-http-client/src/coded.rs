//! Blobs that are compressed on their way.

use std::io;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use cache_core::coding::{Coding, Encoder};
use cache_core::envelope::Compression;
use cache_core::{Body, Result};
use futures_util::stream::{StreamExt, once, try_unfold};
use reqwest::header::{ACCEPT_ENCODING, CONTENT_ENCODING, HeaderMap, HeaderName, HeaderValue};
use reqwest::{Response, Url};

use crate::server::Server;

/// Says how long a blob is when it is not coded. The name is bazel-remote's.
pub(crate) const SIZE: HeaderName = HeaderName::from_static("x-digest-sizebytes");
/// Smaller blobs fit in one packet of the network either way.
const WORTH_IT: usize = 1 << 10;
/// Largest window of what arrives in zstd, as a power of two: the 8 MiB that RFC 8878 asks of decoders (section 3.1.1.1.2).
pub(crate) const MAX_WINDOW: u32 = 23;

/// Returns how blobs on their way to or from the server at `base` are to be coded.
pub(crate) fn coding(compression: Compression, base: &Url) -> Option<Coding> {
    match compression {
        Compression::None => None,
        Compression::Lz4 => Some(Coding::Lz4),
        Compression::Zstd => Some(Coding::Zstd),
        // What does not leave the machine arrives no sooner.
        Compression::Adaptive => (!is_here(base)).then_some(Coding::Zstd),
    }
}

fn is_here(base: &Url) -> bool {
    let Some(host) = base.host_str() else { return false };
    let address = host.trim_start_matches('[').trim_end_matches(']').parse::<std::net::IpAddr>();
    address.map_or_else(|_| host.eq_ignore_ascii_case("localhost"), |address| address.is_loopback())
}

/// Returns the headers of an upload of `len` bytes that is coded.
pub(crate) fn headers(coding: Coding, len: u64) -> HeaderMap {
    let coding = (CONTENT_ENCODING, HeaderValue::from_static(coding.name()));
    [coding, (SIZE, len.into())].into_iter().collect()
}

/// Returns `content` coded, if it shrinks by so much that it pays.
pub(crate) fn whole(coding: Coding, content: &Bytes) -> Option<Bytes> {
    if content.len() < WORTH_IT || !coding.pays(content) {
        return None;
    }
    let coded = || -> io::Result<Bytes> {
        let mut encoder = Encoder::new(coding, content.len() as u64)?;
        let coded = encoder.push(content)?;
        Ok([coded, encoder.finish()?].concat().into())
    };
    coded().ok().filter(|coded| coded.len() < content.len())
}

/// Returns whether it pays to code `body`, by what its first piece promises, and all of it again.
///
/// # Cancel safety
/// Dropping the future loses the content.
pub(crate) async fn sampled(coding: Coding, mut body: Body) -> Result<(bool, Body)> {
    let Some(first) = body.next().await? else { return Ok((false, Bytes::new().into())) };
    let pays = first.len() >= WORTH_IT && coding.pays(&first);
    let rest = try_unfold(body, |mut body| async move { Ok(body.next().await?.map(|piece| (piece, body))) });
    Ok((pays, Body::Stream(Box::pin(once(async { Ok(first) }).chain(rest)))))
}

impl Server {
    /// Returns how blobs that are sent may be coded: as the options say, once the server said that it takes that.
    pub(crate) fn coding_of_uploads(&self) -> Option<Coding> {
        self.coding.filter(|_| self.takes_coded.load(Ordering::Relaxed))
    }

    /// Learns from an answer whether the server takes what is coded (RFC 7694).
    pub(crate) fn learn(&self, response: &Response) {
        let Some(coding) = self.coding else { return };
        let listed = response.headers().get_all(ACCEPT_ENCODING).iter().filter_map(|list| list.to_str().ok());
        let mut listed = listed.flat_map(|list| list.split(',')).map(str::trim);
        if listed.any(|name| Coding::named(name) == Some(coding)) {
            self.takes_coded.store(true, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_stays_on_the_machine_is_coded_only_if_somebody_says_so() {
        for (url, here) in [
            ("http://127.0.0.1:8080/", true),
            ("http://[::1]:8080/", true),
            ("http://LocalHost/", true),
            ("http://10.0.0.1/", false),
            ("https://localhost.example.com/", false),
        ] {
            let base: Url = url.parse().unwrap();
            assert_eq!(coding(Compression::Adaptive, &base).is_none(), here, "{url}");
            assert_eq!(coding(Compression::Lz4, &base), Some(Coding::Lz4));
            assert_eq!(coding(Compression::None, &base), None);
        }
    }

    #[test]
    fn what_does_not_shrink_is_left_as_it_is() {
        for coding in Coding::ALL {
            assert!(whole(coding, &cache_testkit::content(1, 100_000)).is_none());
            assert!(whole(coding, &vec![0; 100].into()).is_none());
            assert!(whole(coding, &vec![0; 100_000].into()).is_some_and(|coded| coded.len() < 1_000));
        }
    }
}

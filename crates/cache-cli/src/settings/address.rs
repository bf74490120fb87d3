//! Where a server listens, as people write it.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;

/// A place to listen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Address {
    /// An address, and a port if it has its own.
    Ip(IpAddr, Option<u16>),
    /// A Unix socket.
    Unix(PathBuf),
}

impl Address {
    /// Returns the place that `text` means, if it means any.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        if let Some(path) = text.strip_prefix("unix:") {
            return (!path.is_empty()).then(|| Self::Unix(path.into()));
        }
        if let Some(rest) = text.strip_prefix("localhost") {
            let host = IpAddr::V4(Ipv4Addr::LOCALHOST);
            return match rest.strip_prefix(':') {
                None => rest.is_empty().then_some(Self::Ip(host, None)),
                Some(port) => Some(Self::Ip(host, Some(port.parse().ok()?))),
            };
        }
        if let Ok(address) = text.parse::<SocketAddr>() {
            return Some(Self::Ip(address.ip(), Some(address.port())));
        }
        let bare = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(text);
        Some(Self::Ip(bare.parse().ok()?, None))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_people_write() {
        let ip = |text: &str, port| Some(Address::Ip(text.parse().unwrap(), port));
        for (text, expected) in [
            ("127.0.0.1", ip("127.0.0.1", None)),
            ("0.0.0.0:9000", ip("0.0.0.0", Some(9000))),
            ("::", ip("::", None)),
            ("[::1]", ip("::1", None)),
            ("[::1]:80", ip("::1", Some(80))),
            ("localhost", ip("127.0.0.1", None)),
            ("localhost:0", ip("127.0.0.1", Some(0))),
            ("unix:/run/c.sock", Some(Address::Unix("/run/c.sock".into()))),
            ("unix:", None),
            ("localhostess", None),
            ("cache.example.com", None),
            (":8080", None),
            ("1.2.3.4:99999", None),
            ("", None),
        ] {
            assert_eq!(Address::parse(text), expected, "{text}");
        }
    }
}

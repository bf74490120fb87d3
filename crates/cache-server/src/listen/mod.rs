//! Where a server listens.

mod accept;
#[cfg(unix)]
mod socket_file;

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

pub(crate) use accept::{Listeners, Stream};

/// What the text of a [`Listen::Unix`] starts with.
const UNIX: &str = "unix:";

/// A place to listen at, written `127.0.0.1:8080`, `[::1]:8080` or `unix:/run/vitte-cache.sock`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
#[non_exhaustive]
pub enum Listen {
    /// An address and port. Port 0 takes a free one.
    Tcp(SocketAddr),
    /// The path of a Unix socket. Only the user that the server runs as can connect (mode 0600), so it counts as loopback, and
    /// TLS is not used on it. Systems without Unix sockets refuse it.
    Unix(PathBuf),
}

impl Listen {
    /// Returns the address, unless this is a Unix socket.
    pub fn tcp(&self) -> Option<SocketAddr> {
        match self {
            Self::Tcp(address) => Some(*address),
            Self::Unix(_) => None,
        }
    }

    /// Returns whether only this machine can connect.
    pub fn is_loopback(&self) -> bool {
        match self {
            Self::Tcp(address) => address.ip().to_canonical().is_loopback(),
            Self::Unix(_) => true,
        }
    }
}

impl From<SocketAddr> for Listen {
    fn from(address: SocketAddr) -> Self {
        Self::Tcp(address)
    }
}

impl fmt::Display for Listen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => address.fmt(f),
            Self::Unix(path) => write!(f, "{UNIX}{}", path.display()),
        }
    }
}

/// A text that names no place to listen at.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "cannot listen on `{0}`: it is neither an address with a port, such as 127.0.0.1:8080 or [::]:8080, nor a Unix socket, such \
     as unix:/run/vitte-cache.sock"
)]
pub struct ParseListenError(String);

impl FromStr for Listen {
    type Err = ParseListenError;

    fn from_str(text: &str) -> Result<Self, ParseListenError> {
        match text.strip_prefix(UNIX) {
            // The system would cut a path off at a NUL.
            Some(path) if !path.is_empty() && !path.contains('\0') => Ok(Self::Unix(path.into())),
            Some(_) => Err(ParseListenError(text.to_owned())),
            None => text.parse().map(Self::Tcp).map_err(|_| ParseListenError(text.to_owned())),
        }
    }
}

impl TryFrom<String> for Listen {
    type Error = ParseListenError;

    fn try_from(text: String) -> Result<Self, ParseListenError> {
        text.parse()
    }
}

impl From<Listen> for String {
    fn from(listen: Listen) -> Self {
        listen.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_and_back() {
        for text in ["127.0.0.1:8080", "[::1]:0", "0.0.0.0:1", "unix:/run/x.sock", "unix:x"] {
            let listen: Listen = text.parse().unwrap();
            assert_eq!(listen.to_string(), text);
            let json = serde_json::to_string(&listen).unwrap();
            assert_eq!(json, format!("\"{text}\""));
            assert_eq!(serde_json::from_str::<Listen>(&json).unwrap(), listen);
        }
        for bad in ["", "8080", "127.0.0.1", "unix:", "unix:a\0b", "/run/x.sock", "localhost"] {
            let error = bad.parse::<Listen>().unwrap_err();
            assert!(error.to_string().contains(&format!("`{bad}`")), "{error}");
        }
    }

    #[test]
    fn what_only_this_machine_reaches() {
        let is_loopback = |text: &str| text.parse::<Listen>().unwrap().is_loopback();
        for near in ["127.0.0.1:1", "127.9.9.9:1", "[::1]:1", "[::ffff:127.0.0.1]:1", "unix:/x"] {
            assert!(is_loopback(near), "{near}");
        }
        for far in ["0.0.0.0:1", "[::]:1", "10.0.0.1:1"] {
            assert!(!is_loopback(far), "{far}");
        }
    }
}

//! Why a server does not start.

use std::io;
use std::net::SocketAddr;

/// Why a [`Server`](crate::Server) could not be made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ServerError {
    /// Others could reach the server and would need no credential.
    #[error(
        "{address} can be reached from other machines, and no token is configured: anybody could change the cache; \
         create a token, listen on 127.0.0.1, or allow it with --insecure-anonymous"
    )]
    Open {
        /// Where it would have listened.
        address: SocketAddr,
    },
    /// The address cannot be listened on.
    #[error("cannot listen on {address}: {source}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// What the system said.
        source: io::Error,
    },
    /// The directory for uploads under way cannot be used.
    #[error("cannot keep uploads in {}: {source}; choose another spool directory", .path.display())]
    Spool {
        /// The directory.
        path: std::path::PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A limit is zero, so nothing could ever be served.
    #[error("{what} is 0, so that nothing could be served; it has to be at least 1")]
    Limit {
        /// Which limit.
        what: &'static str,
    },
}

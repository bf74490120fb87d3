//! Why a server does not start.

use std::io;
use std::path::PathBuf;

use crate::{Listen, TlsError};

/// Why a [`Server`](crate::Server) could not be made, or why one does not take over new options.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ServerError {
    /// Others could reach the server and would need no credential.
    #[error(
        "{address} can be reached from other machines, and no token is configured: anybody could change the cache; \
         create a token, listen on 127.0.0.1, ask for certificates of clients, or allow it with --insecure-anonymous"
    )]
    Open {
        /// Where it would have listened.
        address: Listen,
    },
    /// There is no place to listen at.
    #[error("there is no address to listen on; configure at least one, such as 127.0.0.1:8080")]
    Nowhere,
    /// The address cannot be listened on.
    #[error("cannot listen on {address}: {source}")]
    Listen {
        /// The address.
        address: Listen,
        /// What the system said.
        source: io::Error,
    },
    /// Another server listens on the Unix socket.
    #[error("another server answers on {}; stop it, or choose another path", .path.display())]
    SocketInUse {
        /// The socket.
        path: PathBuf,
    },
    /// Something that is no socket has the path of the Unix socket.
    #[error("{} is there and is no socket; remove it, or choose another path", .path.display())]
    NotASocket {
        /// The path.
        path: PathBuf,
    },
    /// The certificates cannot be used.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The directory for uploads under way cannot be used.
    #[error("cannot keep uploads in {}: {source}; choose another spool directory", .path.display())]
    Spool {
        /// The directory.
        path: PathBuf,
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

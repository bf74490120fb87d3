//! What a server is told when it starts.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use crate::{Listen, Protocol, Rights, ServerError, TlsOptions};

/// How a server serves. The default listens on loopback, for everybody on this machine.
#[derive(Clone, Debug)]
pub struct ServerOptions {
    /// Where to listen: at least one place.
    pub listen: Vec<Listen>,
    /// The files for TLS. Without them, what is sent can be read by everybody on the way. Unix sockets do without.
    pub tls: Option<TlsOptions>,
    /// Who may do what.
    pub rights: Rights,
    /// Whether to listen beyond loopback even though neither a token nor a client's certificate is needed.
    pub insecure_anonymous: bool,
    /// Where uploads go that are too large for memory, as unnamed files; the system's temporary directory if nothing. It is
    /// created, for this user alone, if it is not there.
    pub spool_dir: Option<PathBuf>,
    /// What differs from the default for a protocol.
    pub protocols: BTreeMap<Protocol, ProtocolOptions>,
    /// What clients may take of the machine.
    pub limits: Limits,
    /// How long to wait for what.
    pub timeouts: Timeouts,
}

impl Default for ServerOptions {
    fn default() -> Self {
        Self {
            listen: vec![SocketAddr::from((Ipv4Addr::LOCALHOST, 8080)).into()],
            tls: None,
            rights: Rights::default(),
            insecure_anonymous: false,
            spool_dir: None,
            protocols: BTreeMap::new(),
            limits: Limits::default(),
            timeouts: Timeouts::default(),
        }
    }
}

impl ServerOptions {
    /// Refuses what could serve nobody, and what would serve everybody by accident.
    pub(crate) fn check(&self, listen: &[Listen]) -> Result<(), ServerError> {
        if listen.is_empty() {
            return Err(ServerError::Nowhere);
        }
        for (what, is_zero) in [
            ("the limit of connections", self.limits.connections == 0),
            ("the limit of requests", self.limits.requests == 0),
            ("the limit of streams", self.limits.streams == 0),
        ] {
            if is_zero {
                return Err(ServerError::Limit { what });
            }
        }
        let asks_for_certificates = self.tls.as_ref().is_some_and(|tls| tls.client_ca.is_some());
        let is_open = self.rights.is_open() && !asks_for_certificates && !self.insecure_anonymous;
        match listen.iter().find(|listen| is_open && !listen.is_loopback()) {
            Some(listen) => Err(ServerError::Open { address: listen.clone() }),
            None => Ok(()),
        }
    }

    /// Returns the options of `protocol`.
    pub(crate) fn protocol(&self, protocol: Protocol) -> ProtocolOptions {
        self.protocols.get(&protocol).copied().unwrap_or_default()
    }
}

/// How one protocol is served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProtocolOptions {
    /// Whether it is served at all.
    pub enabled: bool,
    /// Largest value in bytes, if less than [`Limits::max_value`].
    pub max_value: Option<u64>,
    /// Whether what names other values is a miss while one of them is not there. Only [`Protocol::Bazel`] has such values.
    pub check_references: bool,
}

impl Default for ProtocolOptions {
    fn default() -> Self {
        Self { enabled: true, max_value: None, check_references: true }
    }
}

/// What clients may take of the machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Connections at a time. Further ones are answered 503 and closed.
    pub connections: usize,
    /// Requests at a time, over all connections. As many again wait for a moment; further ones are answered 503.
    pub requests: usize,
    /// Requests at a time on one HTTP/2 connection.
    pub streams: u32,
    /// Largest value in bytes.
    pub max_value: u64,
    /// Bytes of uploads under way that are in the spool directory together.
    pub spool_bytes: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            // Below the 4,096 to 65,536 open files that systems allow a service, with room for the store's own.
            connections: 2_000,
            // Times the memory per request this stays within 256 MiB.
            requests: 256,
            streams: 100,
            // Container images and toolchains are the largest things that build tools cache.
            max_value: 8 << 30,
            spool_bytes: 32 << 30,
        }
    }
}

/// How long a server waits for what.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timeouts {
    /// From the moment a connection is accepted or an answer is sent until the next request's header is there.
    pub header: Duration,
    /// Without a single byte in either direction.
    pub idle: Duration,
    /// For a request's body, and for each piece of an answer's, of 256 KiB at most, beyond the time it takes at
    /// [`Timeouts::BODY_RATE`]. Of an answer, what the systems on both sides hold counts as read.
    pub body: Duration,
    /// For a request to get its turn while as many as allowed are running.
    pub turn: Duration,
    /// For one call to the store, beyond the time it takes at [`Timeouts::STORE_RATE`]. A read that takes longer is a miss, a
    /// write is answered 503.
    pub store: Duration,
    /// For requests under way when the server is told to stop, and then for the store to flush.
    pub drain: Duration,
}

impl Timeouts {
    /// Bytes per second that an upload, or the reader of an answer, must keep up: slower than any real network, and too fast to hold many requests open.
    pub const BODY_RATE: u64 = 4 << 10;
    /// Bytes per second that a store must keep up: a tenth of a slow disk.
    pub const STORE_RATE: u64 = 4 << 20;
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            header: Duration::from_mins(1),
            idle: Duration::from_mins(1),
            body: Duration::from_mins(1),
            // Longer than a burst of small requests takes, shorter than any client's own deadline.
            turn: Duration::from_secs(2),
            // A disk that is busy takes seconds; no build waits longer for a cache than for the work itself.
            store: Duration::from_secs(10),
            drain: Duration::from_secs(30),
        }
    }
}

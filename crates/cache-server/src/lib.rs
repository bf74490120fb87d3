//! One cache server for many build tools: any [`Store`](cache_core::Store), shared over the HTTP protocols that the tools
//! already speak.
//!
//! [`Server::bind`] listens, [`Server::run_until`] serves until it is told to stop and then drains. [`Control`] changes
//! options meanwhile. Who may do what is in
//! [`Rights`], what a client may take of the machine in [`Limits`] and [`Timeouts`].
//!
//! # Paths
//! | Path | Protocol |
//! |---|---|
//! | `/kv/<any/path>` | plain GET, HEAD, PUT, DELETE |
//! | `/ccache/…` | ccache, in its three layouts |
//! | `/sccache/…` | sccache over WebDAV |
//! | `[/<instance>]/ac/<64 hex>`, `[/<instance>]/cas/<64 hex>` | Bazel over HTTP |
//! | `/cache/<key>` | Gradle |
//! | `/maven/…` | Maven's build cache extension |
//! | `/v8/artifacts/…` | Turborepo |
//! | `/v1/cache/<hash>` | Nx |
//! | `/v1/…` | our own: entries and blobs, for stores of this project |
//! | `/livez`, `/readyz`, `/status`, `/metrics` | the server itself |
//!
//! All of them are also there below `/ns/<namespace>/`, which keeps them apart from those of other namespaces.
//!
//! # Logs and traces
//! Everything goes through `tracing`. Each request is an event of the target `vitte_cache::access` when its answer is sent, and a
//! span of the target `vitte_cache::request` that lasts as long as it does and holds what happens meanwhile: a subscriber can
//! export it. Both have the request's id, method, protocol, namespace, status, bytes and duration, neither has credentials.
//!
//! # Memory
//! A request holds at most [`MEMORY_PER_REQUEST`] bytes of content, however large the content is; larger uploads go through
//! unnamed temporary files. Bazel's protocol takes more for some requests, of which there are few at a time: up to 1 MiB to
//! compress an answer (32), up to the window of 8 MiB to decompress an upload (16), and results in both forms where they are
//! converted from or to JSON (4). The native protocol has one large entry at a time in memory to check it, which takes up to
//! 40 MiB: its envelope and its value.

mod answers;
mod app;
mod conditions;
mod connection;
mod control;
mod counters;
mod error;
mod framing;
#[cfg(feature = "fuzzing")]
#[doc(hidden)]
pub mod fuzzing;
mod gate;
mod health;
mod histogram;
mod idle;
mod listen;
mod metrics;
mod options;
mod outgoing;
mod pace;
mod protocol;
mod record;
mod reply;
mod rights;
mod sendfile;
mod server;
mod settings;
mod slots;
mod target;
mod tls;
mod vault;

pub use control::{Control, Reloaded};
pub use error::ServerError;
pub use listen::{Listen, ParseListenError};
pub use options::{Limits, ProtocolOptions, ServerOptions, Timeouts};
pub use protocol::Protocol;
pub use rights::{Anonymous, Right, Rights, Secret, Token};
pub use server::{Drained, Server};
pub use tls::{TlsError, TlsOptions};
pub use vault::MEMORY_PER_REQUEST;

//! One cache server for many build tools: any [`Store`](cache_core::Store), shared over the HTTP protocols that the tools
//! already speak.
//!
//! [`Server::bind`] listens, [`Server::run_until`] serves until it is told to stop and then drains. Who may do what is in
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
//! | `/livez`, `/readyz`, `/status` | the server itself |
//!
//! All of them are also there below `/ns/<namespace>/`, which keeps them apart from those of other namespaces.
//!
//! # Memory
//! A request holds at most [`MEMORY_PER_REQUEST`] bytes of content, however large the content is; larger uploads go through
//! unnamed temporary files. Bazel's protocol takes more for some requests, of which there are few at a time: up to 1 MiB to
//! compress an answer (32), up to the window of 8 MiB to decompress an upload (16), and results in both forms where they are
//! converted from or to JSON (4).

mod app;
mod conditions;
mod connection;
mod counters;
mod error;
mod gate;
mod health;
mod idle;
mod options;
mod outgoing;
mod protocol;
mod reply;
mod rights;
mod server;
mod target;
mod vault;

pub use error::ServerError;
pub use options::{Limits, ProtocolOptions, ServerOptions, Timeouts};
pub use protocol::Protocol;
#[cfg(feature = "fuzzing")]
#[doc(hidden)]
pub use protocol::fuzzing;
pub use rights::{Anonymous, Right, Rights, Secret, Token};
pub use server::{Drained, Server};
pub use vault::MEMORY_PER_REQUEST;

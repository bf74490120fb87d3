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
//! | `/v1/…` | our own: entries and blobs, for stores of this project |
//! | `/livez`, `/readyz`, `/status` | the server itself |
//!
//! All of them are also there below `/ns/<namespace>/`, which keeps them apart from those of other namespaces.
//!
//! # Memory
//! A request holds at most [`MEMORY_PER_REQUEST`] bytes of content, however large the content is; larger uploads go through
//! unnamed temporary files.

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
pub use rights::{Anonymous, Right, Rights, Secret, Token};
pub use server::{Drained, Server};
pub use vault::MEMORY_PER_REQUEST;

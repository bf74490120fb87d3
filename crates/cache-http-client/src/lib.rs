//! A cache on an HTTP server: [`HttpStore`], a [`Store`](cache_core::Store) over a server of this project, one of Bazel's HTTP
//! cache, nginx with DAV, any `WebDAV` server, or any key-value store with `GET`, `HEAD`, `PUT` and `DELETE` by path. Which one it
//! is says [`Backend`].
//!
//! ```
//! use cache_http_client::{HttpOptions, HttpStore, Token};
//!
//! let mut options = HttpOptions::new("https://cache.example.com/kv/team");
//! options.token = Some(Token::expand("${VITTE_TOKEN}", |_| Some("from the environment".to_owned()))?);
//! let store = HttpStore::open(options)?;
//! # Ok::<(), cache_core::Error>(())
//! ```
//!
//! **Where things are.** On generic servers, entries are at `e/<2 digits>/<key>` in [envelopes](cache_core::envelope), blobs as they
//! are at `b/<blake3 or sha256>/<2 digits>/<digest>`, below the address of the options. The blob of nothing is stored as a line end.
//! Collections of `WebDAV` are made where the server wants them. On servers of Bazel's HTTP cache, an entry is an `ActionResult`
//! whose output is its envelope and whose files are its blobs.
//!
//! **Verified.** An entry is a hit if its envelope is sound, the key in it is the one asked for, and its blobs are there with
//! the lengths that it names. A blob of up to 1 MiB is verified before any of it is handed out, and is a miss if it is wrong;
//! of a larger one, the last piece waits for the proof, and the body fails instead of ending. A part of a blob is cut out of
//! the whole, unless [`HttpOptions::trust_ranges`] says otherwise.
//!
//! **Uploaded whole.** Every upload has a length, and its last piece is sent when all of it is known to be right. A server that
//! drops what is cut off never has a wrong blob.
//!
//! **Bounded.** Each operation has a deadline, each body must make progress, requests at the same time are limited, and
//! repetitions come from a budget: a tenth of the load. Repeated are questions, and what can be sent again from memory;
//! never a removal, nor content that streamed by. A download that breaks off goes on where it stopped, and so does an upload
//! of more than 8 MiB to a server of this project, if the content is a file or in memory.
//!
//! **Compressed.** Blobs are on their way to and from servers of this project, and on their way from servers of Bazel's HTTP cache, as
//! [`HttpOptions::compression`] says, where that makes them smaller. What they are decompressed to is verified like any content.
//!
//! **Early.** A read that takes unusually long is asked a second time, within a budget of its own, and the first answer wins.
//!
//! **Not done here**: collection. The server decides what it keeps. Servers that are not ours also have no lists and no
//! `IfAbsent` that is atomic among several processes.
//!
//! A proxy is taken from `HTTPS_PROXY`, `HTTP_PROXY`, `ALL_PROXY` and `NO_PROXY`. Redirects of questions are followed, without
//! the token if they lead to another server; those of uploads and removals are errors.

mod bazel;
mod budget;
mod clock;
mod coded;
mod download;
mod failure;
#[cfg(feature = "fuzzing")]
#[doc(hidden)]
pub mod fuzzing;
mod generic;
mod hedge;
mod native;
mod options;
mod pending;
mod resume;
mod server;
mod store;
mod token;
mod upload;
mod wire;

pub use options::{Backend, HttpOptions, Mode};
pub use store::{HttpStore, NAME};
pub use token::Token;

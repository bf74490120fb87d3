//! Real, unmodified clients against a real server, with a token: cold, then everything local wiped, then warm, with the client's
//! own proof that it came from the server. A client that is not installed is named and skipped, except where `CI` is `true`.
#![allow(
    clippy::unwrap_used,
    clippy::print_stderr,
    reason = "a test fails where it stands, and says what it skips"
)]

#[path = "../common/mod.rs"]
mod common;
mod support;

mod bazel;
mod ccache;
mod curl;
mod gradle;
mod maven;
mod metro;
mod moon;
mod nix;
mod nx;
mod rush;
mod sccache;
mod turborepo;

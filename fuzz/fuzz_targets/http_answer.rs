//! No header of another server's answer makes the client panic.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| cache_http_client::fuzzing::header(text));

//! No path makes the server panic, and each of its parts is one name to every file system.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| cache_server::fuzzing::path(text));

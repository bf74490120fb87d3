//! No bytes are taken for a token that they are not, and a good one is known with any user's name.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: (&[u8], &str)| cache_server::fuzzing::credential(input.0, input.1));

//! Every text of a configuration is a token that can be sent or an error, and no error shows what a variable has.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: (&str, &str)| cache_http_client::fuzzing::token(input.0, input.1));

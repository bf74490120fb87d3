//! Whatever a client says about ranges and tags, what it gets is within the value.

#![no_main]

use libfuzzer_sys::fuzz_target;

type Header<'a> = Option<&'a [u8]>;

fuzz_target!(|input: (Header<'_>, Header<'_>, Header<'_>, u64)| {
    let (range, none_match, if_range, len) = input;
    cache_server::fuzzing::conditions(range, none_match, if_range, len);
});

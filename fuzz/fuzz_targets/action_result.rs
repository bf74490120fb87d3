//! No bytes make the server panic that are taken for the result of an action or for a directory listing, and a result in JSON is
//! the same result in protobuf.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: (u8, &[u8])| {
    let (piece, bytes) = input;
    cache_server::fuzzing::message(bytes, usize::from(piece));
});

//! The team in a query is one part of a name, and a list of hashes has no more of them than its limit.

#![no_main]

use cache_server::fuzzing::{hashes, is_plain, team};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: (&str, &[u8])| {
    let (query, list) = input;
    if let Some(name) = team(query) {
        assert!(name.split('/').all(is_plain) && name.split('/').count() <= 2, "{name:?}");
    }
    assert!(hashes(list).is_none_or(|count| count <= 1_000));
});

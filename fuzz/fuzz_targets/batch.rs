//! What a client makes of the answer to a batch does not depend on the pieces in which it comes, and is what the server says; and
//! what a server takes for a question is about as many things as are in it.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: (u8, &[u8])| {
    let (size, bytes) = input;
    let found = cache_http_client::fuzzing::batch(bytes, bytes.len());
    assert_eq!(cache_http_client::fuzzing::batch(bytes, usize::from(size)), found);
    let mut rest = bytes;
    for it in &found {
        let frame = cache_server::fuzzing::frame(it.as_ref().map(|it| it.as_deref().map_err(|()| ())));
        rest = rest.strip_prefix(&*frame).expect("what the server says");
    }
    // Each takes more than a byte.
    assert!(cache_server::fuzzing::question(bytes).is_none_or(|count| count <= bytes.len() / 2));
});

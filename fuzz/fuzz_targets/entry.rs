//! No metadata makes the decoder of entries panic, and what it accepts survives being stored again.

#![no_main]

use cache_core::envelope::{Compression, Limits, decode_entry, encode, encode_entry};
use libfuzzer_sys::fuzz_target;

const LIMITS: Limits = Limits { metadata: 1 << 16, payload: 1 << 16 };
const VALUE: &[u8] = b"value";

fuzz_target!(|data: &[u8]| {
    // As found, and in an envelope with right checksums, which the fuzzer would not find.
    let _ = decode_entry(data, LIMITS);
    let Ok(sealed) = encode(data, VALUE, Compression::None) else { return };
    let Ok((key, entry)) = decode_entry(&sealed, LIMITS) else { return };
    assert_eq!(entry.value, VALUE);
    assert!(entry.size() >= VALUE.len() as u64);
    let again = encode_entry(&key, &entry, Compression::Adaptive).expect("it was an entry");
    assert_eq!(decode_entry(&again, Limits::default()), Ok((key, entry)));
});

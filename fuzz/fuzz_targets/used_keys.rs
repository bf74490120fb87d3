//! No bytes make the record of used keys panic, and what it reads is what it writes.

#![no_main]

use cache_coordinator::UsedKeys;
use cache_core::crc32c;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    if let Some(used) = UsedKeys::decode(data) {
        assert_eq!(used.encode(), data);
    }
    // With a right checksum, which the fuzzer would not find.
    let mut file = b"VTCU\x01\0\0\0".to_vec();
    file.extend_from_slice(&((data.len() / 32) as u32).to_le_bytes());
    file.extend_from_slice(&crc32c(data).to_le_bytes());
    file.extend_from_slice(data);
    let used = UsedKeys::decode(&file);
    assert_eq!(used.is_some(), data.len() % 32 == 0);
    assert!(used.is_none_or(|used| used.encode() == file));
});

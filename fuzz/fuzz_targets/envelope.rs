//! No bytes make the decoder of envelopes panic or allocate beyond its limits, and what it accepts can be encoded
//! again.

#![no_main]

use cache_core::envelope::{Compression, Limits, decode, encode};
use cache_core::{Fingerprint, crc32c};
use libfuzzer_sys::fuzz_target;

const LIMITS: Limits = Limits { metadata: 1 << 16, payload: 1 << 20 };
const HEADER: usize = 32;

fuzz_target!(|data: &[u8]| {
    check(data);
    if let Some(sealed) = seal(data) {
        check(&sealed);
    }
});

/// Returns an envelope with right checksums and total length, and everything else as `data` says: without it the fuzzer
/// would not get past the first checksum.
fn seal(data: &[u8]) -> Option<Vec<u8>> {
    let (head, rest) = data.split_at_checked(8)?;
    let metadata_len = usize::from(head[1]).min(rest.len());
    let payload_len = u64::from(u32::from_le_bytes([head[2], head[3], head[4], 0]));
    let mut envelope = b"VTCE\x01".to_vec();
    envelope.push(head[0] % 4);
    envelope.extend_from_slice(&[0, 0]);
    envelope.extend_from_slice(&(metadata_len as u32).to_le_bytes());
    envelope.extend_from_slice(&((rest.len() - metadata_len) as u64).to_le_bytes());
    envelope.extend_from_slice(&payload_len.to_le_bytes());
    envelope.extend_from_slice(&crc32c(&envelope).to_le_bytes());
    assert_eq!(envelope.len(), HEADER);
    envelope.extend_from_slice(rest);
    envelope.extend_from_slice(&Fingerprint::of(&envelope).to_bytes());
    Some(envelope)
}

fn check(bytes: &[u8]) {
    let Ok(parts) = decode(bytes, LIMITS) else { return };
    assert!(parts.metadata.len() <= LIMITS.metadata as usize);
    assert!(parts.payload.len() as u64 <= LIMITS.payload);
    for compression in [Compression::None, Compression::Adaptive, Compression::Lz4, Compression::Zstd] {
        let again = encode(parts.metadata, &parts.payload, compression).expect("it was within the limits");
        assert_eq!(decode(&again, LIMITS).as_ref(), Ok(&parts));
    }
}

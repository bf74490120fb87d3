//! No bytes make the decoders of what is coded on a wire panic or hand out more than a block at a time, what
//! comes out does not depend on the pieces in which they arrive, and what is coded comes back.

#![no_main]

use cache_core::coding::{Coding, Decoder, Encoder, Malformed};
use libfuzzer_sys::fuzz_target;

/// Bytes of content at which decoding stops, whatever is to come.
const ENOUGH: usize = 1 << 20;
const WINDOW: u32 = 17;

fuzz_target!(|data: &[u8]| {
    let Some((&size, data)) = data.split_first() else { return };
    let size = usize::from(size) + 1;
    for coding in Coding::ALL {
        let (pieces, whole) = (decoded(coding, data, size), decoded(coding, data, data.len().max(1)));
        // zstd finds an error sooner if it has everything at once.
        if let (Some(Ok(pieces)), Some(Ok(whole))) = (pieces, whole) {
            assert_eq!(pieces, whole);
        }
        let mut encoder = Encoder::new(coding, data.len() as u64).expect("there is memory");
        let mut coded = Vec::new();
        for piece in data.chunks(size) {
            coded.extend_from_slice(&encoder.push(piece).expect("it is no longer than it should be"));
        }
        coded.extend_from_slice(&encoder.finish().expect("it is as long as it should be"));
        assert_eq!(decoded(coding, &coded, size), Some(Ok(data.to_vec())));
    }
});

/// Returns what comes out; nothing if that is too much to go on.
fn decoded(coding: Coding, coded: &[u8], size: usize) -> Option<Result<Vec<u8>, Malformed>> {
    let mut decoder = Decoder::new(coding, WINDOW).expect("there is memory");
    let mut content = Vec::new();
    for piece in coded.chunks(size) {
        decoder.push(piece.to_vec().into());
        loop {
            let bytes = match decoder.take() {
                Ok(Some(bytes)) => bytes,
                Ok(None) => break,
                Err(malformed) => return Some(Err(malformed)),
            };
            assert!(!bytes.is_empty() && bytes.len() <= 256 << 10);
            content.extend_from_slice(&bytes);
            if content.len() > ENOUGH {
                return None;
            }
        }
    }
    Some(if decoder.is_open() { Err(Malformed) } else { Ok(content) })
}

//! The recorded output as bytes: what was written comes back, and garbage does no harm.
#![allow(clippy::unwrap_used, missing_docs)]

use cache_run::exec::{CHUNK_BYTES, Lengths, LogError, Stream, check, replay};
use proptest::prelude::*;
use std::io::{self, Write};

fn chunk(stream: usize, len: usize, fill: u8) -> Vec<u8> {
    let mut value = len << 1 | stream;
    let mut bytes = Vec::new();
    while value > 0x7f {
        bytes.push((value & 0x7f) as u8 | 0x80);
        value >>= 7;
    }
    bytes.push(value as u8);
    bytes.resize(bytes.len() + len, fill);
    bytes
}

fn log(chunks: &[Vec<u8>]) -> Vec<u8> {
    [&[1][..], &chunks.concat(), &[0]].concat()
}

#[test]
fn the_format_is_what_it_says() {
    let bytes = log(&[chunk(0, 2, b'o'), chunk(1, 300, b'e'), chunk(0, CHUNK_BYTES, b'O')]);
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let lengths = replay(&bytes[..], &mut out, &mut err).unwrap();
    assert_eq!(lengths, Lengths { stdout: 2 + CHUNK_BYTES as u64, stderr: 300 });
    assert_eq!((out.len(), err.len()), (2 + CHUNK_BYTES, 300));
    assert!(out.starts_with(b"ooO") && err.iter().all(|&byte| byte == b'e'));
    assert_eq!(check(&[1, 0][..]).unwrap(), Lengths::default());
}

#[test]
fn every_cut_is_noticed() {
    let bytes = log(&[chunk(0, 5, b'o'), chunk(1, 200, b'e')]);
    for len in 0..bytes.len() {
        assert!(matches!(check(&bytes[..len]), Err(LogError::Truncated)), "cut at {len}");
    }
    assert!(check(&bytes[..]).is_ok());
}

#[test]
fn damage_is_noticed() {
    assert!(matches!(check(&[2, 0][..]), Err(LogError::Version(2))));
    for bytes in [
        log(&[vec![1]]),
        log(&[chunk(0, CHUNK_BYTES + 1, 0)]),
        [1, 0, 0].to_vec(),
        [1, 0x80, 0].to_vec(),
        [1, 0x84, 0, b'x', b'x', 0].to_vec(),
        [1, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f].to_vec(),
    ] {
        assert!(matches!(check(&bytes[..]), Err(LogError::Malformed)), "{:?}", &bytes[..6.min(bytes.len())]);
    }
}

#[test]
fn a_stream_that_fails_is_named() {
    struct Full;
    impl Write for Full {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(io::ErrorKind::StorageFull.into())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let bytes = log(&[chunk(0, 1, b'o'), chunk(1, 1, b'e')]);
    let error = replay(&bytes[..], &mut io::sink(), &mut Full).unwrap_err();
    assert!(matches!(error, LogError::Write { stream: Stream::Stderr, .. }));
    assert!(error.to_string().contains("standard error"), "{error}");
}

proptest! {
    #[test]
    fn garbage_never_panics(mut bytes in proptest::collection::vec(any::<u8>(), 0..300), versioned: bool) {
        if let (true, Some(first)) = (versioned, bytes.first_mut()) {
            *first = 1;
        }
        if let Ok(lengths) = check(&bytes[..]) {
            prop_assert!(lengths.total() < bytes.len() as u64);
        }
    }
}

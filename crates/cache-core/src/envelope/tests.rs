use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::signing::{Keyring, SigningKey, Standing};
use crate::*;

const ALL: [Compression; 4] = [Compression::None, Compression::Adaptive, Compression::Lz4, Compression::Zstd];

fn sample() -> (Key, Entry) {
    let file = |path: &str, content: &[u8]| Output {
        path: RelPath::new(path).unwrap(),
        kind: OutputKind::File {
            digest: Digest::blake3(content),
            len: content.len() as u64,
            mode: 0o755,
            modified_ns: 1_700_000_000_123_456_789,
        },
    };
    let base = std::path::Path::new("/b");
    let entry = Entry {
        meta: EntryMeta {
            kind: "run".to_owned(),
            name: "docs".to_owned(),
            created: Timestamp::from_millis(1_700_000_000_000),
            expires: Some(Timestamp::from_millis(1_800_000_000_000)),
            writer: "vitte-cache 0.1.0".to_owned(),
            cost_ms: 41_200,
            priority: Priority::High,
            tags: BTreeMap::from([("host".to_owned(), "ci".to_owned())]),
            dependencies: Dependencies {
                files: vec![
                    FileDependency {
                        path: TreePath::new(base, std::path::Path::new("/b/x.h")).unwrap(),
                        state: FileState::File { digest: Digest::sha256(b"x"), executable: true },
                        stat: Some(StatFingerprint(Fingerprint::of(b"s"))),
                    },
                    FileDependency {
                        path: TreePath { anchor: Anchor::Root, path: RelPath::new("usr/y.h").unwrap() },
                        state: FileState::Absent,
                        stat: None,
                    },
                ],
                upstream: vec![Key::from_bytes([7; 32])],
                env: vec![EnvDependency { name: "CC".to_owned(), value: Some(Digest::blake3(b"gcc")) }],
                tool: Some(Digest::blake3(b"tool")),
            },
            ..EntryMeta::default()
        },
        value: bytes::Bytes::from_static(b"a small value, a small value, a small value"),
        outputs: vec![
            file("bin/tool", b"tool"),
            Output { path: RelPath::new("empty").unwrap(), kind: OutputKind::Directory },
            Output {
                path: RelPath::new(&b"link\xff"[..]).unwrap(),
                kind: OutputKind::Symlink { target: b"../nowhere\xfe".to_vec() },
            },
        ],
        signature: None,
    };
    (KeyBuilder::new(&Namespace::default(), "run").text("docs").finish(), entry)
}

fn ring() -> Keyring {
    Keyring::new(SigningKey::from_bytes([7; 32]))
}

fn signed_sample() -> (Key, Entry) {
    let (key, mut entry) = sample();
    ring().sign(&key, &mut entry).unwrap();
    (key, entry)
}

/// Bytes that neither lz4 nor zstd can make smaller.
fn noise(len: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    std::iter::repeat_with(|| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 32) as u8
    })
    .take(len)
    .collect()
}

#[test]
fn entries_survive_every_codec() {
    let (key, entry) = sample();
    for compression in ALL {
        let bytes = encode_entry(&key, &entry, compression).unwrap();
        assert_eq!(decode_entry(&bytes, Limits::default()), Ok((key, entry.clone())));
    }
}

/// What version 1 looks like on disk. If this fails, stored entries of users cannot be read any more: a change of the
/// format needs a new version, and code that reads the old one.
#[test]
fn version_1_is_fixed() {
    let (key, entry) = sample();
    let fixture = include_bytes!("../../tests/fixtures/entry-v1.bin");
    assert_eq!(decode_entry(fixture, Limits::default()), Ok((key, entry.clone())));
    assert_eq!(encode_entry(&key, &entry, Compression::None).unwrap(), fixture);
}

/// As [`version_1_is_fixed`], signed.
#[test]
fn version_1_of_a_signed_entry_is_fixed() {
    let (key, entry) = signed_sample();
    let fixture = include_bytes!("../../tests/fixtures/entry-signed-v1.bin");
    assert_eq!(encode_entry(&key, &entry, Compression::None).unwrap(), fixture);
    assert_eq!(decode_entry(fixture, Limits::default()), Ok((key, entry.clone())));
    assert_eq!(ring().standing(&key, &entry), Standing::Valid);
}

#[test]
fn a_signature_is_whole_or_refused() {
    let (key, entry) = signed_sample();
    let unsigned = Entry { signature: None, ..entry.clone() };
    let (facts, record) =
        (encode_entry_facts(&key, &entry).unwrap(), encode_entry_facts(&key, &unsigned).unwrap());
    assert!(facts.starts_with(&record));
    assert_eq!(facts.len(), record.len() + 41);
    let decode = |facts: &[u8]| decode_entry_facts(facts).map(|(_, entry)| entry.signature);
    assert_eq!(decode(&facts), Ok(entry.signature));
    assert_eq!(decode(&record), Ok(None));
    let refused = Err(EnvelopeError::Corrupt("its metadata has something after its end"));
    for cut in record.len() + 1..facts.len() {
        assert_eq!(decode(&facts[..cut]), refused, "cut at {cut}");
    }
    assert_eq!(decode(&[&facts[..], b"x"].concat()), refused);
    let mut newer = facts;
    newer[record.len()] += 1;
    assert_eq!(decode(&newer), refused);
}

#[test]
fn any_flipped_bit_and_any_cut_is_refused() {
    let (key, entry) = signed_sample();
    for compression in ALL {
        let good = encode_entry(&key, &entry, compression).unwrap();
        for at in 0..good.len() {
            for bit in 0..8 {
                let mut bad = good.clone();
                bad[at] ^= 1 << bit;
                assert!(decode_entry(&bad, Limits::default()).is_err(), "byte {at} bit {bit}");
            }
            assert!(decode_entry(&good[..at], Limits::default()).is_err(), "cut at {at}");
        }
        let mut long = good.clone();
        long.push(0);
        assert!(decode_entry(&long, Limits::default()).is_err());
    }
}

#[test]
fn adaptive_leaves_alone_what_does_not_shrink() {
    let codec = |payload: &[u8]| encode(b"", payload, Compression::Adaptive).unwrap()[5];
    let text = b"fn main() { println!(\"hello\"); }\n".repeat(10_000);
    assert_eq!(codec(&text[..SMALL_TEXT]), Codec::None as u8);
    assert_eq!(codec(&text[..20_000]), Codec::Lz4 as u8);
    assert_eq!(codec(&text), Codec::Zstd as u8);
    for len in [1 << 10, 10 << 10, 1 << 20] {
        assert_eq!(codec(&noise(len)), Codec::None as u8, "{len}");
    }
}
const SMALL_TEXT: usize = 1000;

/// Rewrites the checksums, as an attacker would.
fn seal(mut bytes: Vec<u8>) -> Vec<u8> {
    let crc = crc32c(&bytes[..28]).to_le_bytes();
    bytes[28..32].copy_from_slice(&crc);
    let end = bytes.len() - CHECKSUM;
    let checksum = Fingerprint::of(&bytes[..end]).to_bytes();
    bytes[end..].copy_from_slice(&checksum);
    bytes
}

#[test]
fn a_bomb_is_an_error_and_not_an_allocation() {
    let zeroes = vec![0; 8 << 20];
    for compression in [Compression::Lz4, Compression::Zstd] {
        let bomb = encode(b"", &zeroes, compression).unwrap();
        assert!(bomb.len() < 64 << 10);
        let small = Limits { payload: 1 << 20, ..Limits::default() };
        assert!(matches!(decode(&bomb, small), Err(EnvelopeError::TooLarge { what: "payload", .. })));
        for lie in [0_u64, 1, 1000, (8 << 20) - 1, (8 << 20) + 1, 200 << 20] {
            let mut lying = bomb.clone();
            lying[20..28].copy_from_slice(&lie.to_le_bytes());
            assert!(
                matches!(decode(&seal(lying), Limits::default()), Err(EnvelopeError::Corrupt(_))),
                "{lie}"
            );
        }
    }
}

#[test]
fn newer_versions_and_unknown_things_are_told_apart() {
    let good = encode(b"m", b"p", Compression::None).unwrap();
    let with = |at: usize, value: u8| {
        let mut bytes = good.clone();
        bytes[at] = value;
        decode(&seal(bytes), Limits::default()).map(drop)
    };
    assert_eq!(with(4, VERSION + 1), Err(EnvelopeError::Newer(VERSION + 1)));
    assert_eq!(with(5, 9), Err(EnvelopeError::Corrupt("it has an unknown codec")));
    assert_eq!(with(6, 1), Err(EnvelopeError::Corrupt("it has unknown flags")));
    assert_eq!(with(0, b'X'), Err(EnvelopeError::Corrupt("it is no envelope")));
    assert_eq!(with(8, 2), Err(EnvelopeError::Corrupt("its length is not the one that its header declares")));
}

proptest! {
    #[test]
    fn parts_survive(metadata in proptest::collection::vec(any::<u8>(), 0..300),
                     payload in proptest::collection::vec(0_u8..4, 0..20_000), which in 0_usize..4) {
        let bytes = encode(&metadata, &payload, ALL[which]).unwrap();
        let parts = decode(&bytes, Limits::default()).unwrap();
        prop_assert_eq!(parts.metadata, &metadata[..]);
        prop_assert_eq!(&parts.payload[..], &payload[..]);
    }

    #[test]
    fn garbage_with_right_checksums_never_panics(
        codec in 0_u8..4, metadata in proptest::collection::vec(any::<u8>(), 0..200),
        stored in proptest::collection::vec(any::<u8>(), 0..200), len in prop_oneof![0_u64..400, any::<u64>()],
    ) {
        let mut bytes = MAGIC.to_vec();
        bytes.extend([VERSION, codec, 0, 0]);
        bytes.extend((metadata.len() as u32).to_le_bytes());
        bytes.extend((stored.len() as u64).to_le_bytes());
        bytes.extend(len.to_le_bytes());
        bytes.extend([0; 4]);
        bytes.extend(&metadata);
        bytes.extend(&stored);
        bytes.extend([0; 16]);
        let _ = decode_entry(&seal(bytes), Limits { payload: 1 << 20, ..Limits::default() });
    }

    #[test]
    fn damaged_metadata_never_panics(at in any::<prop::sample::Index>(), value in any::<u8>()) {
        let (key, entry) = signed_sample();
        let mut bytes = encode_entry(&key, &entry, Compression::None).unwrap();
        let at = at.index(bytes.len() - CHECKSUM - HEADER) + HEADER;
        bytes[at] = value;
        // With its checksum mended this may be another entry, but never a crash, and its paths stay inside. It may be
        // signed only if it is the same.
        if let Ok((found, entry)) = decode_entry(&seal(bytes), Limits::default()) {
            let same = (found, &entry) == (key, &signed_sample().1);
            prop_assert_eq!(ring().standing(&found, &entry) == Standing::Valid, same);
            prop_assert!(entry.outputs.iter().all(|o| !o.path.as_bytes().starts_with(b"/")));
        }
    }
}

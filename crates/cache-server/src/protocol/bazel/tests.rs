//! Messages as this server sees them and as prost does.

use cache_core::{Digest, HashFunction};
use proptest::prelude::*;
use prost::Message as _;

use super::json;
use super::message::{
    ActionResult, Digest as Named, ExecutedActionMetadata, NodeProperties, OutputDirectory, OutputFile,
    UInt32Value,
};
use super::scan::{Alien, Kind, Reference, Role, Scan};
use super::time::{Duration, Timestamp};

/// `FileNode` and, without its file properties, `DirectoryNode`.
#[derive(Clone, PartialEq, prost::Message)]
struct Node {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(message, optional, tag = "2")]
    digest: Option<Named>,
    #[prost(bool, tag = "4")]
    is_executable: bool,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Directory {
    #[prost(message, repeated, tag = "1")]
    files: Vec<Node>,
    #[prost(message, repeated, tag = "2")]
    directories: Vec<Node>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Tree {
    #[prost(message, optional, tag = "1")]
    root: Option<Directory>,
    #[prost(message, repeated, tag = "2")]
    children: Vec<Directory>,
}

fn scan(kind: Kind, bytes: &[u8], piece: usize) -> Result<Vec<Reference>, Alien> {
    let (mut scan, mut found) = (Scan::new(kind, bytes.len() as u64), Vec::new());
    for piece in bytes.chunks(piece) {
        scan.feed(piece, &mut found)?;
    }
    if scan.is_whole() { Ok(found) } else { Err(Alien) }
}

fn reference(role: Role, digest: &Named) -> Reference {
    let size = digest.size_bytes as u64;
    Reference { role, digest: Digest::from_hex(HashFunction::Sha256, &digest.hash).unwrap(), size }
}

fn digest() -> impl Strategy<Value = Named> {
    ("[0-9a-f]{64}", 0..i64::MAX).prop_map(|(hash, size_bytes)| Named { hash, size_bytes })
}

fn node() -> impl Strategy<Value = Node> {
    ("[a-zé]{0,9}", prop::option::of(digest()), any::<bool>())
        .prop_map(|(name, digest, is_executable)| Node { name, digest, is_executable })
}

prop_compose! {
    fn directory()(
        files in prop::collection::vec(node(), 0..4),
        directories in prop::collection::vec(node(), 0..3),
    ) -> Directory {
        Directory { files, directories }
    }
}

prop_compose! {
    fn result()(
        files in prop::collection::vec((digest(), "[a-z/]{0,200}", prop::collection::vec(any::<u8>(), 0..3)), 0..4),
        directories in prop::collection::vec((prop::option::of(digest()), prop::option::of(digest())), 0..3),
        exit_code in any::<i32>(),
        stdout in prop::option::of(digest()),
        stderr in prop::collection::vec(any::<u8>(), 0..9),
    ) -> ActionResult {
        ActionResult {
            output_files: files
                .into_iter()
                .map(|(digest, path, contents)| OutputFile {
                    path,
                    digest: Some(digest),
                    contents: contents.into(),
                    ..OutputFile::default()
                })
                .collect(),
            output_directories: directories
                .into_iter()
                .map(|(tree_digest, root_directory_digest)| OutputDirectory {
                    path: "d".to_owned(),
                    tree_digest,
                    root_directory_digest,
                    ..OutputDirectory::default()
                })
                .collect(),
            exit_code,
            stdout_digest: stdout,
            stderr_raw: stderr.into(),
            ..ActionResult::default()
        }
    }
}

proptest! {
    #[test]
    fn a_result_is_the_same_in_json(
        mut result in result(),
        seconds in -62_135_596_800_i64..253_402_300_800,
        nanos in 0..1_000_000_000,
        value in any::<u32>(),
    ) {
        result.execution_metadata = Some(ExecutedActionMetadata {
            worker: "w".to_owned(),
            queued_timestamp: Some(Timestamp { seconds, nanos }),
            virtual_execution_duration: Some(Duration { seconds: seconds.abs(), nanos }),
            ..ExecutedActionMetadata::default()
        });
        for file in &mut result.output_files {
            let mtime = Some(Timestamp { seconds, nanos });
            file.node_properties = Some(NodeProperties { mtime, unix_mode: Some(UInt32Value { value }) });
        }
        let protobuf = result.encode_to_vec();
        let json = json::from_protobuf(&protobuf).unwrap();
        prop_assert_eq!(json::to_protobuf(json.as_bytes()).unwrap(), protobuf, "{}", json);
    }

    #[test]
    fn a_result_names_what_it_names(result in result(), piece in 1_usize..100) {
        let files = result.output_files.iter().filter(|it| it.contents.is_empty());
        let mut expected: Vec<_> =
            files.filter_map(|it| it.digest.as_ref()).map(|it| reference(Role::File, it)).collect();
        for directory in &result.output_directories {
            expected.extend(directory.tree_digest.iter().map(|it| reference(Role::Tree, it)));
            expected.extend(directory.root_directory_digest.iter().map(|it| reference(Role::Directory, it)));
        }
        expected.extend(result.stdout_digest.iter().map(|it| reference(Role::File, it)));
        let mut found = scan(Kind::Result, &result.encode_to_vec(), piece).unwrap();
        let key = |it: &Reference| (it.digest, it.size);
        found.sort_by_key(key);
        expected.sort_by_key(key);
        prop_assert_eq!(found, expected);
    }

    #[test]
    fn a_tree_names_its_files_and_a_directory_its_directories_too(
        root in directory(),
        children in prop::collection::vec(directory(), 0..4),
        piece in 1_usize..100,
    ) {
        let named = |nodes: &[Node], role| {
            nodes.iter().filter_map(|it| it.digest.as_ref()).map(|it| reference(role, it)).collect::<Vec<_>>()
        };
        let mut own = named(&root.files, Role::File);
        own.extend(named(&root.directories, Role::Directory));
        if root != Directory::default() {
            prop_assert_eq!(scan(Kind::Directory, &root.encode_to_vec(), piece).unwrap(), own);
        }
        let mut all = named(&root.files, Role::File);
        all.extend(children.iter().flat_map(|it| named(&it.files, Role::File)));
        let tree = Tree { root: Some(root), children };
        prop_assert_eq!(scan(Kind::Tree, &tree.encode_to_vec(), piece).unwrap(), all);
    }

    #[test]
    fn no_name_that_prost_sees_is_overlooked(
        result in result(),
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..3),
        cut in prop::option::of(any::<prop::sample::Index>()),
    ) {
        let mut bytes = result.encode_to_vec();
        if !bytes.is_empty() {
            for (at, byte) in changes {
                *at.get_mut(&mut bytes) = byte;
            }
            if let Some(at) = cut {
                bytes.truncate(at.index(bytes.len()));
            }
        }
        let scanned = scan(Kind::Result, &bytes, 7);
        prop_assert_eq!(&scanned, &scan(Kind::Result, &bytes, 1_000));
        let (Ok(decoded), Ok(found)) = (ActionResult::decode(&bytes[..]), scanned) else { return Ok(()) };
        let files = decoded.output_files.iter().filter(|it| it.contents.is_empty());
        let others = decoded.output_directories.iter().flat_map(|it| [&it.tree_digest, &it.root_directory_digest]);
        let digests = files.map(|it| &it.digest).chain(others).chain([&decoded.stdout_digest]);
        for named in digests.flatten().filter(|it| !it.hash.is_empty()) {
            prop_assert!(found.iter().any(|it| it.digest.to_hex() == named.hash), "{named:?}");
        }
    }

    #[test]
    fn anything_is_looked_at_without_trouble(
        bytes in prop::collection::vec(any::<u8>(), 0..300),
        piece in 1_usize..20,
    ) {
        for kind in [Kind::Result, Kind::Tree, Kind::Directory] {
            prop_assert_eq!(scan(kind, &bytes, piece), scan(kind, &bytes, 1_000));
        }
    }
}

#[test]
fn what_is_no_result_is_told_apart() {
    let hash = "a".repeat(64);
    let digest = |hash: &str| {
        let digest = [&[0x0a, hash.len() as u8], hash.as_bytes(), &[0x10, 1]].concat();
        [&[0x32, digest.len() as u8], &digest[..]].concat()
    };
    assert!(scan(Kind::Result, &digest(&hash), 3).is_ok());
    for alien in [
        // Values of ccache, old and new.
        &b"cCrS\x04\x00\x00"[..],
        b"cCmF\x04\x00\x00",
        b"\xcc\xac\x01\x00\x01\x01",
        b"hello",
        b"{}",
        // Only fields that no result has.
        b"\x78\x01",
        // A field of another type, an end that is missing, a length beyond the end, field 0, a group.
        b"\x25\x00\x00\x00\x00",
        b"\x20",
        b"\x2a\x02a",
        b"\x00\x00",
        b"\x20\x01\x7b\x7c",
        // A number that is too long.
        b"\x20\xff\xff\xff\xff\xff\xff\xff\xff\xff\x02",
        b"\x20\xff\xff\xff\xff\xff\xff\xff\xff\xff\x81\x00",
        // Digests of other lengths and digits, without a hash, and of a negative size.
        &digest(&hash[1..]),
        &digest(&"A".repeat(64)),
        b"\x32\x02\x10\x01",
        b"\x32\x0b\x10\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01",
    ] {
        assert_eq!(scan(Kind::Result, alien, 2), Err(Alien), "{alien:?}");
    }
    for nothing in [&b""[..], b"\x20\x01", b"\x32\x00", b"\x12\x00", b"\x2a\x00", b"\x20\x01\x7a\x01x"] {
        assert_eq!(scan(Kind::Result, nothing, 2), Ok(Vec::new()), "{nothing:?}");
    }
}

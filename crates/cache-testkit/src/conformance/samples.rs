//! What the checks store.

use std::collections::BTreeMap;

use bytes::Bytes;
use cache_core::{
    Body, Dependencies, Digest, Entry, EntryMeta, EnvDependency, FileDependency, FileState, Fingerprint,
    HashFunction, Key, KeyBuilder, Namespace, Output, OutputKind, PutMode, RelPath, StatFingerprint, Store,
    Timestamp, TreePath,
};

use super::{Outcome, Stop, ensure};
use crate::bodies::content;

/// A moment that no test lives to see: the year 2200.
pub(super) const FAR_FUTURE: Timestamp = Timestamp::from_millis(7_258_118_400_000);

/// Returns the key number `n`.
pub(super) fn key(n: u64) -> Key {
    KeyBuilder::new(&Namespace::default(), "conformance").number(n).finish()
}

/// Returns a small entry that says `text`.
pub(super) fn entry(text: &str) -> Entry {
    let meta = EntryMeta {
        kind: "conformance".to_owned(),
        name: text.to_owned(),
        created: Timestamp::from_millis(1_700_000_000_000),
        ..EntryMeta::default()
    };
    Entry { meta, value: Bytes::copy_from_slice(text.as_bytes()), ..Entry::default() }
}

pub(super) fn path(text: &str) -> Result<RelPath, Stop> {
    RelPath::new(text).map_err(|error| Stop::Failed(error.to_string()))
}

/// Returns the output `name` with `content`, of which `digest` is the digest.
pub(super) fn file(name: &str, digest: Digest, len: u64) -> Result<Output, Stop> {
    let kind = OutputKind::File { digest, len, mode: 0o755, modified_ns: 1_700_000_000_123_456_789 };
    Ok(Output { path: path(name)?, kind })
}

/// Returns an entry that names `blobs`.
pub(super) fn entry_with(text: &str, blobs: &[(Digest, u64)]) -> Result<Entry, Stop> {
    let mut entry = entry(text);
    for (index, (digest, len)) in blobs.iter().enumerate() {
        entry.outputs.push(file(&format!("out/{index:04}"), *digest, *len)?);
    }
    Ok(entry)
}

/// Returns an entry in which no field is empty, given the digest of a blob of `len` bytes that is there.
pub(super) fn full_entry(blob: Digest, len: u64) -> Result<Entry, Stop> {
    let tree_path =
        |text: &str| Ok::<_, Stop>(TreePath { anchor: cache_core::Anchor::Base, path: path(text)? });
    let stat = StatFingerprint(Fingerprint::of(b"stat"));
    let dependency =
        |text: &str, state| Ok::<_, Stop>(FileDependency { path: tree_path(text)?, state, stat: Some(stat) });
    let dependencies = Dependencies {
        files: vec![
            dependency("include", FileState::Directory)?,
            dependency("include/gone.h", FileState::Absent)?,
            dependency("include/link.h", FileState::Symlink { target: Digest::sha256(b"real.h") })?,
            dependency("include/real.h", FileState::File { digest: blob, executable: true })?,
        ],
        upstream: vec![key(98), key(99)],
        env: vec![
            EnvDependency { name: "CC".to_owned(), value: Some(Digest::blake3(b"clang")) },
            EnvDependency { name: "CFLAGS".to_owned(), value: None },
        ],
        tool: Some(Digest::blake3(b"clang 19")),
    };
    let meta = EntryMeta {
        namespace: Namespace::new("team-1").map_err(|error| Stop::Failed(error.to_string()))?,
        kind: "compile".to_owned(),
        name: "libfoo é \u{1F980} \n".to_owned(),
        created: Timestamp::from_millis(1_700_000_000_123),
        expires: Some(FAR_FUTURE),
        writer: "conformance 1.0".to_owned(),
        cost_ms: u64::MAX,
        priority: cache_core::Priority::High,
        tags: BTreeMap::from([("branch".to_owned(), "main".to_owned()), (String::new(), String::new())]),
        dependencies,
    };
    let link = OutputKind::Symlink { target: b"../\xff dangling".to_vec() };
    let outputs = vec![
        Output { path: path("empty")?, kind: OutputKind::Directory },
        Output { path: path("link")?, kind: link },
        file("obj/foo.o", blob, len)?,
        file("obj/same.o", blob, len)?,
    ];
    Ok(Entry { meta, value: Bytes::from_static(b"\0value\xff"), outputs, ..Entry::default() })
}

/// Stores a blob of `len` bytes and returns its digest and content.
pub(super) async fn blob(
    store: &dyn Store,
    function: HashFunction,
    seed: u64,
    len: usize,
) -> Result<(Digest, Bytes), Stop> {
    let content = content(seed, len);
    let digest = Digest::of(function, &content);
    store.write(&digest, len as u64, content.clone().into()).await?;
    Ok((digest, content))
}

/// Puts `entry` and checks that the store says so.
pub(super) async fn put(store: &dyn Store, key: &Key, entry: &Entry) -> Outcome {
    let outcome = store.put(key, entry, PutMode::Overwrite).await?;
    ensure!(
        outcome == cache_core::PutOutcome::Stored,
        "an overwriting put returns {outcome:?} instead of Stored"
    );
    Ok(())
}

/// Returns the content of a blob, or of a range of it, and whether it is there.
pub(super) async fn read(
    store: &dyn Store,
    digest: &Digest,
    range: Option<std::ops::Range<u64>>,
) -> Result<Option<Bytes>, Stop> {
    match store.read(digest, range).await? {
        Some(body) => Ok(Some(body.into_bytes(LARGEST_IN_MEMORY).await?)),
        None => Ok(None),
    }
}

/// The checks keep no more than this of a blob in memory.
const LARGEST_IN_MEMORY: u64 = 64 << 20;

/// Checks that the blob is there with `content`.
pub(super) async fn ensure_blob(store: &dyn Store, digest: &Digest, content: &Bytes) -> Outcome {
    let Some(found) = read(store, digest, None).await? else {
        return Err(Stop::Failed(format!("the blob {digest} of {} bytes is not there", content.len())));
    };
    ensure!(
        found == *content,
        "the blob {digest} of {} bytes comes back with {} other bytes",
        content.len(),
        found.len()
    );
    let missing = store.missing(&[*digest]).await?;
    ensure!(missing.is_empty(), "the blob {digest} can be read and is reported missing");
    Ok(())
}

/// Checks that nothing of the blob can be seen.
pub(super) async fn ensure_no_blob(store: &dyn Store, digest: &Digest, why: &str) -> Outcome {
    let found = read(store, digest, None).await?;
    ensure!(found.is_none(), "a blob that {why} can be read");
    let missing = store.missing(&[*digest]).await?;
    ensure!(missing == [*digest], "a blob that {why} is not reported missing");
    Ok(())
}

/// Checks that `found` is `expected`, without printing both.
pub(super) fn ensure_entry(found: Option<&Entry>, expected: &Entry) -> Outcome {
    let name = &expected.meta.name;
    let Some(found) = found else {
        return Err(Stop::Failed(format!("the entry {name:?} is not there")));
    };
    ensure!(found.meta == expected.meta, "the entry {name:?} comes back with other facts: {:?}", found.meta);
    ensure!(found.outputs == expected.outputs, "the entry {name:?} comes back with other outputs");
    ensure!(found.value == expected.value, "the entry {name:?} comes back with another value");
    // A store that signs adds its own to those without.
    ensure!(
        expected.signature.is_none() || found.signature == expected.signature,
        "the entry {name:?} comes back with another signature: {:?}",
        found.signature
    );
    Ok(())
}

/// Returns the bytes as a body.
pub(super) fn body(content: &Bytes) -> Body {
    content.clone().into()
}

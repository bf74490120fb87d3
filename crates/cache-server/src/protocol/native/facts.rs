//! What the entry that the store has says about the one of the client.

use std::collections::HashSet;

use cache_core::signing::KeyId;
use cache_core::{Digest, Entry, EntryMeta, Key, Listed, Namespace, Output, OutputKind, RelPath};
use serde::{Deserialize, Serialize};

use crate::vault::Place;

/// The tag that [`Facts`] are in, as JSON.
const TAG: &str = "vitte-cache.native";
/// Where the names of blobs are, below which there are `<function>/<digest>/<length>`. They are names of directories, because
/// the store need not have the blob under that digest.
const BLOBS: &str = "blobs";
/// What comes before the key in the name of an entry.
const ENTRY: &str = "entry/";

/// What is in the client's facts, where ours have something else.
#[derive(Debug, Serialize, Deserialize)]
struct Facts {
    namespace: Namespace,
    kind: String,
    name: String,
    /// Bytes of the value and of all blobs.
    size: u64,
    signer: Option<String>,
    /// The client's own tag of this name: it may be a server as well.
    tag: Option<String>,
}

/// Returns what the entry under `key` is called in the storage of all protocols.
pub(super) fn name(key: &Key) -> String {
    format!("{ENTRY}{key}")
}

/// Returns what all names of entries begin with.
pub(super) fn prefix() -> &'static str {
    ENTRY
}

/// Returns the blobs that `entry` names, each once with each length, in the order of the outputs.
pub(super) fn blobs(entry: &Entry) -> Vec<(Digest, u64)> {
    let mut seen = HashSet::new();
    entry.blobs().map(|(digest, len)| (*digest, len)).filter(|blob| seen.insert(*blob)).collect()
}

/// Returns the entry that the store is to have at `place` for the client's, which has `size` bytes, without its value.
pub(super) fn wrap(place: &Place<'_>, entry: Entry, size: u64) -> Option<Entry> {
    let outputs = blobs(&entry).into_iter().map(|(digest, len)| {
        let path = format!("{BLOBS}/{}/{}/{len}", digest.function().name(), digest.to_hex());
        Some(Output { path: RelPath::new(path).ok()?, kind: OutputKind::Directory })
    });
    let mut outputs = outputs.collect::<Option<Vec<_>>>()?;
    outputs.sort_unstable_by(|a, b| a.path.cmp(&b.path));
    let signer = entry.signer().map(|signer| signer.to_string());
    let mut meta = entry.meta;
    let facts = Facts {
        namespace: std::mem::replace(&mut meta.namespace, place.namespace.clone()),
        kind: std::mem::replace(&mut meta.kind, place.kind()),
        name: std::mem::replace(&mut meta.name, place.name.to_owned()),
        size,
        signer,
        tag: meta.tags.remove(TAG),
    };
    meta.tags.insert(TAG.to_owned(), serde_json::to_string(&facts).ok()?);
    Some(Entry { meta, outputs, ..Entry::default() })
}

/// Returns the blobs that the client's entry names, from the outputs of ours; nothing if they are not what [`wrap`] made.
pub(super) fn named(outputs: &[Output]) -> Option<Vec<(Digest, u64)>> {
    outputs.iter().map(|output| blob(std::str::from_utf8(output.path.as_bytes()).ok()?)).collect()
}

fn blob(path: &str) -> Option<(Digest, u64)> {
    let mut parts = path.strip_prefix(BLOBS)?.strip_prefix('/')?.split('/');
    let (function, hex, len) = (parts.next()?, parts.next()?, parts.next()?);
    let digest = Digest::from_hex(function.parse().ok()?, hex).ok()?;
    Some((digest, len.parse().ok().filter(|_| parts.next().is_none())?))
}

/// Returns the client's view of an entry in a list of the store; nothing if it is none of this protocol.
pub(super) fn unwrap(listed: Listed) -> Option<Listed> {
    let Listed { mut meta, last_used, .. } = listed;
    let key: Key = meta.name.strip_prefix(ENTRY)?.parse().ok()?;
    let facts: Facts = serde_json::from_str(&meta.tags.remove(TAG)?).ok()?;
    if let Some(tag) = facts.tag {
        meta.tags.insert(TAG.to_owned(), tag);
    }
    let meta = EntryMeta { namespace: facts.namespace, kind: facts.kind, name: facts.name, ..meta };
    let signer = facts.signer.as_deref().and_then(signer);
    Some(Listed { key, meta, size: facts.size, last_used, signer })
}

fn signer(hex: &str) -> Option<KeyId> {
    let number = u64::from_str_radix(hex, 16).ok().filter(|_| hex.len() == 16)?;
    Some(KeyId::from_bytes(number.to_be_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Protocol;
    use cache_core::signing::{Keyring, SigningKey};

    #[test]
    fn what_is_wrapped_comes_back_however_often() {
        let key = Key::from_bytes([7; 32]);
        let file = |digest, path: &str| Output {
            path: RelPath::new(path).unwrap(),
            kind: OutputKind::File { digest, len: 3, mode: 0o644, modified_ns: 0 },
        };
        let (one, two) = (Digest::blake3(b"one"), Digest::sha256(b"two"));
        let mut entry = Entry { value: "value".into(), ..Entry::default() };
        entry.meta.kind = "run".to_owned();
        entry.meta.name = "\u{1F980}\n\"name\"".to_owned();
        entry.meta.tags.insert("branch".to_owned(), "main".to_owned());
        entry.outputs = vec![file(one, "a"), file(two, "b"), file(one, "c")];
        let ring = Keyring::new(SigningKey::generate().unwrap());
        ring.sign(&key, &mut entry).unwrap();
        let namespace = Namespace::new("team").unwrap();
        let name = name(&key);
        let place = Place { namespace: &namespace, protocol: Protocol::Native, name: &name };
        let listed = |entry: &Entry| Listed {
            key: Key::from_bytes([0; 32]),
            meta: entry.meta.clone(),
            size: 0,
            last_used: None,
            signer: None,
        };
        let first = wrap(&place, entry.clone(), entry.size()).unwrap();
        assert_eq!((first.meta.namespace.as_str(), first.meta.kind.as_str()), ("team", "http-native"));
        assert_eq!(blobs(&entry), [(one, 3), (two, 3)]);
        assert_eq!(named(&first.outputs).unwrap(), blobs(&entry));
        let back = unwrap(listed(&first)).unwrap();
        assert_eq!((back.key, &back.meta, back.size), (key, &entry.meta, entry.size()));
        assert_eq!(back.signer, entry.signer());
        let second = wrap(&place, first.clone(), 9).unwrap();
        assert_eq!(unwrap(listed(&second)).unwrap().meta, first.meta);
        assert!(unwrap(listed(&entry)).is_none());
    }

    #[test]
    fn what_nobody_wrapped_names_no_blobs() {
        let hex = "0".repeat(64);
        for path in [
            "x",
            "blobs",
            "blobs/blake3/0/1",
            &format!("blobs/md5/{hex}/1"),
            &format!("blobs/blake3/{hex}/x"),
        ] {
            assert!(blob(path).is_none(), "{path}");
        }
        assert_eq!(blob(&format!("blobs/blake3/{hex}/12")).unwrap().1, 12);
        assert!(blob(&format!("blobs/blake3/{hex}/12/x")).is_none());
    }
}

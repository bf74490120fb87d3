//! What an entry was computed from, and how that is written into a store.

use std::fmt;

use bytes::Bytes;
use cache_core::{
    Dependencies, Digest, Entry, EntryMeta, FileDependency, Fingerprint, Key, Namespace, Output, OutputKind,
    RelPath, Timestamp,
};

/// Kind of the entries of live caches in a store. The caller's kind is their name.
pub(super) const KIND: &str = "live";
/// Who writes entries.
const WRITER: &str = concat!("vitte-cache ", env!("CARGO_PKG_VERSION"));
/// Where the bytes of an entry are that are too many for its value.
const OUTPUT: &str = "value";

/// Tags that carry what the dependencies of an entry have no field for. Listings show tags, so that a graph is rebuilt
/// without reading one value.
mod tag {
    pub(super) const DURABILITY: &str = "live.durability";
    pub(super) const RESULT: &str = "live.result";
    /// Marks of the results of the upstream entries, in their order, one behind the other.
    pub(super) const SEEN: &str = "live.seen";
    pub(super) const VALIDATION: &str = "live.validation";
}

/// How an entry finds out whether the files that it was computed from are what they were. Entries upstream are always
/// looked at, each by its own way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Validation {
    /// By a `stat` of each file, and by its content if the `stat` differs. A file that was saved without an edit is
    /// the same.
    #[default]
    Content,
    /// By a `stat` of each file alone: device, inode, size, modification and change time. No file is read, and one that
    /// was only touched has changed. Files whose `stat` proved nothing when the snapshot was taken, as they had been
    /// written less than two seconds before, are checked by content.
    Mtime,
    /// By the entries upstream. The entry's own files are looked at, by content, when a path was
    /// [reported](super::LiveCache::invalidate_path), and once in each process. In between it is the caller, or a
    /// watcher, who says what changes.
    Dependencies,
}

/// How seldom the files change that an entry names, the least durable first. It is a promise of the caller's.
///
/// An entry is as durable as the least durable of all that it was computed from, directly or not. One that is
/// [`Vendored`](Self::Vendored) or better and was once found valid in this process is not checked again by
/// [`look_up_revalidate`](super::LiveCache::look_up_revalidate) until something of it is reported, or its class is
/// [reported](super::LiveCache::report_durability). The idea is that of salsa's durability.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Durability {
    /// What somebody edits.
    #[default]
    Workspace,
    /// What a package manager puts there: sources of dependencies.
    Vendored,
    /// What comes with the compiler.
    Toolchain,
}

impl Validation {
    const ALL: [Self; 3] = [Self::Content, Self::Mtime, Self::Dependencies];

    /// Returns the name used in stores.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Content => "content",
            Self::Mtime => "mtime",
            Self::Dependencies => "dependencies",
        }
    }
}

impl Durability {
    /// Every class, the least durable first.
    pub const ALL: [Self; 3] = [Self::Workspace, Self::Vendored, Self::Toolchain];

    /// Returns the name used in stores.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Workspace => "workspace",
            Self::Vendored => "vendored",
            Self::Toolchain => "toolchain",
        }
    }
}

/// Tells results apart: the first 128 bits of their BLAKE3 digest, which no two results share by accident.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Mark([u8; 16]);

impl Mark {
    pub(super) fn of(bytes: &[u8]) -> Self {
        let mut mark = [0; 16];
        mark.copy_from_slice(&Digest::blake3(bytes).as_bytes()[..16]);
        Self(mark)
    }

    /// The mark of what nobody knows yet.
    pub(super) const NONE: Self = Self([0; 16]);

    fn parse(hex: &str) -> Option<Self> {
        (hex.len() == 32 && hex.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))).then_some(())?;
        u128::from_str_radix(hex, 16).ok().map(|number| Self(number.to_be_bytes()))
    }
}

impl fmt::Display for Mark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", u128::from_be_bytes(self.0))
    }
}

impl fmt::Debug for Mark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// An entry that another one was computed from, and the result that was used.
///
/// It names the result, so that nothing wrong is recorded when the entry upstream is computed anew while others are still
/// at work with what it was. [`Found`](super::Found) and [`Persisted`](super::Persisted) give it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Upstream {
    pub(super) key: Key,
    pub(super) result: Mark,
}

impl Upstream {
    /// Returns the entry under `key` with the result `bytes`. Entries that depend on each other name each other so, before
    /// either is persisted.
    pub fn new(key: Key, bytes: &[u8]) -> Self {
        Self { key, result: Mark::of(bytes) }
    }

    /// Returns the key of the entry.
    pub fn key(&self) -> Key {
        self.key
    }
}

/// What an entry was computed from: enough to tell later on whether it would be the same again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Trace {
    pub(super) kind: String,
    pub(super) result: Mark,
    pub(super) files: Vec<FileDependency>,
    pub(super) upstreams: Vec<Upstream>,
    pub(super) validation: Validation,
    pub(super) durability: Durability,
}

impl Trace {
    /// Returns the facts about an entry with this trace.
    pub(super) fn to_meta(&self, namespace: &Namespace, created: Timestamp, cost_ms: u64) -> EntryMeta {
        let seen: String = self.upstreams.iter().map(|upstream| upstream.result.to_string()).collect();
        let tags = [
            (tag::DURABILITY, self.durability.name().to_owned()),
            (tag::RESULT, self.result.to_string()),
            (tag::SEEN, seen),
            (tag::VALIDATION, self.validation.name().to_owned()),
        ];
        EntryMeta {
            namespace: namespace.clone(),
            kind: KIND.to_owned(),
            name: self.kind.clone(),
            created,
            writer: WRITER.to_owned(),
            cost_ms,
            tags: tags.into_iter().map(|(name, text)| (name.to_owned(), text)).collect(),
            dependencies: Dependencies {
                files: self.files.clone(),
                upstream: self.upstreams.iter().map(|upstream| upstream.key).collect(),
                ..Dependencies::default()
            },
            ..EntryMeta::default()
        }
    }

    /// Returns the trace in `meta`, or nothing if it is no entry of a live cache in `namespace`, or not one that this
    /// version understands.
    pub(super) fn of_meta(meta: EntryMeta, namespace: &Namespace) -> Option<Self> {
        if meta.kind != KIND || meta.namespace != *namespace {
            return None;
        }
        let named = |name: &str| meta.tags.get(name).map(String::as_str);
        let validation = named(tag::VALIDATION)?;
        let durability = named(tag::DURABILITY)?;
        let seen = named(tag::SEEN)?;
        let keys = meta.dependencies.upstream;
        if Some(seen.len()) != keys.len().checked_mul(32) || !seen.is_ascii() {
            return None;
        }
        let marks = (0..keys.len()).map(|at| Mark::parse(&seen[at * 32..at * 32 + 32]));
        let upstreams: Option<Vec<Upstream>> =
            keys.iter().zip(marks).map(|(&key, mark)| Some(Upstream { key, result: mark? })).collect();
        Some(Self {
            result: Mark::parse(named(tag::RESULT)?)?,
            upstreams: upstreams?,
            validation: Validation::ALL.into_iter().find(|mode| mode.name() == validation)?,
            durability: Durability::ALL.into_iter().find(|class| class.name() == durability)?,
            files: meta.dependencies.files,
            kind: meta.name,
        })
    }

    /// Returns what tells this trace from all others that the same entry had or will have.
    pub(super) fn fingerprint(&self) -> u64 {
        let upstreams: Vec<(Key, [u8; 16])> =
            self.upstreams.iter().map(|upstream| (upstream.key, upstream.result.0)).collect();
        let names = (&self.kind, self.validation.name(), self.durability.name());
        let bytes = postcard::to_stdvec(&(names, self.result.0, &self.files, upstreams)).unwrap_or_default();
        let mut half = [0; 8];
        half.copy_from_slice(&Fingerprint::of(&bytes).to_bytes()[..8]);
        u64::from_le_bytes(half)
    }
}

/// Returns the entry with this trace and `bytes`, and the blob that has to be stored before it if they are too many for
/// a value.
pub(super) fn entry(meta: EntryMeta, bytes: Bytes, max_value: u64) -> (Entry, Option<(Digest, Bytes)>) {
    let len = bytes.len() as u64;
    if len <= max_value {
        return (Entry { meta, value: bytes, ..Entry::default() }, None);
    }
    let digest = Digest::blake3(&bytes);
    let kind = OutputKind::File { digest, len, mode: 0o644, modified_ns: 0 };
    let outputs = RelPath::new(OUTPUT).map(|path| Output { path, kind }).into_iter().collect();
    (Entry { meta, outputs, ..Entry::default() }, Some((digest, bytes)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use cache_core::{Anchor, FileState, TreePath};

    fn trace() -> Trace {
        let path = TreePath { anchor: Anchor::Base, path: RelPath::new("a.c").unwrap() };
        Trace {
            kind: "symbols".to_owned(),
            result: Mark::of(b"result"),
            files: vec![FileDependency { path, state: FileState::Absent, stat: None }],
            upstreams: vec![
                Upstream::new(Key::from_bytes([1; 32]), b"one"),
                Upstream::new(Key::from_bytes([2; 32]), b"two"),
            ],
            validation: Validation::Mtime,
            durability: Durability::Vendored,
        }
    }

    #[test]
    fn a_trace_comes_back_from_what_a_listing_shows() {
        let trace = trace();
        let meta = trace.to_meta(&Namespace::default(), Timestamp::from_millis(5), 7);
        assert_eq!(Trace::of_meta(meta.clone(), &Namespace::default()), Some(trace.clone()));
        assert_eq!(Trace::of_meta(meta.clone(), &Namespace::new("other").unwrap()), None);
        assert_eq!(
            Trace::of_meta(EntryMeta { kind: "run".to_owned(), ..meta.clone() }, &Namespace::default()),
            None
        );
        for name in meta.tags.keys() {
            for text in ["", "é", "0000", &"f".repeat(63)] {
                let mut meta = meta.clone();
                meta.tags.insert(name.clone(), text.to_owned());
                assert_eq!(Trace::of_meta(meta.clone(), &Namespace::default()), None, "{name} {text}");
                meta.tags.remove(name);
                assert_eq!(Trace::of_meta(meta, &Namespace::default()), None, "{name}");
            }
        }
        let mut fewer = meta;
        fewer.dependencies.upstream.pop();
        assert_eq!(Trace::of_meta(fewer, &Namespace::default()), None);
    }

    #[test]
    fn every_part_of_a_trace_is_told_apart() {
        let all = [
            trace(),
            Trace { kind: "types".to_owned(), ..trace() },
            Trace { result: Mark::of(b"other"), ..trace() },
            Trace { files: Vec::new(), ..trace() },
            Trace {
                upstreams: vec![Upstream::new(Key::from_bytes([1; 32]), b"other"), trace().upstreams[1]],
                ..trace()
            },
            Trace { validation: Validation::Content, ..trace() },
            Trace { durability: Durability::Toolchain, ..trace() },
        ];
        let mut prints: Vec<u64> = all.iter().map(Trace::fingerprint).collect();
        assert_eq!(prints[0], trace().fingerprint());
        prints.sort_unstable();
        prints.dedup();
        assert_eq!(prints.len(), all.len());
    }

    #[test]
    fn bytes_that_are_too_many_for_a_value_become_a_blob() {
        let bytes = Bytes::from_static(b"12345");
        let (small, none) = entry(EntryMeta::default(), bytes.clone(), 5);
        assert_eq!((&small.value, none), (&bytes, None));
        let (large, blob) = entry(EntryMeta::default(), bytes.clone(), 4);
        assert!(large.value.is_empty());
        assert_eq!(large.blobs().collect::<Vec<_>>(), [(&Digest::blake3(&bytes), 5)]);
        assert_eq!(blob, Some((Digest::blake3(&bytes), bytes)));
    }
}

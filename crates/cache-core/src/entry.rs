//! Entries: what a key leads to.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::signing::{KeyId, Signature};
use crate::{Dependencies, Digest, Namespace, Priority, RelPath, Timestamp};

/// What is stored under a [`Key`](crate::Key): facts about it, a small value, and the outputs whose content is in blobs.
///
/// An entry is written after all blobs that it names, and is a hit only while every one of them is there.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Entry {
    /// Facts about the entry.
    pub meta: EntryMeta,
    /// The value itself while it is small; its meaning belongs to the `kind`.
    pub value: Bytes,
    /// Files, directories and links, sorted by path, parents before what is in them.
    pub outputs: Vec<Output>,
    /// Who vouches for all of the above, if anybody does. Stores keep it with the entry and need not understand it; they
    /// change nothing of an entry that has one.
    pub signature: Option<Signature>,
}

impl Entry {
    /// Returns the blobs that the entry names, each with its length, in the order of the outputs.
    pub fn blobs(&self) -> impl Iterator<Item = (&Digest, u64)> {
        self.outputs.iter().filter_map(|output| match &output.kind {
            OutputKind::File { digest, len, .. } => Some((digest, *len)),
            OutputKind::Directory | OutputKind::Symlink { .. } => None,
        })
    }

    /// Returns the bytes of the value and of all blobs together.
    pub fn size(&self) -> u64 {
        self.blobs().fold(self.value.len() as u64, |sum, (_, len)| sum.saturating_add(len))
    }

    /// Returns which key the entry says that it is signed with, if it is signed.
    pub fn signer(&self) -> Option<KeyId> {
        self.signature.map(|signature| signature.key)
    }
}

/// Facts about an [`Entry`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct EntryMeta {
    /// Namespace that the key was derived in.
    pub namespace: Namespace,
    /// What the value means, for example `run` or `value`.
    pub kind: String,
    /// The caller's own name for the entry: a label, a foreign protocol's key. It is listed, searched and deleted by it.
    pub name: String,
    /// When the entry was made.
    pub created: Timestamp,
    /// From when on the entry is absent; never if nothing.
    pub expires: Option<Timestamp>,
    /// Program and version that wrote it.
    pub writer: String,
    /// Milliseconds that it took to make the value: what a hit saves.
    pub cost_ms: u64,
    /// How long to keep it compared with others.
    pub priority: Priority,
    /// Further facts, for people and for filters.
    pub tags: BTreeMap<String, String>,
    /// What it was made from.
    pub dependencies: Dependencies,
}

impl EntryMeta {
    /// Returns whether the entry is absent at `now` because its time is over.
    pub fn is_expired(&self, now: Timestamp) -> bool {
        self.expires.is_some_and(|expires| expires <= now)
    }
}

/// One thing that an entry puts into a tree.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Output {
    /// Where it goes, relative to the directory that the entry is restored to.
    pub path: RelPath,
    /// What it is.
    pub kind: OutputKind,
}

impl Output {
    /// Returns the path of an output that contradicts another one: both are at the same path, or one lies below the other,
    /// which is a file or a link (`a -> /etc` and then `a/passwd`). Entries come from outside, and must not be trusted to
    /// have none.
    pub fn contradiction(outputs: &[Self]) -> Option<&RelPath> {
        let mut leaves: BTreeSet<&RelPath> = BTreeSet::new();
        if let Some(twice) = outputs.iter().find(|output| !leaves.insert(&output.path)) {
            return Some(&twice.path);
        }
        let is_below = |output: &&Self| {
            std::iter::successors(output.path.parent(), RelPath::parent).any(|above| leaves.contains(&above))
        };
        outputs.iter().find(is_below).map(|output| &output.path)
    }
}

/// What an [`Output`] is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum OutputKind {
    /// A regular file.
    File {
        /// Where its content is.
        digest: Digest,
        /// Its length in bytes.
        len: u64,
        /// Its permission bits, of `0o777`. Systems without them know only whether an execute bit is set.
        mode: u32,
        /// Its modification time in nanoseconds since the Unix epoch.
        modified_ns: u64,
    },
    /// A directory. Only those that would not come into being with their content need to be named.
    Directory,
    /// A symbolic link.
    Symlink {
        /// Where it points to, byte for byte; it may dangle.
        target: Vec<u8>,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_there_twice_or_below_another_output_contradicts_it() {
        let contradiction = |paths: &[&str]| {
            let output = |path: &&str| Output {
                path: RelPath::try_from(path.as_bytes().to_vec()).unwrap(),
                kind: OutputKind::Directory,
            };
            let outputs: Vec<_> = paths.iter().map(output).collect();
            Output::contradiction(&outputs).map(ToString::to_string)
        };
        assert_eq!(contradiction(&[]), None);
        assert_eq!(contradiction(&["a/b", "a/c", "ab"]), None);
        assert_eq!(contradiction(&["a", "b", "a"]).as_deref(), Some("a"));
        assert_eq!(contradiction(&["a/b/c/d", "x", "a/b"]).as_deref(), Some("a/b/c/d"));
    }
}

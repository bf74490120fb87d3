//! What an entry was made from, so that it can be checked long after it was written.

use serde::{Deserialize, Serialize};

use crate::{Digest, Fingerprint, Key, TreePath};

/// Everything that an entry depends on besides what its key already says.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Dependencies {
    /// Files, sorted by path.
    pub files: Vec<FileDependency>,
    /// Entries that this one was computed from.
    pub upstream: Vec<Key>,
    /// Environment variables, sorted by name.
    pub env: Vec<EnvDependency>,
    /// Identity of the tool that made the entry.
    pub tool: Option<Digest>,
}

/// A file, and the state in which it must be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileDependency {
    /// Where it is.
    pub path: TreePath,
    /// What must be there.
    pub state: FileState,
    /// How it looked when `state` was taken: a shortcut for whoever checks it on the same machine.
    pub stat: Option<StatFingerprint>,
}

/// What is found at a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum FileState {
    /// Nothing. Something that appears there (a header earlier on the include path) is a change.
    Absent,
    /// A file with this content.
    File {
        /// Digest of the content.
        digest: Digest,
        /// Whether it may be executed.
        executable: bool,
    },
    /// A symbolic link with a target of this digest.
    Symlink {
        /// Digest of the bytes of the target.
        target: Digest,
    },
    /// A directory; its content is no part of this state.
    Directory,
}

/// An environment variable, and the value it must have. The value itself is never kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EnvDependency {
    /// Name of the variable.
    pub name: String,
    /// Digest of its value, or nothing if it must be unset.
    pub value: Option<Digest>,
}

/// Identity of a file's state as the file system tells it: device, inode, size, modification and change time in
/// nanoseconds. Equal fingerprints mean equal content as long as the racy-clean rule is kept: a fingerprint is only
/// remembered for a file that had not changed for longer than the clock's tick when its content was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct StatFingerprint(pub Fingerprint);

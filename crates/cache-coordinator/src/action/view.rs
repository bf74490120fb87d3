//! What is at many paths, each looked at once.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::sync::OnceLock;

use cache_core::{Anchor, Digest, FileState, RelPath, StatFingerprint, TreePath};
use hashbrown::HashTable;

use super::files::FileError;

/// What somebody recorded about a path: a stat that proves a content.
pub(crate) type Claim = (StatFingerprint, Digest);

/// What is at a path.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Seen {
    /// What is there itself: what an output must be.
    pub(crate) own: FileState,
    /// What is behind the links there: what a tool reads.
    pub(crate) behind: FileState,
    /// The stat of the file behind, if an equal one later on proves equal content.
    pub(crate) stat: Option<StatFingerprint>,
}

/// What a look at a path told so far.
#[derive(Debug)]
pub(super) enum Sight {
    /// There is nothing.
    Absent,
    /// There is a file. Its content is known as soon as somebody knows what its stat proves.
    File(FileSight),
    /// Everything is known.
    Other(Box<Result<Seen, FileError>>),
}

/// A file whose stat can prove its content.
#[derive(Debug)]
pub(super) struct FileSight {
    pub(super) stat: StatFingerprint,
    /// Whether an equal stat later on proves equal content.
    pub(super) settled: bool,
    pub(super) executable: bool,
    /// The target of the link that is at the path, if there is one; all else is about the file behind.
    pub(super) link: Option<Box<Digest>>,
    pub(super) digest: OnceLock<Digest>,
}

impl FileSight {
    /// Returns what is there, if the content is known.
    fn seen(&self) -> Option<Seen> {
        let behind = FileState::File { digest: *self.digest.get()?, executable: self.executable };
        let own = self.link.as_ref().map_or(behind, |target| FileState::Symlink { target: **target });
        Some(Seen { own, behind, stat: self.settled.then_some(self.stat) })
    }

    /// Takes notice of what the stat proves, and returns whether it is what others say.
    pub(super) fn prove(&self, digest: Digest) -> bool {
        *self.digest.get_or_init(|| digest) == digest
    }
}

impl Sight {
    /// Returns what is there, if it is known.
    pub(super) fn seen(&self) -> Option<Result<Seen, &FileError>> {
        match self {
            Self::Absent => Some(Ok(Seen { own: FileState::Absent, behind: FileState::Absent, stat: None })),
            Self::File(file) => file.seen().map(Ok),
            Self::Other(seen) => Some(seen.as_ref().as_ref().copied()),
        }
    }
}

/// What was at some paths at one time. Paths have numbers, in the order in which they came.
#[derive(Debug, Default)]
pub(crate) struct View {
    paths: Vec<TreePath>,
    /// Hash and number of each path. The hashes are here so that a path is compared only with its equal.
    numbers: HashTable<(u64, u32)>,
    hasher: RandomState,
    /// What is at the paths; those at the end have not been looked at.
    pub(super) sights: Vec<Sight>,
}

impl View {
    /// Returns the number of a path, which is to be looked at if it is new.
    pub(crate) fn add(&mut self, anchor: Anchor, path: &RelPath) -> u32 {
        let hash = self.hash(anchor, path);
        if let Some(number) = self.find(hash, anchor, path) {
            return number;
        }
        // More paths than this do not fit into memory.
        let number = u32::try_from(self.paths.len()).unwrap_or(u32::MAX);
        self.paths.push(TreePath { anchor, path: path.clone() });
        self.numbers.insert_unique(hash, (hash, number), |(hash, _)| *hash);
        number
    }

    /// Returns the number of `path`, if it was added.
    pub(crate) fn number(&self, path: &TreePath) -> Option<u32> {
        self.find(self.hash(path.anchor, &path.path), path.anchor, &path.path)
    }

    /// Returns what is at `path`, or nothing if nobody looked.
    pub(crate) fn at(&self, path: &TreePath) -> Option<Result<Seen, &FileError>> {
        self.at_path(path.anchor, &path.path)
    }

    /// As [`at`](Self::at), with the parts of a path.
    pub(crate) fn at_path(&self, anchor: Anchor, path: &RelPath) -> Option<Result<Seen, &FileError>> {
        let number = self.find(self.hash(anchor, path), anchor, path)?;
        self.sight(number)?.seen()
    }

    pub(super) fn sight(&self, number: u32) -> Option<&Sight> {
        self.sights.get(number as usize)
    }

    pub(super) fn path(&self, number: u32) -> Option<&TreePath> {
        self.paths.get(number as usize)
    }

    /// Returns the paths that have not been looked at, and where to put what is there.
    pub(super) fn unseen(&mut self) -> (&[TreePath], &mut Vec<Sight>) {
        (&self.paths[self.sights.len()..], &mut self.sights)
    }

    /// Returns how many paths there are.
    pub(crate) fn len(&self) -> usize {
        self.paths.len()
    }

    fn find(&self, hash: u64, anchor: Anchor, path: &RelPath) -> Option<u32> {
        let is_it = |&(other, number): &(u64, u32)| {
            let known = &self.paths[number as usize];
            other == hash && known.anchor == anchor && known.path == *path
        };
        self.numbers.find(hash, is_it).map(|(_, number)| *number)
    }

    /// Names of files come from outside, so the hash is keyed. It is taken of all bytes at once, which is twice as fast as
    /// the derived one.
    fn hash(&self, anchor: Anchor, path: &RelPath) -> u64 {
        let mut hasher = self.hasher.build_hasher();
        hasher.write(path.as_bytes());
        hasher.write_u8(anchor as u8);
        hasher.finish()
    }
}

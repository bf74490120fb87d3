//! Which file holds what.

use std::path::{Path, PathBuf};

use cache_core::{Digest, HashFunction, Key};

/// Number of directories that the files of one kind are spread over: the values of the first byte of their address.
pub(super) const SHARDS: usize = 256;

/// The directories that have shards, below the root of the layout.
pub(super) const SPACES: [Space; 3] =
    [Space::Entries, Space::Blobs(HashFunction::Blake3), Space::Blobs(HashFunction::Sha256)];

/// A directory that has shards.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Space {
    Entries,
    Blobs(HashFunction),
}

impl Space {
    /// Returns the directory of this kind below `root`.
    pub(super) fn dir(self, root: &Path) -> PathBuf {
        match self {
            Self::Entries => root.join("entries"),
            Self::Blobs(function) => root.join("blobs").join(function.name()),
        }
    }

    /// Returns the directory of one shard.
    pub(super) fn shard_dir(self, root: &Path, shard: u8) -> PathBuf {
        self.dir(root).join(format!("{shard:02x}"))
    }
}

/// The address of a file: an entry's key or a blob's digest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Address {
    pub(super) space: Space,
    pub(super) id: [u8; 32],
}

impl Address {
    pub(super) fn entry(key: &Key) -> Self {
        Self { space: Space::Entries, id: *key.as_bytes() }
    }

    pub(super) fn blob(digest: &Digest) -> Self {
        Self { space: Space::Blobs(digest.function()), id: *digest.as_bytes() }
    }

    /// Returns the address of the file called `name` in a shard, unless the name is none of ours.
    pub(super) fn parse(space: Space, shard: u8, name: &str) -> Option<Self> {
        let key: Key = format!("{shard:02x}{name}").parse().ok()?;
        Some(Self { space, id: *key.as_bytes() })
    }

    pub(super) fn shard(&self) -> u8 {
        self.id[0]
    }

    /// Returns the key, if this is the address of an entry.
    pub(super) fn key(&self) -> Option<Key> {
        (self.space == Space::Entries).then(|| Key::from_bytes(self.id))
    }

    /// Returns the digest, if this is the address of a blob.
    pub(super) fn digest(&self) -> Option<Digest> {
        match self.space {
            Space::Entries => None,
            Space::Blobs(function) => Some(Digest::new(function, self.id)),
        }
    }

    pub(super) fn path(&self, root: &Path) -> PathBuf {
        let hex = Key::from_bytes(self.id).to_hex();
        let (shard, name) = hex.split_at(2);
        let mut path = self.space.dir(root);
        path.push(shard);
        path.push(name);
        path
    }

    /// Returns a name for messages.
    pub(super) fn label(&self) -> String {
        match self.digest() {
            Some(digest) => format!("blob {digest}"),
            None => format!("entry {}", Key::from_bytes(self.id)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_leads_back_to_its_address() {
        for address in [
            Address::blob(&Digest::blake3(b"x")),
            Address::blob(&Digest::sha256(b"x")),
            Address::entry(&Key::from_bytes([0xab; 32])),
        ] {
            let path = address.path(Path::new("root"));
            assert!(path.starts_with(address.space.shard_dir(Path::new("root"), address.shard())));
            let name = path.file_name().unwrap().to_str().unwrap();
            assert_eq!(Address::parse(address.space, address.shard(), name), Some(address));
            assert_eq!(Address::parse(address.space, address.shard(), &name.to_uppercase()), None);
            assert_eq!(Address::parse(address.space, address.shard(), &name[1..]), None);
        }
    }
}

//! What is stored: any number of contents of each size, none of them compressible, under their SHA-256.

use std::fmt::Write as _;
use std::sync::Arc;

use sha2::{Digest, Sha256};

use crate::rng::Rng;

/// Bytes at the end of a content that no other has.
pub(crate) const TAIL: usize = 8;

/// Random bytes that the contents of all sizes begin with.
#[derive(Clone)]
pub(crate) struct Block(Arc<[u8]>);

/// All contents of one size.
#[derive(Clone)]
pub(crate) struct Contents {
    block: Block,
    pub(crate) size: usize,
    /// The hash of what they have in common, so that a digest costs the same whatever the size.
    common: Sha256,
}

impl Block {
    pub(crate) fn new(seed: u64, len: usize) -> Self {
        let mut rng = Rng::new(seed);
        let words = (0..len.div_ceil(8)).flat_map(|_| rng.next().to_le_bytes());
        let mut bytes = Vec::with_capacity(len + 8);
        bytes.extend(words);
        bytes.truncate(len);
        Self(bytes.into())
    }
}

impl Contents {
    /// `size` is at least [`TAIL`].
    pub(crate) fn new(block: &Block, size: usize) -> Self {
        let common = Sha256::new_with_prefix(&block.0[..size - TAIL]);
        Self { block: block.clone(), size, common }
    }

    /// Returns what all contents begin with.
    pub(crate) fn head(&self) -> &[u8] {
        &self.block.0[..self.size - TAIL]
    }

    /// Returns how the content `number` ends.
    pub(crate) fn tail(number: u64) -> [u8; TAIL] {
        Rng::new(number).next().to_le_bytes()
    }

    /// Writes the path of the content `number` behind `text`.
    pub(crate) fn path(&self, number: u64, text: &mut String) {
        text.push_str("/cas/");
        for byte in self.common.clone().chain_update(Self::tail(number)).finalize() {
            let _ = write!(text, "{byte:02x}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_the_digest_of_the_content() {
        let contents = Contents::new(&Block::new(1, 4_096), 1_000);
        let mut path = String::new();
        contents.path(7, &mut path);
        let whole = [contents.head(), &Contents::tail(7)].concat();
        assert_eq!(whole.len(), 1_000);
        let mut expected = "/cas/".to_owned();
        for byte in Sha256::digest(&whole) {
            let _ = write!(expected, "{byte:02x}");
        }
        assert_eq!(path, expected);
    }
}

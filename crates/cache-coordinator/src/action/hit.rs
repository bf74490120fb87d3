//! What need not be done again, and what was done.

use cache_core::{Digest, Output, RelPath, Timestamp};

use super::outputs;
use super::record::History;
use crate::Origin;

/// Something that need not be done again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hit {
    pub(super) outputs: Vec<Output>,
    /// Indices of those that are not in the tree as they were made.
    pub(super) misplaced: Vec<usize>,
    pub(super) history: History,
    pub(super) created: Timestamp,
    pub(super) cost_ms: u64,
    pub(super) origin: Origin,
}

/// What became of an execution that was recorded.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Recording {
    /// The digest of the outputs: what targets made from this one depend on.
    pub outputs: Digest,
    /// How often it was executed with equal inputs, and what came out.
    pub history: History,
    /// Outputs that differ from those of the execution before although nothing that went in does.
    pub differing: Vec<RelPath>,
}

impl Hit {
    /// Returns what was made, sorted by path.
    pub fn outputs(&self) -> &[Output] {
        &self.outputs
    }

    /// Returns the digest of the outputs: what targets made from this one depend on.
    pub fn digest(&self) -> Digest {
        outputs::digest(&self.outputs)
    }

    /// Returns the outputs that are not in the tree as they were made; their content is in the store.
    pub fn misplaced(&self) -> impl Iterator<Item = &Output> {
        self.misplaced.iter().map(|&at| &self.outputs[at])
    }

    /// Returns whether all outputs are in the tree as they were made.
    pub fn is_in_place(&self) -> bool {
        self.misplaced.is_empty()
    }

    /// Returns how often it was executed with equal inputs, and what came out.
    pub fn history(&self) -> &History {
        &self.history
    }

    /// Returns when it was executed.
    pub fn created(&self) -> Timestamp {
        self.created
    }

    /// Returns where it was recorded. The outputs may be in the tree all the same.
    pub fn origin(&self) -> Origin {
        self.origin
    }

    /// Returns how many milliseconds that took.
    pub fn cost_ms(&self) -> u64 {
        self.cost_ms
    }
}

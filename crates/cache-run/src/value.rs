//! What is in the value of an entry of a run, and of the index that leads to it.

use serde::{Deserialize, Serialize, de::DeserializeOwned};

use cache_core::{Digest, FileState, Key, TreePath};

/// Version byte in front of each value. A reader that meets another one has a miss.
const VERSION: u8 = 1;

/// Kind of entries that hold a result.
pub(crate) const KIND_RESULT: &str = "run";
/// Kind of entries that hold an [`Index`].
pub(crate) const KIND_INDEX: &str = "run.index";

/// Kind of entries that hold what the key of a run was made of.
pub(crate) const KIND_MANIFEST: &str = "run.manifest";

/// Who writes entries.
pub(crate) const WRITER: &str = concat!("vitte-cache ", env!("CARGO_PKG_VERSION"));

/// The result of a command besides its output files.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct RunResult {
    /// Its exit code.
    pub(crate) code: i32,
    /// What it wrote to its standard output and error, as [`StdioLog`](crate::exec::StdioLog) writes it.
    pub(crate) log: Vec<u8>,
}

/// Results of commands with equal declared inputs, told apart by what the commands read besides.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Index {
    /// At most [`Index::MAX_SETS`], the one that was stored last first.
    pub(crate) sets: Vec<DepSet>,
}

/// What a command read, and the result that it gave.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct DepSet {
    /// State of everything that the depfile named, and of what would have to be absent.
    pub(crate) files: Vec<(TreePath, FileState)>,
    /// Environment variables that the depfile named, and the digest of the value that each had; unset if nothing.
    pub(crate) env: Vec<(String, Option<Digest>)>,
    /// Digest of the path of the base directory, if the outputs contain that path and so belong to one checkout.
    pub(crate) base: Option<Digest>,
    /// Where the result is.
    pub(crate) result: Key,
}

impl DepSet {
    /// Returns a set that fits every tree, of a result that is not known yet.
    pub(crate) fn empty() -> Self {
        Self { files: Vec::new(), env: Vec::new(), base: None, result: Key::from_bytes([0; 32]) }
    }
}

impl Index {
    /// Results kept per command line: branches that are switched between, not history.
    pub(crate) const MAX_SETS: usize = 16;

    /// Puts `set` in front, in place of the one with the same result.
    pub(crate) fn push(&mut self, set: DepSet) {
        self.sets.retain(|old| old.result != set.result);
        self.sets.insert(0, set);
        self.sets.truncate(Self::MAX_SETS);
    }

    /// Adds those of `others` that are not here, behind what is.
    pub(crate) fn merge(&mut self, others: &[DepSet]) {
        for other in others {
            if self.sets.iter().all(|set| set.result != other.result) {
                self.sets.push(other.clone());
            }
        }
        self.sets.truncate(Self::MAX_SETS);
    }
}

/// Returns `value` in bytes.
pub(crate) fn encode<T: Serialize>(value: &T) -> Option<Vec<u8>> {
    postcard::to_extend(value, vec![VERSION]).ok()
}

/// Returns the value that `bytes` holds, or nothing if it is of another version or damaged.
pub(crate) fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Option<T> {
    let (&VERSION, bytes) = bytes.split_first()? else { return None };
    let (value, rest) = postcard::take_from_bytes(bytes).ok()?;
    rest.is_empty().then_some(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_told_apart() {
        let result = RunResult { code: 3, log: b"log".to_vec() };
        let mut bytes = encode(&result).unwrap();
        assert_eq!(decode(&bytes), Some(result));
        bytes.push(0);
        assert_eq!(decode::<RunResult>(&bytes), None);
        bytes.pop();
        bytes[0] = 2;
        assert_eq!(decode::<RunResult>(&bytes), None);
        assert_eq!(decode::<RunResult>(&[]), None);
    }

    #[test]
    fn an_index_is_bounded_and_has_no_twins() {
        let mut index = Index::default();
        for i in 0..40_u8 {
            index.push(DepSet {
                files: vec![],
                env: vec![],
                base: None,
                result: Key::from_bytes([i % 20; 32]),
            });
        }
        assert_eq!(index.sets.len(), Index::MAX_SETS);
        assert_eq!(index.sets[0].result, Key::from_bytes([19; 32]));
    }
}

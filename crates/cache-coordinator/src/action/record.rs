//! What is stored about an execution.

use cache_core::{Digest, Entry, Output};
use serde::{Deserialize, Serialize};

/// Version byte in front of each value. A reader that meets another one has a miss.
const VERSION: u8 = 1;
/// How many different outputs of equal executions are told apart; an action with more is known to be not deterministic.
const MAX_VARIANTS: usize = 16;

/// The value of the entry of an action or target. What it was made from is in the entry's dependencies.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Record {
    pub(crate) success: bool,
    /// Digest of the flags.
    pub(crate) flags: Digest,
    /// Targets that this was made from, and the digest of their outputs; sorted by name.
    pub(crate) upstream: Vec<(String, Digest)>,
    /// What was made. It is not in the entry's own outputs, because an entry that names a blob which was evicted is
    /// a miss, and this one is right as long as the outputs are in the tree.
    pub(crate) outputs: Vec<Output>,
    pub(crate) history: History,
}

/// How often something was executed with equal inputs, and what came out.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct History {
    runs: u64,
    variants: Vec<Variant>,
}

/// One of the results that equal executions had.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Variant {
    /// Digest of the outputs, as in [`Hit::digest`](super::Hit::digest).
    pub outputs: Digest,
    /// How many executions had it.
    pub times: u64,
}

impl History {
    /// Returns how many executions there were, failed ones among them.
    pub fn runs(&self) -> u64 {
        self.runs
    }

    /// Returns the results, the last one first; at most 16.
    pub fn variants(&self) -> &[Variant] {
        &self.variants
    }

    /// Returns whether all executions so far had the same outputs.
    pub fn is_deterministic(&self) -> bool {
        self.variants.len() <= 1
    }

    /// Takes notice of an execution with these outputs, or of one that failed.
    pub(crate) fn add(&mut self, outputs: Option<Digest>) {
        self.runs = self.runs.saturating_add(1);
        let Some(outputs) = outputs else { return };
        let known = self.variants.iter().position(|variant| variant.outputs == outputs);
        let times = known.map_or(0, |at| self.variants.remove(at).times);
        self.variants.insert(0, Variant { outputs, times: times.saturating_add(1) });
        self.variants.truncate(MAX_VARIANTS);
    }
}

impl Record {
    /// Returns the record in bytes.
    pub(crate) fn encode(&self) -> Option<Vec<u8>> {
        postcard::to_extend(self, vec![VERSION]).ok()
    }

    /// Returns the record in `entry`, or nothing if it is of another version, damaged, or about something else.
    pub(crate) fn decode(entry: &Entry, kind: &str, name: &str) -> Option<Self> {
        if entry.meta.kind != kind || entry.meta.name != name {
            return None;
        }
        let (&VERSION, bytes) = entry.value.split_first()? else { return None };
        let (record, rest) = postcard::take_from_bytes(bytes).ok()?;
        rest.is_empty().then_some(record)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use cache_core::EntryMeta;

    fn digest(number: u8) -> Digest {
        Digest::blake3(&[number])
    }

    #[test]
    fn versions_and_other_records_are_told_apart() {
        let record = Record {
            success: true,
            flags: digest(1),
            upstream: vec![("lib".to_owned(), digest(2))],
            outputs: Vec::new(),
            history: History::default(),
        };
        let meta = EntryMeta { kind: "action".to_owned(), name: "a".to_owned(), ..EntryMeta::default() };
        let bytes = record.encode().unwrap();
        let entry =
            |bytes: &[u8]| Entry { meta: meta.clone(), value: bytes.to_vec().into(), ..Entry::default() };
        assert_eq!(Record::decode(&entry(&bytes), "action", "a"), Some(record));
        assert_eq!(Record::decode(&entry(&bytes), "target", "a"), None);
        assert_eq!(Record::decode(&entry(&bytes), "action", "b"), None);
        assert_eq!(Record::decode(&entry(&[&bytes[..], &[0]].concat()), "action", "a"), None);
        assert_eq!(Record::decode(&entry(&bytes[..bytes.len() - 1]), "action", "a"), None);
        assert_eq!(Record::decode(&entry(&[&[2], &bytes[1..]].concat()), "action", "a"), None);
        assert_eq!(Record::decode(&entry(&[]), "action", "a"), None);
    }

    #[test]
    fn a_history_is_bounded_and_counts() {
        let mut history = History::default();
        history.add(None);
        history.add(Some(digest(0)));
        history.add(Some(digest(0)));
        assert!(history.is_deterministic());
        assert_eq!((history.runs(), history.variants()[0].times), (3, 2));
        for number in 1..40 {
            history.add(Some(digest(number)));
        }
        history.add(Some(digest(39)));
        assert!(!history.is_deterministic());
        assert_eq!((history.runs(), history.variants().len()), (43, MAX_VARIANTS));
        assert_eq!(history.variants()[0], Variant { outputs: digest(39), times: 2 });
    }
}

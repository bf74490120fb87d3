//! A cache that others share, behind the local one.
//!
//! What it has is copied into the local cache after it was verified, and is a local result from then on. It is asked after the
//! local cache had nothing, and given what was stored there.

use std::cell::RefCell;

use cache_core::{Entry, Key};
use serde::{Deserialize, Serialize};

/// A cache on another machine, as a run uses it. Trouble with it is never an error: it is kept, and told at the end.
pub trait Remote: Sync {
    /// Returns whether results are looked up there.
    fn reads(&self) -> bool;
    /// Returns whether results are sent there.
    fn writes(&self) -> bool;
    /// Returns the entry under `key`. Its signature is not checked, and its blobs are not here yet.
    fn get(&self, key: &Key) -> Looked;
    /// Copies the blobs of `entry` that the local cache does not have, each verified, and returns how many bytes came.
    ///
    /// # Errors
    /// One sentence, if not all of them could be had. What is whole stays in the local cache.
    fn bring(&self, entry: &Entry) -> Result<u64, String>;
    /// Sends what the local cache has under `key` there, now or later. Returns at once.
    fn offer(&self, key: &Key, entry: &Entry);
    /// Ends the work, and says what it was. Only if `wait` is true it may take a moment, and never longer than it was told.
    fn finish(&self, wait: bool) -> Finish;
}

/// What a look into the remote cache came to.
#[derive(Debug)]
pub enum Looked {
    /// It has this.
    Found(Box<Entry>),
    /// It has nothing.
    Absent,
    /// It could not be asked.
    Unknown,
}

/// How it went with the remote cache.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Finish {
    /// What arrived there in this run, also if earlier ones had left it.
    pub uploaded: u64,
    /// What did not, and is left to the next run.
    pub left: u64,
    /// Why it was not used, or something not sent, where that is no news or was to be expected.
    pub trouble: Option<String>,
    /// What the user should know, each in one sentence.
    pub warnings: Vec<String>,
}

/// What passed between a run and the remote cache.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Traffic {
    /// Whether the result came from there.
    pub hit: bool,
    /// What a look into it came to, if there was one.
    pub looked: Option<Seen>,
    /// Bytes that came from there.
    pub fetched_bytes: u64,
    /// Entries that arrived there.
    pub uploaded: u64,
    /// Entries that are still to be sent.
    pub left: u64,
    /// Why it was not used, or something not sent.
    pub trouble: Option<String>,
}

/// Whether the remote cache had a result.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Seen {
    /// It had.
    Hit,
    /// It had none, or none that counts.
    Miss,
    /// It could not be asked, or not give it.
    Unknown,
}

impl Traffic {
    /// Returns what is worth a word in the status line.
    pub fn facts(&self) -> Vec<String> {
        let mut facts = Vec::new();
        if self.hit {
            facts.push("from the remote cache".to_owned());
        } else if self.looked == Some(Seen::Miss) {
            facts.push("not in the remote cache".to_owned());
        }
        if self.uploaded > 0 {
            facts.push("uploaded".to_owned());
        }
        if self.left > 0 {
            facts.push("the next run goes on uploading".to_owned());
        }
        facts.extend(self.trouble.clone());
        facts
    }
}

/// The remote cache during one look-up, and what came from it.
pub(crate) struct Far<'a> {
    pub(crate) remote: &'a dyn Remote,
    /// Entries as they are stored there, each with the key asked for and its address.
    pub(crate) seen: RefCell<Vec<Arrival>>,
    /// Whether something could not be asked for.
    pub(crate) unknown: RefCell<bool>,
}

/// An entry that came from the remote cache, and counts.
pub(crate) struct Arrival {
    /// The key that was asked for.
    pub(crate) key: Key,
    /// Where it is stored.
    pub(crate) address: Key,
    pub(crate) entry: Entry,
}

impl<'a> Far<'a> {
    pub(crate) fn new(remote: &'a dyn Remote) -> Self {
        Self { remote, seen: RefCell::default(), unknown: RefCell::new(false) }
    }

    /// Returns what is under `address`.
    pub(crate) fn get(&self, address: &Key) -> Option<Entry> {
        match self.remote.get(address) {
            Looked::Found(entry) => Some(*entry),
            Looked::Absent => None,
            Looked::Unknown => {
                self.unknown.replace(true);
                None
            }
        }
    }

    pub(crate) fn note(&self, key: &Key, address: &Key, entry: &Entry) {
        self.seen.borrow_mut().push(Arrival { key: *key, address: *address, entry: entry.clone() });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_happened_is_told() {
        assert!(Traffic::default().facts().is_empty());
        let miss = Traffic { looked: Some(Seen::Miss), uploaded: 1, left: 2, ..Traffic::default() };
        let facts = ["not in the remote cache", "uploaded", "the next run goes on uploading"];
        assert_eq!(miss.facts(), facts);
        let hit = Traffic { hit: true, looked: Some(Seen::Hit), ..Traffic::default() };
        assert_eq!(hit.facts(), ["from the remote cache"]);
        // What a newer version adds is skipped, and what an older one did not write is nothing.
        let old: Traffic = serde_json::from_str(r#"{"hit":true,"more":1}"#).unwrap();
        assert_eq!(old, Traffic { hit: true, ..Traffic::default() });
    }
}

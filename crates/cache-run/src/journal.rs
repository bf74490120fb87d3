//! A small, bounded record of past runs: what `why` and `stats` read.
//!
//! One line of text per run: eight digits of CRC32C, a space, JSON. Appended with one write, so that processes need no
//! lock; a line that was torn or mixed up fails its check and is skipped. At 4 MiB the file becomes the older
//! generation and a new one begins.

use std::io::{self, Read, Seek, SeekFrom};
use std::path::PathBuf;

use cache_core::{Digest, Key, Timestamp, crc32c};
use serde::{Deserialize, Serialize};

use crate::append::append;
use crate::regular;
use crate::remote::Traffic;

/// Bytes of one generation; there are two. About 8,000 runs each.
const MAX_BYTES: u64 = 4 << 20;
/// Longest line. Longer ones are cut down by their writer.
const MAX_LINE: usize = 16 << 10;

/// One run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// When it ended.
    pub at: Timestamp,
    /// Label of the run.
    pub label: String,
    /// Namespace of the run.
    pub namespace: String,
    /// Key of the run.
    pub key: Key,
    /// What the key was made of, if it could be kept: a blob in the store.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub manifest: Option<Digest>,
    /// How it went.
    pub outcome: Outcome,
    /// Why, in the words of the status line.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub reasons: Vec<String>,
    /// Why the result was not stored.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub not_stored: Option<String>,
    /// Milliseconds that the command took; what a hit saved.
    pub command_ms: u64,
    /// Milliseconds from start to end.
    pub wall_ms: u64,
    /// Bytes restored or stored.
    pub bytes: u64,
    /// Exit code of the command.
    pub code: i32,
    /// The base directory.
    pub base: String,
    /// Terminal session or CI job.
    pub session: String,
    /// Name of the key that its result was or would have been signed with, if results are signed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signer: Option<String>,
    /// Outputs that differed when a hit was run again; nothing if that was not tried.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub differing: Option<u64>,
    /// What passed between it and the remote cache, if there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub remote: Option<Traffic>,
}

/// How a run went.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// It was in the cache.
    Hit,
    /// It was in the cache but too old, was served, and is made anew in the background.
    Stale,
    /// It was not in the cache; the command ran, and its result was stored.
    Miss,
    /// The command ran, and its result was not stored.
    NotStored,
    /// The cache was not asked: it is off or unusable.
    Bypass,
}

impl Outcome {
    /// Returns whether the result came from the cache.
    pub fn is_hit(self) -> bool {
        matches!(self, Self::Hit | Self::Stale)
    }
}

/// The journal in a directory.
#[derive(Clone, Debug)]
pub struct Journal {
    dir: PathBuf,
}

impl Journal {
    /// Returns the journal in `dir`, which must exist for writing.
    pub fn new(dir: PathBuf) -> Self {
        Self { dir }
    }

    fn current(&self) -> PathBuf {
        self.dir.join("journal.jsonl")
    }

    fn older(&self) -> PathBuf {
        self.dir.join("journal.1.jsonl")
    }

    /// Adds `record`.
    ///
    /// # Errors
    /// What the file system reports. The run itself is not concerned.
    pub fn append(&self, record: &Record) -> io::Result<()> {
        let mut json = serde_json::to_string(record)?;
        if json.len() > MAX_LINE {
            let cut = Record { reasons: Vec::new(), ..record.clone() };
            json = serde_json::to_string(&cut)?;
        }
        let line = format!("{:08x} {json}\n", crc32c(json.as_bytes()));
        append(&self.current(), &self.older(), line.as_bytes(), MAX_BYTES)
    }

    /// Returns the newest records, oldest first, from at most `max_bytes` of the journal.
    pub fn read(&self, max_bytes: u64) -> Vec<Record> {
        let mut text = tail(&self.current(), max_bytes).unwrap_or_default();
        let left = max_bytes.saturating_sub(text.len() as u64);
        if left > 0 {
            let mut older = tail(&self.older(), left).unwrap_or_default();
            older.append(&mut text);
            text = older;
        }
        text.split(|&byte| byte == b'\n').filter_map(parse).collect()
    }

    /// Returns all records, oldest first.
    pub fn read_all(&self) -> Vec<Record> {
        self.read(3 * MAX_BYTES)
    }
}

fn parse(line: &[u8]) -> Option<Record> {
    let (check, json) = line.split_at_checked(9)?;
    let check = u32::from_str_radix(std::str::from_utf8(check.get(..8)?).ok()?, 16).ok()?;
    if crc32c(json) == check { serde_json::from_slice(json).ok() } else { None }
}

/// Returns the last `max` bytes; the first line may be a fragment, which its check finds out.
fn tail(path: &std::path::Path, max: u64) -> io::Result<Vec<u8>> {
    let mut file = regular::read(path)?;
    let len = file.metadata()?.len();
    file.seek(SeekFrom::Start(len.saturating_sub(max)))?;
    let mut out = Vec::new();
    file.take(max).read_to_end(&mut out)?;
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    fn record(n: u64) -> Record {
        Record {
            at: Timestamp::from_millis(n),
            label: "docs".to_owned(),
            namespace: "default".to_owned(),
            key: Key::from_bytes([n as u8; 32]),
            manifest: Some(Digest::blake3(b"m")),
            outcome: Outcome::Miss,
            reasons: vec!["a changed".to_owned()],
            not_stored: None,
            command_ms: 5,
            wall_ms: 6,
            bytes: 7,
            code: 0,
            base: "/b".to_owned(),
            session: "1".to_owned(),
            signer: None,
            differing: None,
            remote: None,
        }
    }

    #[test]
    fn damaged_lines_are_skipped() {
        let dir = tempfile::tempdir().unwrap();
        let journal = Journal::new(dir.path().to_owned());
        for n in 0..3 {
            journal.append(&record(n)).unwrap();
        }
        let good = fs::read(journal.current()).unwrap();
        assert_eq!(journal.read_all(), [record(0), record(1), record(2)]);
        for at in 0..good.len() {
            let mut bad = good.clone();
            bad[at] ^= 1;
            fs::write(journal.current(), &bad).unwrap();
            let records = journal.read_all();
            assert!(records.iter().all(|r| *r == record(r.at.as_millis())), "byte {at}");
            assert!(!records.is_empty(), "byte {at}");
        }
    }

    #[test]
    fn it_is_bounded() {
        let dir = tempfile::tempdir().unwrap();
        let journal = Journal::new(dir.path().to_owned());
        let big = Record { reasons: vec!["x".repeat(10_000)], ..record(0) };
        for _ in 0..1000 {
            journal.append(&big).unwrap();
        }
        let on_disk: u64 =
            fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().metadata().unwrap().len()).sum();
        assert!(on_disk <= 2 * (MAX_BYTES + MAX_LINE as u64), "{on_disk}");
        assert!(journal.read_all().len() > 300);
        let huge = Record { reasons: vec!["x".repeat(100_000)], ..record(0) };
        journal.append(&huge).unwrap();
        assert_eq!(
            journal.read(1000).last(),
            Some(&record(0)).map(|r| Record { reasons: vec![], ..r.clone() }).as_ref()
        );
    }
}

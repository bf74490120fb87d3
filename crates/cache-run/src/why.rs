//! The question after the fact: why was that a miss?

use cache_fs::FsStore;

use crate::explain::{self, Earlier};
use crate::journal::{Journal, Record};
use crate::manifest::Difference;

/// Which run is asked about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Query {
    /// The last one.
    Last,
    /// The last one with this label, or the one whose key starts with these digits.
    One(String),
    /// Two of them, the earlier one first.
    Two(String, String),
}

/// What is known about a run.
#[derive(Clone, Debug, PartialEq)]
pub struct Answer {
    /// The run.
    pub run: Record,
    /// The run that it is compared with: the nearest earlier one of the same label.
    pub earlier: Option<Record>,
    /// In what they differ; nothing if the details are no longer kept.
    pub differences: Option<Vec<Difference>>,
}

/// Why there is no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum WhyError {
    /// Nothing was run yet, as far as the journal goes back.
    #[error("no run is recorded in this cache yet; run something with `vitte-cache run` first")]
    Empty,
    /// No run has this label or key.
    #[error(
        "no recorded run has the label or key `{0}`; `vitte-cache ls` and `vitte-cache stats` show what there is"
    )]
    Unknown(String),
    /// Several runs have keys that start so.
    #[error("several keys start with `{0}`; write more of its digits")]
    Ambiguous(String),
}

/// Returns what is known about the run that `query` asks about.
///
/// # Errors
/// If there is no such run.
pub fn why(store: &FsStore, journal: &Journal, query: &Query) -> Result<Answer, WhyError> {
    let records = journal.read_all();
    match query {
        Query::Last => match records.len().checked_sub(1) {
            Some(last) => Ok(compare_with_nearest(store, &records, last)),
            None => Err(WhyError::Empty),
        },
        Query::One(name) => Ok(compare_with_nearest(store, &records, find(&records, name)?)),
        Query::Two(a, b) => {
            let (earlier, run) = (&records[find(&records, a)?], &records[find(&records, b)?]);
            let differences = explain::manifest(store, run)
                .and_then(|now| Some(now.differences(&explain::manifest(store, earlier)?)));
            Ok(Answer { run: run.clone(), earlier: Some(earlier.clone()), differences })
        }
    }
}

fn find(records: &[Record], name: &str) -> Result<usize, WhyError> {
    if let Some(found) = records.iter().rposition(|record| record.label == name) {
        return Ok(found);
    }
    let is_prefix = !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_hexdigit());
    let matches = |record: &Record| is_prefix && record.key.to_hex().starts_with(&name.to_ascii_lowercase());
    let found = records.iter().rposition(matches).ok_or_else(|| WhyError::Unknown(name.to_owned()))?;
    if records.iter().any(|record| matches(record) && record.key != records[found].key) {
        return Err(WhyError::Ambiguous(name.to_owned()));
    }
    Ok(found)
}

fn compare_with_nearest(store: &FsStore, records: &[Record], index: usize) -> Answer {
    let run = records[index].clone();
    let unknown = Answer { run: run.clone(), earlier: None, differences: None };
    // A hit has the manifest of the run that made it.
    let of_run =
        records[..=index].iter().rev().find(|record| record.key == run.key && record.manifest.is_some());
    let Some(now) = of_run.and_then(|record| explain::manifest(store, record)) else { return unknown };
    let before = records[..index].iter().rev().filter(|r| r.label == run.label && r.key != run.key);
    match explain::nearest(store, before, &now) {
        Earlier::Nearest(earlier, differences) => {
            Answer { run, earlier: Some(*earlier), differences: Some(differences) }
        }
        Earlier::None => Answer { run, earlier: None, differences: Some(Vec::new()) },
        _ => unknown,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::journal::Outcome;
    use cache_core::{Key, Timestamp};

    fn record(label: &str, key: u8) -> Record {
        Record {
            at: Timestamp::from_millis(1),
            label: label.to_owned(),
            namespace: "default".to_owned(),
            key: Key::from_bytes([key; 32]),
            manifest: None,
            outcome: Outcome::Miss,
            reasons: Vec::new(),
            not_stored: None,
            command_ms: 0,
            wall_ms: 0,
            bytes: 0,
            code: 0,
            base: "/".to_owned(),
            session: String::new(),
            signer: None,
            differing: None,
            remote: None,
        }
    }

    #[test]
    fn runs_are_found_by_label_and_by_unique_prefix() {
        let records = [record("a", 0x11), record("b", 0x12), record("a", 0x22)];
        assert_eq!(find(&records, "a"), Ok(2));
        assert_eq!(find(&records, "12"), Ok(1));
        assert_eq!(find(&records, "1"), Err(WhyError::Ambiguous("1".to_owned())));
        assert_eq!(find(&records, "c0ffee"), Err(WhyError::Unknown("c0ffee".to_owned())));
        assert_eq!(find(&records, ""), Err(WhyError::Unknown(String::new())));
    }
}

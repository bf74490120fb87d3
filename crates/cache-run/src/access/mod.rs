//! The access log: what was asked of a store, one line of JSON per access, for [`simulate`](crate::simulate).
//!
//! The format is described in `docs/reference/access-log.md`.

mod log;

use serde::{Deserialize, Serialize};

use cache_core::{Event, Key, MissReason, Timestamp};

pub use log::AccessLog;

/// The version of the format that is written. A line of another version is not understood.
const VERSION: u32 = 1;
/// Hexadecimal digits of a key that count. Two of a million keys are the same in them once in thirty million logs.
const DIGITS: usize = 16;

/// One access to a store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Access {
    /// When it was.
    pub at: Timestamp,
    /// The first eight bytes of the key.
    pub key: u64,
    /// What was done.
    pub op: Op,
}

/// What an [`Access`] did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Op {
    /// An entry was looked up and found.
    Hit {
        /// Bytes of its value and blobs.
        bytes: u64,
    },
    /// An entry was looked up and not found.
    Miss {
        /// Whether no store of any size would have had it: its time was over, or it was damaged.
        void: bool,
    },
    /// An entry was stored.
    Put {
        /// Bytes of its value and blobs.
        bytes: u64,
    },
    /// An entry was removed on request.
    Remove,
}

/// Says what is wrong with a line of an access log.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AccessError {
    /// It is not JSON of the right shape.
    #[error("it is no access in JSON")]
    NoAccess,
    /// It is of a version that this program does not know.
    #[error("it is of version {0} of the format, and this program knows version {VERSION}")]
    Version(u64),
    /// A field is not there.
    #[error("it has no `{0}`")]
    Missing(&'static str),
    /// The key is none.
    #[error("its `key` does not have 16 to 64 digits of 0-9 a-f")]
    Key,
    /// It is too long to be read.
    #[error("it is longer than {0} bytes")]
    TooLong(usize),
}

/// A line. All fields are optional, so that what is missing can be named.
#[derive(Deserialize, Serialize)]
struct Line<'a> {
    v: Option<u64>,
    t: Option<u64>,
    op: Option<Verb>,
    #[serde(borrow)]
    key: Option<std::borrow::Cow<'a, str>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    size: Option<u64>,
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    miss: Option<std::borrow::Cow<'a, str>>,
}

#[derive(Clone, Copy, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
enum Verb {
    Get,
    Put,
    Remove,
}

/// The one field that every version has.
#[derive(Deserialize)]
struct Head {
    v: u64,
}

impl Access {
    /// Returns the access that `line`, without its line feed, describes. Fields that are not known are ignored.
    ///
    /// # Errors
    /// If it describes none.
    pub fn parse(line: &[u8]) -> Result<Self, AccessError> {
        let fields: Line<'_> = serde_json::from_slice(line).map_err(|_| version(line))?;
        match fields.v {
            None => return Err(AccessError::Missing("v")),
            Some(v) if v != u64::from(VERSION) => return Err(AccessError::Version(v)),
            Some(_) => {}
        }
        let at = Timestamp::from_millis(fields.t.ok_or(AccessError::Missing("t"))?);
        let key = parse_key(&fields.key.ok_or(AccessError::Missing("key"))?).ok_or(AccessError::Key)?;
        let bytes = || fields.size.ok_or(AccessError::Missing("size"));
        let op = match (fields.op.ok_or(AccessError::Missing("op"))?, fields.miss) {
            (Verb::Get, Some(reason)) => {
                Op::Miss { void: matches!(&*reason, "expired" | "corrupt" | "newer-format") }
            }
            (Verb::Get, None) => Op::Hit { bytes: bytes()? },
            (Verb::Put, _) => Op::Put { bytes: bytes()? },
            (Verb::Remove, _) => Op::Remove,
        };
        Ok(Self { at, key, op })
    }
}

/// Returns why a line that has not the shape of ours is not understood.
fn version(line: &[u8]) -> AccessError {
    match serde_json::from_slice(line) {
        Ok(Head { v }) if v != u64::from(VERSION) => AccessError::Version(v),
        _ => AccessError::NoAccess,
    }
}

fn parse_key(text: &str) -> Option<u64> {
    let digit = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
    if !(DIGITS..=64).contains(&text.len()) || !text.bytes().all(digit) {
        return None;
    }
    u64::from_str_radix(text.get(..DIGITS)?, 16).ok()
}

/// Returns the line, with its line feed, for what happened at `at`; nothing if it was no access to an entry.
fn line(at: Timestamp, event: &Event<'_>) -> Option<Vec<u8>> {
    let (key, op, size, miss): (&Key, _, _, _) = match event {
        Event::Hit { key, bytes } => (key, Verb::Get, Some(*bytes), None),
        Event::Miss { key, reason } => (key, Verb::Get, None, Some(word(reason))),
        Event::Put { key, bytes } => (key, Verb::Put, Some(*bytes), None),
        Event::Removed { key } => (key, Verb::Remove, None, None),
        _ => return None,
    };
    let hex = key.to_hex();
    let fields = Line {
        v: Some(u64::from(VERSION)),
        t: Some(at.as_millis()),
        op: Some(op),
        key: hex.get(..DIGITS).map(Into::into),
        size,
        miss: miss.map(Into::into),
    };
    let mut line = serde_json::to_vec(&fields).ok()?;
    line.push(b'\n');
    Some(line)
}

fn word(reason: &MissReason) -> &'static str {
    match reason {
        MissReason::Expired { .. } => "expired",
        MissReason::Evicted { .. } => "evicted",
        MissReason::Incomplete { .. } => "incomplete",
        MissReason::Corrupt => "corrupt",
        MissReason::NewerFormat => "newer-format",
        _ => "absent",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn parse(text: &str) -> Result<Access, AccessError> {
        Access::parse(text.as_bytes())
    }

    #[test]
    fn what_is_written_is_understood() {
        let key = &Key::from_bytes([0xab; 32]);
        let at = Timestamp::from_millis(17);
        for (event, text, op) in [
            (
                Event::Hit { key, bytes: 5 },
                r#"{"v":1,"t":17,"op":"get","key":"abababababababab","size":5}"#,
                Op::Hit { bytes: 5 },
            ),
            (
                Event::Miss { key, reason: MissReason::Evicted { at } },
                r#"{"v":1,"t":17,"op":"get","key":"abababababababab","miss":"evicted"}"#,
                Op::Miss { void: false },
            ),
            (
                Event::Miss { key, reason: MissReason::Expired { at } },
                r#"{"v":1,"t":17,"op":"get","key":"abababababababab","miss":"expired"}"#,
                Op::Miss { void: true },
            ),
            (
                Event::Put { key, bytes: 0 },
                r#"{"v":1,"t":17,"op":"put","key":"abababababababab","size":0}"#,
                Op::Put { bytes: 0 },
            ),
            (Event::Removed { key }, r#"{"v":1,"t":17,"op":"remove","key":"abababababababab"}"#, Op::Remove),
        ] {
            let written = line(at, &event).unwrap();
            assert_eq!(String::from_utf8(written).unwrap(), format!("{text}\n"));
            assert_eq!(parse(text), Ok(Access { at, key: 0xabab_abab_abab_abab, op }));
        }
        assert_eq!(line(at, &Event::Evicted { items: 1, bytes: 1 }), None);
    }

    #[test]
    fn what_is_wrong_is_said() {
        let with = |rest: &str| parse(&format!(r#"{{"v":1,"t":1,"key":"0123456789abcdef"{rest}}}"#));
        assert_eq!(with(""), Err(AccessError::Missing("op")));
        assert_eq!(with(r#","op":"get""#), Err(AccessError::Missing("size")));
        assert_eq!(with(r#","op":"put","miss":"absent""#), Err(AccessError::Missing("size")));
        assert_eq!(with(r#","op":"touch""#), Err(AccessError::NoAccess));
        assert!(with(r#","op":"remove","more":[1]"#).is_ok());
        for (text, error) in [
            ("", AccessError::NoAccess),
            ("[]", AccessError::NoAccess),
            ("{}", AccessError::Missing("v")),
            (r#"{"v":2,"op":"peek"}"#, AccessError::Version(2)),
            (r#"{"v":2,"op":"get"}"#, AccessError::Version(2)),
            (r#"{"v":1,"op":"get"}"#, AccessError::Missing("t")),
            (r#"{"v":1,"t":1,"op":"remove"}"#, AccessError::Missing("key")),
            (r#"{"v":1,"t":1,"op":"remove","key":"0123456789abcde"}"#, AccessError::Key),
            (r#"{"v":1,"t":1,"op":"remove","key":"0123456789ABCDEF"}"#, AccessError::Key),
            (r#"{"v":1,"t":1,"op":"remove","key":"0123456789abcdeé"}"#, AccessError::Key),
            (r#"{"v":1,"t":1,"op":"put","key":"0123456789abcdef","size":-1}"#, AccessError::NoAccess),
        ] {
            assert_eq!(parse(text), Err(error), "{text}");
        }
        let long = format!(r#"{{"v":1,"t":1,"op":"remove","key":"{}"}}"#, "0".repeat(65));
        assert_eq!(parse(&long), Err(AccessError::Key));
    }

    proptest! {
        #[test]
        fn no_line_is_too_strange(line: Vec<u8>, cut in 0..60_usize, flip in 0..60_usize) {
            let _ = Access::parse(&line);
            let mut good = br#"{"v":1,"t":17,"op":"get","key":"abababababababab","size":5}"#.to_vec();
            good[flip.min(58)] ^= 0x41;
            let _ = Access::parse(&good);
            let _ = Access::parse(&good[..cut.min(59)]);
        }
    }
}

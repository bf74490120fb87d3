//! What is told about a run: one line for people, one object for programs.

use std::fmt::Write;
use std::time::Duration;

use cache_core::{Key, MissReason, Timestamp};
use cache_fs::FsStore;
use serde::Serialize;

use crate::human;
use crate::journal::Outcome;
use crate::manifest::Difference;
use crate::remote::Traffic;

/// Reasons named in a status line; the others are counted.
const NAMED: usize = 3;

/// The end of a run.
#[derive(Clone, Debug)]
pub struct Report {
    /// Label of the run.
    pub label: String,
    /// Key of the run, if one could be made.
    pub key: Option<Key>,
    /// How it went.
    pub outcome: Outcome,
    /// Why it had to run.
    pub reason: Reason,
    /// Why the result was not stored although it should have been, with the remedy.
    pub refusal: Option<String>,
    /// Why the result was not stored, where that was to be expected.
    pub note: Option<String>,
    /// Exit code of the command.
    pub code: i32,
    /// Files of the result.
    pub files: usize,
    /// Bytes of the result.
    pub bytes: u64,
    /// From start to end.
    pub wall: Duration,
    /// How long the command took, now or when the result was made.
    pub command: Duration,
    /// How long another process was waited for that ran the same.
    pub waited: Option<Duration>,
    /// Outputs that came out different when a hit was run again; nothing if that was not tried.
    pub differing: Option<Vec<String>>,
    /// What passed between the run and the remote cache, if there is one.
    pub remote: Option<Traffic>,
    /// Trouble of the cache that did not concern the command.
    pub warnings: Vec<String>,
}

/// Why a command had to run.
#[derive(Clone, Debug, PartialEq)]
pub enum Reason {
    /// It had not.
    None,
    /// No run with this label is known.
    First,
    /// It differs from the nearest earlier run.
    Differs(Vec<Difference>),
    /// A file that it read besides its inputs changed, appeared or went away.
    Discovered(Vec<Difference>),
    /// There was a result, and it is gone.
    Evicted {
        /// When it went, if that is known.
        ago: Option<Duration>,
        /// Bytes used and allowed, if there is a limit.
        fullness: Option<(u64, u64)>,
    },
    /// There was a result, and its time was over.
    Expired {
        /// For how long.
        ago: Duration,
    },
    /// There was a result, and it was damaged.
    Corrupt,
    /// There is a result of a newer version of this program.
    Newer,
    /// There is a result that nobody signed, and only signed ones count.
    Unsigned,
    /// There was a result, signed with a key that is not given here.
    UnknownSigner,
    /// There was a result that was changed or moved by somebody without a key.
    Forged,
    /// The user asked for it.
    Asked(&'static str),
    /// The same run was stored, and is not there any more.
    Removed {
        /// When it had been stored.
        ago: Duration,
    },
    /// The same run was made before and was not stored; why not.
    NotStoredBefore(Option<String>),
    /// The remote cache had a result that does not count; why not.
    Remote(Box<Self>),
    /// Something else.
    Unknown(String),
}

impl Reason {
    /// Returns the reason for a miss in the store.
    pub fn of_miss(miss: MissReason, now: Timestamp, store: &FsStore) -> Option<Self> {
        let fullness = || {
            let usage = store.usage();
            Some((usage.bytes, usage.max_bytes?))
        };
        match miss {
            MissReason::Expired { at } => Some(Self::Expired { ago: now.since(at) }),
            MissReason::Evicted { at } => {
                Some(Self::Evicted { ago: Some(now.since(at)), fullness: fullness() })
            }
            MissReason::Incomplete { evicted, .. } => {
                Some(Self::Evicted { ago: evicted.map(|at| now.since(at)), fullness: fullness() })
            }
            MissReason::Corrupt => Some(Self::Corrupt),
            MissReason::NewerFormat => Some(Self::Newer),
            MissReason::Unsigned => Some(Self::Unsigned),
            MissReason::UnknownSigner => Some(Self::UnknownSigner),
            MissReason::Forged => Some(Self::Forged),
            _ => None,
        }
    }

    /// Returns the reason in words, each part on its own.
    pub fn words(&self) -> Vec<String> {
        let one = |text: String| vec![text];
        match self {
            Self::None => Vec::new(),
            Self::First => one("first run".to_owned()),
            Self::Differs(differences) | Self::Discovered(differences) => {
                differences.iter().map(ToString::to_string).collect()
            }
            Self::Evicted { ago, fullness } => {
                let mut text = "evicted".to_owned();
                if let Some(ago) = ago {
                    let _ = write!(text, " {} ago", human::duration(*ago));
                }
                if let Some((used, limit)) = *fullness {
                    let _ = write!(text, " (cache {})", human::part(used, limit));
                }
                one(text)
            }
            Self::Expired { ago } => one(format!("expired {} ago", human::duration(*ago))),
            Self::Corrupt => one("stored result was damaged and put aside".to_owned()),
            Self::Newer => one("stored result was made by a newer version".to_owned()),
            Self::Unsigned => one("stored result is not signed".to_owned()),
            Self::UnknownSigner => {
                one("stored result was signed with a key that is not given here".to_owned())
            }
            Self::Forged => one("stored result has a wrong signature and was removed".to_owned()),
            Self::Asked(what) => one((*what).to_owned()),
            Self::Removed { ago } => one(format!("stored {} ago and removed since", human::duration(*ago))),
            Self::NotStoredBefore(why) => {
                let why = why.as_deref().map(|why| why.strip_prefix("not stored: ").unwrap_or(why));
                one(why.map_or_else(
                    || "not stored before".to_owned(),
                    |why| format!("not stored before: {why}"),
                ))
            }
            Self::Remote(why) => {
                why.words().iter().map(|word| format!("in the remote cache: {word}")).collect()
            }
            Self::Unknown(why) => one(why.clone()),
        }
    }
}

/// Paints parts of a line; the command decides whether with colours.
pub trait Paint {
    /// Returns `text` as good news, bad news, something to look at, or something secondary.
    fn paint(&self, tone: Tone, text: &str) -> String;
}

/// What a part of a line means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tone {
    /// From the cache.
    Good,
    /// Not from the cache.
    Plain,
    /// Needs attention.
    Warn,
    /// Secondary.
    Dim,
}

/// Paints nothing.
#[derive(Clone, Copy, Debug)]
pub struct NoPaint;

impl Paint for NoPaint {
    fn paint(&self, _: Tone, text: &str) -> String {
        text.to_owned()
    }
}

impl Report {
    /// Returns the status line.
    pub fn line(&self, paint: &dyn Paint) -> String {
        let (tone, head) = match (self.outcome, &self.refusal) {
            (Outcome::Hit, _) => (Tone::Good, "● hit "),
            (Outcome::Stale, _) => (Tone::Good, "● stale"),
            (_, Some(_)) => (Tone::Warn, "⊘ not stored"),
            (Outcome::Miss, None) => (Tone::Plain, "○ miss"),
            (Outcome::NotStored, None) => (Tone::Plain, "○ ran "),
            (Outcome::Bypass, None) => (Tone::Plain, "○ off "),
        };
        let mut line = format!("{} {}   ", paint.paint(tone, head), self.label);
        let mut facts = Vec::new();
        if self.outcome.is_hit() {
            if self.files > 0 {
                let _ = write!(line, "{}, {} · ", human::count(self.files, "file"), human::size(self.bytes));
            }
            line.push_str(&human::duration(self.wall));
            if self.command > self.wall {
                let saved = human::duration(self.command.saturating_sub(self.wall));
                let _ = write!(line, " {}", paint.paint(Tone::Dim, &format!("(saved {saved})")));
            }
        } else if let Some(refusal) = &self.refusal {
            line.push_str(refusal);
        } else {
            let words = self.reason.words();
            let named = words.iter().take(NAMED).cloned().collect::<Vec<_>>().join(", ");
            line.push_str(&named);
            if words.len() > NAMED {
                let _ = write!(line, " (+{})", words.len() - NAMED);
            }
            if self.command > Duration::ZERO {
                facts.push(format!("ran {}", human::duration(self.command)));
            }
            if self.outcome == Outcome::Miss {
                facts.push(format!("stored {}", human::size(self.bytes)));
            }
        }
        facts.extend(self.note.clone());
        facts.extend(self.remote.iter().flat_map(Traffic::facts));
        if self.code != 0 {
            facts.push(format!("exit code {}", self.code));
        }
        if let Some(waited) = self.waited {
            facts.push(format!("waited {} for another run", human::duration(waited)));
        }
        match &self.differing {
            Some(differing) if differing.is_empty() => facts.push("verified: same again".to_owned()),
            Some(differing) => facts.push(format!("NOT DETERMINISTIC: {} differs", named_list(differing))),
            None => {}
        }
        for fact in facts {
            let _ = write!(line, " · {fact}");
        }
        line
    }

    /// Returns where a result came from, `local` or `remote`; nothing if the command ran.
    pub fn origin(&self) -> Option<&'static str> {
        let is_remote = self.remote.as_ref().is_some_and(|remote| remote.hit);
        self.outcome.is_hit().then_some(if is_remote { "remote" } else { "local" })
    }

    /// Returns the report as one line of JSON.
    pub fn json(&self) -> String {
        #[derive(Serialize)]
        struct Json<'a> {
            label: &'a str,
            key: Option<Key>,
            outcome: Outcome,
            reasons: Vec<String>,
            refusal: Option<&'a str>,
            note: Option<&'a str>,
            exit_code: i32,
            files: usize,
            bytes: u64,
            wall_ms: f64,
            command_ms: f64,
            waited_ms: Option<f64>,
            differing: Option<&'a [String]>,
            origin: Option<&'static str>,
            remote: Option<&'a Traffic>,
            warnings: &'a [String],
        }
        let millis = |duration: Duration| (duration.as_secs_f64() * 1e6).round() / 1e3;
        let json = Json {
            label: &self.label,
            key: self.key,
            outcome: self.outcome,
            reasons: self.reason.words(),
            refusal: self.refusal.as_deref(),
            note: self.note.as_deref(),
            exit_code: self.code,
            files: self.files,
            bytes: self.bytes,
            wall_ms: millis(self.wall),
            command_ms: millis(self.command),
            waited_ms: self.waited.map(millis),
            differing: self.differing.as_deref(),
            origin: self.origin(),
            remote: self.remote.as_ref(),
            warnings: &self.warnings,
        };
        serde_json::to_string(&json).unwrap_or_default()
    }
}

fn named_list(names: &[String]) -> String {
    let shown = names.iter().take(NAMED).cloned().collect::<Vec<_>>().join(", ");
    if names.len() > NAMED { format!("{shown} (+{})", names.len() - NAMED) } else { shown }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(outcome: Outcome) -> Report {
        Report {
            label: "docs".to_owned(),
            key: None,
            outcome,
            reason: Reason::None,
            refusal: None,
            note: None,
            code: 0,
            files: 214,
            bytes: 38_000_000,
            wall: Duration::from_millis(6),
            command: Duration::from_millis(41_206),
            waited: None,
            differing: None,
            remote: None,
            warnings: Vec::new(),
        }
    }

    #[test]
    fn lines_of_the_manual() {
        let hit = report(Outcome::Hit);
        assert_eq!(hit.line(&NoPaint), "● hit  docs   214 files, 38 MB · 6 ms (saved 41.2 s)");
        let env = |name: &str| Difference::Env {
            name: name.to_owned(),
            before: Some("1".into()),
            after: Some("2".into()),
        };
        let miss = Report {
            reason: Reason::Differs(["A", "B", "C", "D", "E"].map(env).to_vec()),
            bytes: 12_000_000,
            ..report(Outcome::Miss)
        };
        assert_eq!(
            miss.line(&NoPaint),
            "○ miss docs   A changed, B changed, C changed (+2) · ran 41.2 s · stored 12 MB"
        );
        let fullness = Some((20_000_000_000, 20_000_000_000));
        let ago = Some(Duration::from_hours(2));
        let evicted = Report { reason: Reason::Evicted { ago, fullness }, ..miss };
        assert_eq!(
            evicted.line(&NoPaint),
            "○ miss docs   evicted 2 h ago (cache 20.0 of 20.0 GB) · ran 41.2 s · stored 12 MB"
        );
        let refused = Report {
            refusal: Some("wrote its own input .cache/state.json · add -i '!.cache/**'".to_owned()),
            ..report(Outcome::NotStored)
        };
        assert_eq!(
            refused.line(&NoPaint),
            "⊘ not stored docs   wrote its own input .cache/state.json · add -i '!.cache/**'"
        );
    }
}

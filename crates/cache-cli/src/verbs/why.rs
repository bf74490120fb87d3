//! `why`: the nearest earlier run, and every difference.

use std::fmt::Write as _;
use std::io::Write as _;
use std::time::Duration;

use cache_core::{FileState, Key};
use cache_run::human;
use cache_run::journal::{Outcome, Record};
use cache_run::manifest::Difference;
use cache_run::remote::Traffic;
use cache_run::{Answer, Paint, Query, Tone};
use serde::Serialize;

use super::{Context, ago};
use crate::args::WhyArgs;
use crate::failure::{Failure, Result};
use crate::output::{self, Painter};
use crate::place;

/// Digits of a digest that are shown: enough to tell two apart.
const DIGITS: usize = 12;
/// Longest value that is shown whole.
const MAX_VALUE: usize = 200;

pub(super) fn run(context: &Context, args: &WhyArgs) -> Result {
    let query = match args.runs.as_slice() {
        [] => Query::Last,
        [one] => Query::One(one.clone()),
        [a, b, ..] => Query::Two(a.clone(), b.clone()),
    };
    let store = place::open(&context.config)?;
    let answer = cache_run::why(&store, &cache_run::journal(&store)?, &query).map_err(Failure::failed)?;
    let mut out = output::stdout();
    if args.json {
        output::json_line(&mut out, &Json::new(&answer))?;
    } else {
        out.write_all(show(&answer, context.color.stdout()).as_bytes())?;
    }
    Ok(out.flush()?)
}

#[derive(Serialize)]
struct Json<'a> {
    run: &'a Record,
    earlier: Option<&'a Record>,
    /// Null if the details are no longer kept.
    differences: Option<&'a [Difference]>,
}

impl<'a> Json<'a> {
    fn new(answer: &'a Answer) -> Self {
        Self {
            run: &answer.run,
            earlier: answer.earlier.as_ref(),
            differences: answer.differences.as_deref(),
        }
    }
}

fn show(answer: &Answer, painter: Painter) -> String {
    let run = &answer.run;
    let mut text = line("run", run, painter);
    if !run.reasons.is_empty() {
        let reasons: Vec<String> = run.reasons.iter().map(|reason| output::visible(reason)).collect();
        let _ = writeln!(text, "{:<9} {}", "because", reasons.join(", "));
    }
    let facts = run.remote.as_ref().map(Traffic::facts).unwrap_or_default();
    if !facts.is_empty() {
        let _ = writeln!(text, "{:<9} {}", "remote", output::visible(&facts.join(", ")));
    }
    match (&answer.earlier, &answer.differences) {
        (Some(earlier), Some(differences)) => {
            text.push_str(&line("compared", earlier, painter));
            text.push('\n');
            match differences.len() {
                0 => text.push_str("nothing differs\n"),
                count => {
                    let _ = writeln!(text, "{}", painter.heading(&human::count(count, "difference")));
                    text.push_str(&differences_text(differences, painter));
                }
            }
        }
        (Some(earlier), None) => {
            text.push_str(&line("compared", earlier, painter));
            text.push_str("\nwhat the two read is no longer kept, so they cannot be compared\n");
        }
        (None, Some(_)) => text.push_str("\nthere is no earlier run with this label to compare it with\n"),
        (None, None) => {
            text.push_str("\nwhat it read is no longer kept, so it cannot be compared with another run\n");
        }
    }
    text
}

fn line(what: &str, record: &Record, painter: Painter) -> String {
    let (tone, outcome) = match record.outcome {
        Outcome::Hit => (Tone::Good, "hit"),
        Outcome::Stale => (Tone::Good, "stale hit"),
        Outcome::Miss => (Tone::Plain, "miss"),
        Outcome::NotStored => (Tone::Warn, "not stored"),
        Outcome::Bypass => (Tone::Dim, "uncached"),
    };
    let took = human::duration(Duration::from_millis(record.wall_ms));
    let code = if record.code == 0 { String::new() } else { format!(", exit code {}", record.code) };
    format!(
        "{what:<9} {} {}   {} ago, {took}{code}   key {}\n",
        painter.paint(tone, outcome),
        output::visible(&record.label),
        ago(record.at),
        painter.paint(Tone::Dim, &short(&record.key)),
    )
}

/// Returns each difference on a line of its own: what it is, and its value before and after.
pub(super) fn differences_text(differences: &[Difference], painter: Painter) -> String {
    let mut text = String::new();
    for difference in differences {
        let (before, after) = match difference {
            Difference::File { before, after, .. } => (before.as_ref().map(state), after.as_ref().map(state)),
            Difference::Env { before, after, .. } | Difference::Argument { before, after, .. } => {
                (before.as_deref().map(value), after.as_deref().map(value))
            }
            Difference::Part { before, after, .. } => (Some(value(before)), Some(value(after))),
        };
        let values = match (before, after) {
            (Some(before), Some(after)) => format!("{before} → {after}"),
            (Some(before), None) => format!("was {before}"),
            (None, Some(after)) => after,
            (None, None) => String::new(),
        };
        let _ = writeln!(
            text,
            "  {}   {}",
            output::visible(&difference.to_string()),
            painter.paint(Tone::Dim, &values)
        );
    }
    text
}

fn state(state: &FileState) -> String {
    match state {
        FileState::Absent => "absent".to_owned(),
        FileState::File { digest, executable } => {
            let digits = digest.to_hex();
            format!("{}{}", &digits[..DIGITS], if *executable { " executable" } else { "" })
        }
        FileState::Symlink { target } => format!("link {}", &target.to_hex()[..DIGITS]),
        FileState::Directory => "directory".to_owned(),
    }
}

/// Returns a value in one line that a terminal can be trusted with.
fn value(value: &str) -> String {
    if value.is_empty() {
        return "empty".to_owned();
    }
    let shown = output::visible(value);
    match shown.char_indices().nth(MAX_VALUE) {
        Some((end, _)) => format!("{}…", &shown[..end]),
        None => shown,
    }
}

fn short(key: &Key) -> String {
    key.to_hex()[..DIGITS].to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::output::Color;
    use cache_core::{Anchor, Digest, RelPath, TreePath};

    #[test]
    fn each_difference_shows_its_values() {
        let path = TreePath { anchor: Anchor::Base, path: RelPath::new("src/a.rs").unwrap() };
        let file =
            |content: &[u8]| Some(FileState::File { digest: Digest::blake3(content), executable: false });
        let env = |before: Option<&str>, after: Option<&str>| Difference::Env {
            name: "X".to_owned(),
            before: before.map(str::to_owned),
            after: after.map(str::to_owned),
        };
        let text = differences_text(
            &[
                Difference::File { path: path.clone(), before: file(b"1"), after: file(b"2") },
                Difference::File { path, before: None, after: file(b"2") },
                env(Some("a"), Some("")),
                env(Some("<changed>"), Some("<changed>")),
                env(Some("evil\x1b[2J"), None),
                Difference::Argument { position: 2, before: None, after: Some("-g".to_owned()) },
            ],
            Color::Never.stdout(),
        );
        let (one, two) = (&Digest::blake3(b"1").to_hex()[..12], &Digest::blake3(b"2").to_hex()[..12]);
        assert_eq!(
            text,
            format!(
                "  src/a.rs changed   {one} → {two}\n  src/a.rs added   {two}\n  X changed   a → empty\n  X changed   \
                 <changed> → <changed>\n  X unset   was evil\\u{{1b}}[2J\n  argument 2 added   -g\n"
            )
        );
    }
}

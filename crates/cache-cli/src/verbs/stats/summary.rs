//! The summary of a CI job: one table in Markdown.

use std::fmt::Write as _;
use std::fs;
use std::io::{self, Write as _};
use std::path::Path;

use cache_run::human;

use super::{Stats, Sums};
use crate::ci::Job;
use crate::failure::{Failure, Result};
use crate::output;

/// Around our part of a file that others write as well, so that a later one takes its place.
const BEGIN: &str = "<!-- vitte-cache -->\n";
const END: &str = "<!-- /vitte-cache -->\n";
/// Labels in the table.
const MAX_LABELS: usize = 20;
/// Largest file that is changed, in bytes: what GitHub takes.
const MAX_FILE: u64 = 1 << 20;

/// Writes the summary to where `job` takes it; prints it if that is nowhere.
pub(super) fn write(stats: &Stats, job: Option<&Job>) -> Result {
    let text = table(stats);
    let mut out = output::stdout();
    match job.and_then(Job::summary_file) {
        Some((path, tell)) => {
            put(&path, &text).map_err(|error| {
                Failure::failed(format_args!(
                    "the summary cannot be written to {}: {error}; make it writable, or use --json",
                    path.display()
                ))
            })?;
            if tell {
                writeln!(out, "##vso[task.uploadsummary]{}", path.display())?;
            }
        }
        None => out.write_all(text.as_bytes())?,
    }
    Ok(out.flush()?)
}

fn put(path: &Path, text: &str) -> io::Result<()> {
    let before = match fs::metadata(path) {
        Ok(metadata) if metadata.len() > MAX_FILE => return Err(io::Error::other("it is larger than 1 MiB")),
        Ok(_) => fs::read_to_string(path)?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => String::new(),
        Err(error) => return Err(error),
    };
    fs::write(path, merged(&before, text))
}

/// Returns `before` with `text` in the place of our part, or at its end.
fn merged(before: &str, text: &str) -> String {
    let part = format!("{BEGIN}{text}{END}");
    let ours = before.find(BEGIN).and_then(|begin| {
        let end = begin + before[begin..].find(END)? + END.len();
        Some((begin, end))
    });
    match ours {
        Some((begin, end)) => format!("{}{part}{}", &before[..begin], &before[end..]),
        None if before.is_empty() || before.ends_with('\n') => format!("{before}{part}"),
        None => format!("{before}\n{part}"),
    }
}

fn table(stats: &Stats) -> String {
    let mut text = "### Build cache\n\n".to_owned();
    if stats.total.runs == 0 {
        text.push_str("No command ran through the cache in this job.\n");
        return text;
    }
    text.push_str("| | runs | hits | from remote | time saved | restored | fetched | uploads |\n");
    text.push_str("|---|--:|--:|--:|--:|--:|--:|--:|\n");
    row(&mut text, "**all**", &stats.total);
    let mut labels: Vec<(&String, &Sums)> = stats.labels.iter().collect();
    labels.sort_by(|(a, x), (b, y)| y.saved_ms.cmp(&x.saved_ms).then(y.runs.cmp(&x.runs)).then(a.cmp(b)));
    for (label, sums) in labels.iter().take(MAX_LABELS) {
        row(&mut text, &escaped(label), sums);
    }
    if labels.len() > MAX_LABELS {
        let _ = writeln!(text, "\n… and {} more", labels.len() - MAX_LABELS);
    }
    text
}

fn row(text: &mut String, name: &str, sums: &Sums) {
    let _ = writeln!(
        text,
        "| {name} | {} | {} ({}) | {} | {} | {} | {} | {} |",
        sums.runs,
        sums.hits,
        sums.ratio(),
        sums.remote_hits,
        sums.saved(),
        human::size(sums.restored_bytes),
        human::size(sums.fetched_bytes),
        sums.uploads,
    );
}

/// Returns `label` as text that means itself: a page is made of it that people with more rights look at.
fn escaped(label: &str) -> String {
    let mut text = String::new();
    for c in output::visible(label).chars() {
        match c {
            '<' => text.push_str("&lt;"),
            '>' => text.push_str("&gt;"),
            '&' => text.push_str("&amp;"),
            c if c.is_ascii_punctuation() => text.extend(['\\', c]),
            c => text.push(c),
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_is_one_table_however_often_it_is_written() {
        let first = merged("# Mine", "one\n");
        assert_eq!(first, format!("# Mine\n{BEGIN}one\n{END}"));
        let second = merged(&format!("{first}more\n"), "two\n");
        assert_eq!(second, format!("# Mine\n{BEGIN}two\n{END}more\n"));
        assert_eq!(merged("", "one\n"), format!("{BEGIN}one\n{END}"));
    }

    #[test]
    fn a_label_is_only_text() {
        assert_eq!(escaped("a|b<img src=x>\n`c`"), "a\\|b&lt;img src\\=x&gt;\\\\n\\`c\\`");
    }
}

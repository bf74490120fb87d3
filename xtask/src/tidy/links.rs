//! Every relative link of every Markdown file leads somewhere, its anchor included.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Component, Path, PathBuf};

use super::{Problems, Source};
use crate::markdown::{self, Line};

pub(super) fn check(root: &Path, sources: &[Source]) -> Problems {
    let pages: BTreeMap<&Path, BTreeSet<String>> = sources
        .iter()
        .filter(|source| source.is_markdown())
        .map(|source| (source.path.as_path(), anchors(&source.text)))
        .collect();
    let exists = |path: &Path| root.join(path).exists();
    sources
        .iter()
        .filter(|source| source.is_markdown() && !source.is_fixture())
        .flat_map(|source| check_page(source, &pages, exists))
        .collect()
}

fn check_page(
    source: &Source,
    pages: &BTreeMap<&Path, BTreeSet<String>>,
    exists: impl Fn(&Path) -> bool,
) -> Problems {
    let mut problems = Problems::new();
    for (index, line) in markdown::lines(&source.text).into_iter().enumerate() {
        let Line::Prose(line) = line else { continue };
        for target in targets(&markdown::without_code_spans(line)) {
            if let Err(why) = resolve(&source.path, &target, pages, &exists) {
                problems.push(format!("{}:{}: link `{target}` {why}", source.path.display(), index + 1));
            }
        }
    }
    problems
}

fn resolve(
    page: &Path,
    target: &str,
    pages: &BTreeMap<&Path, BTreeSet<String>>,
    exists: impl Fn(&Path) -> bool,
) -> Result<(), String> {
    let is_elsewhere = target.starts_with("//")
        || target.split_once(':').is_some_and(|(scheme, _)| {
            scheme.chars().all(|c| c.is_ascii_alphanumeric() || "+-.".contains(c))
        });
    if is_elsewhere {
        return Ok(());
    }
    let (path, anchor) = target.split_once('#').unwrap_or((target, ""));
    let path = if path.is_empty() {
        if anchor.is_empty() {
            return Err("is empty".to_owned());
        }
        page.to_owned()
    } else if path.starts_with('/') {
        return Err("is absolute, make it relative to the page".to_owned());
    } else {
        let path = path.replace("%20", " ");
        let Some(path) = join(page.parent().unwrap_or(Path::new("")), &path) else {
            return Err("leads out of the repository".to_owned());
        };
        path
    };
    if !exists(&path) {
        return Err(format!("is dead, {} does not exist", slashed(&path)));
    }
    match pages.get(path.as_path()) {
        Some(anchors) if !anchor.is_empty() && !anchors.contains(&anchor.to_lowercase()) => {
            Err(format!("is dead, {} has no heading with the anchor #{anchor}", slashed(&path)))
        }
        _ => Ok(()),
    }
}

/// Returns a path as links are written, on every platform.
fn slashed(path: &Path) -> String {
    path.display().to_string().replace('\\', "/")
}

/// Joins without touching the disk; `None` where the path climbs above the root.
fn join(base: &Path, relative: &str) -> Option<PathBuf> {
    let mut path = PathBuf::new();
    for part in base.components().chain(Path::new(relative).components()) {
        match part {
            Component::CurDir => {}
            Component::ParentDir => {
                if !path.pop() {
                    return None;
                }
            }
            other => path.push(other),
        }
    }
    Some(path)
}

/// Returns where the links of a line lead: `[text](target)`, `[name]: target`, `href="target"`.
fn targets(line: &str) -> Vec<String> {
    let mut targets = Vec::new();
    let mut rest = line;
    while let Some(at) = rest.find("](") {
        rest = &rest[at + 2..];
        targets.push(inline_target(rest));
    }
    let trimmed = line.trim_start();
    if let Some((name, target)) = trimmed.split_once("]: ")
        && name.starts_with('[')
        && !name.starts_with("[^")
        && !target.trim().is_empty()
    {
        targets.push(inline_target(target.trim()));
    }
    for attribute in ["href=\"", "src=\""] {
        for (at, _) in line.match_indices(attribute) {
            let value = &line[at + attribute.len()..];
            targets.push(value.split('"').next().unwrap_or_default().to_owned());
        }
    }
    targets
}

/// Reads a target up to its closing parenthesis, a title, or the end.
fn inline_target(text: &str) -> String {
    if let Some(bracketed) = text.strip_prefix('<') {
        return bracketed.split('>').next().unwrap_or_default().to_owned();
    }
    let mut depth = 0_u32;
    text.chars()
        .take_while(|c| {
            match c {
                '(' => depth += 1,
                ')' if depth == 0 => return false,
                ')' => depth -= 1,
                _ => {}
            }
            !c.is_whitespace()
        })
        .collect()
}

/// Returns the anchors of a page: those of its headings, the way GitHub and mdBook name them, and
/// those written in HTML.
fn anchors(text: &str) -> BTreeSet<String> {
    let mut anchors = BTreeSet::new();
    for line in markdown::lines(text) {
        let Line::Prose(line) = line else { continue };
        for attribute in ["id=\"", "name=\""] {
            for (at, _) in line.match_indices(attribute) {
                let value = line[at + attribute.len()..].split('"').next().unwrap_or_default();
                anchors.insert(value.to_lowercase());
            }
        }
        let heading = line.trim_start_matches('#');
        let level = line.len() - heading.len();
        if !(1..=6).contains(&level) || !heading.starts_with(' ') {
            continue;
        }
        let name = slug(heading.trim());
        let mut unique = name.clone();
        for count in 1.. {
            if anchors.insert(unique.clone()) {
                break;
            }
            unique = format!("{name}-{count}");
        }
    }
    anchors
}

fn slug(heading: &str) -> String {
    without_link_targets(heading)
        .to_lowercase()
        .chars()
        .filter(|c| c.is_alphanumeric() || matches!(c, '-' | '_' | ' '))
        .map(|c| if c == ' ' { '-' } else { c })
        .collect()
}

/// Leaves the text of the links in a heading.
fn without_link_targets(heading: &str) -> String {
    let mut out = String::new();
    let mut rest = heading;
    while let Some(at) = rest.find("](") {
        out.push_str(&rest[..at]);
        let target = &rest[at + 2..];
        rest = &target[inline_target(target).len()..];
    }
    out.push_str(rest);
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tidy::source;

    /// Checks a page at `docs/a.md` beside a page `docs/b.md` and a file `README.md`.
    fn problems(text: &str) -> Problems {
        let page = source("docs/a.md", text);
        let pages = BTreeMap::from([
            (Path::new("docs/a.md"), anchors(text)),
            (Path::new("docs/b.md"), anchors("# Two words, `code`\n## Same\n## Same\n")),
        ]);
        let known = ["docs/a.md", "docs/b.md", "README.md", "docs/with space.md"];
        check_page(&page, &pages, |path| known.iter().any(|name| Path::new(name) == path))
    }

    #[test]
    fn live_links_pass() {
        let text = "# Here\n[a](b.md) [b](./b.md#two-words-code) ![c](../README.md \"title\") [d](#here)\n\
                    [e](https://example.org/x) [f](mailto:a@example.org) [g](<with space.md>) [h](b.md#same-1)\n\
                    \n[ref]: ../README.md\n`[no](link.md)`\n```\n[no](link.md)\n```\n";
        assert_eq!(problems(text), Problems::new());
    }

    #[test]
    fn dead_links_are_named_with_their_line() {
        assert_eq!(
            problems("x\n[a](gone.md)"),
            ["docs/a.md:2: link `gone.md` is dead, docs/gone.md does not exist"]
        );
        assert!(problems("[a](b.md#nowhere)")[0].contains("no heading with the anchor #nowhere"));
        assert!(problems("[a](#nowhere)")[0].contains("no heading"));
        assert!(problems("[a](../../x.md)")[0].contains("leads out of the repository"));
        assert!(problems("[a](/README.md)")[0].contains("make it relative"));
        assert!(problems("[a]()")[0].contains("is empty"));
        assert_eq!(problems("[a]: gone.md\n<a href=\"gone.html\">").len(), 2);
    }

    #[test]
    fn parentheses_belong_to_the_target_when_balanced() {
        assert_eq!(targets("[a](x_(y).md) b"), ["x_(y).md"]);
    }
}

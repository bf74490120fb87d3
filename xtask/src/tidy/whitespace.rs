//! No whitespace at the end of a line, one newline at the end of a file.

use super::{Problems, Source};

pub(super) fn check(source: &Source) -> Problems {
    if source.is_fixture() || source.text.is_empty() {
        return Problems::new();
    }
    let path = source.path.display();
    let mut problems: Problems = source
        .text
        .lines()
        .enumerate()
        .filter(|(_, line)| line.ends_with([' ', '\t']))
        .map(|(index, _)| format!("{path}:{}: whitespace at the end of the line", index + 1))
        .collect();
    if !source.text.ends_with('\n') {
        problems.push(format!("{path}: no newline at the end of the file"));
    } else if source.text.ends_with("\n\n") {
        problems.push(format!("{path}: empty line at the end of the file"));
    }
    problems
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tidy::source;

    #[test]
    fn whitespace_at_ends_is_found() {
        assert_eq!(check(&source("a.md", "a\nb \n")), ["a.md:2: whitespace at the end of the line"]);
        assert_eq!(check(&source("a.md", "a")), ["a.md: no newline at the end of the file"]);
        assert_eq!(check(&source("a.md", "a\n\n")), ["a.md: empty line at the end of the file"]);
    }

    #[test]
    fn clean_files_and_fixtures_pass() {
        assert!(check(&source("a.md", "a\n\nb\n")).is_empty());
        assert!(check(&source("a.md", "a\r\nb\r\n")).is_empty());
        assert!(check(&source("crates/a/tests/fixtures/b.d", "a: b ")).is_empty());
    }
}

//! Nothing unfinished is committed.

use super::{Problems, Source, rust_text};

/// Macros that stand for code which is not there.
const MACROS: &[&str] = &["todo!", "unimplemented!", "dbg!"];
/// Words in comments that stand for work which is not done.
const MARKS: &[&str] = &["FIXME", "XXX"];

pub(super) fn check(source: &Source) -> Problems {
    if !source.is_rust() {
        return Problems::new();
    }
    let text = rust_text::split(&source.text);
    let mut problems = Problems::new();
    let mut found = |index: usize, what: String| {
        problems.push(format!("{}:{}: {what}", source.path.display(), index + 1));
    };
    for (index, (code, comment)) in text.code.lines().zip(text.comments.lines()).enumerate() {
        for name in MACROS.iter().filter(|name| has_word(code, name)) {
            found(index, format!("`{name}` left over, write the code"));
        }
        for mark in MARKS.iter().filter(|mark| has_word(comment, mark)) {
            found(index, format!("{mark} left over, do it or open an issue"));
        }
        if code.replace(' ', "").contains("#[ignore]") {
            found(index, "ignored test without a reason, write `#[ignore = \"…\"]`".to_owned());
        }
    }
    problems
}

/// Returns whether `word` is in `text`, and not as a part of a longer one.
fn has_word(text: &str, word: &str) -> bool {
    let joins = |c: Option<char>| c.is_some_and(|c| c.is_alphanumeric() || c == '_');
    text.match_indices(word).any(|(at, _)| {
        let before = text[..at].chars().next_back();
        let after = text[at + word.len()..].chars().next();
        !joins(before) && (word.ends_with('!') || !joins(after))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tidy::source;

    fn count(text: &str) -> usize {
        check(&source("src/a.rs", text)).len()
    }

    #[test]
    fn leftovers_are_found_with_their_line() {
        let found = check(&source("src/a.rs", "fn a() {\n    todo!()\n}\n"));
        assert_eq!(found, ["src/a.rs:2: `todo!` left over, write the code"]);
        assert_eq!(count("unimplemented!(\"x\"); dbg!(1);"), 2);
        assert_eq!(count("// FIXME: later\n/* XXX */"), 2);
        assert_eq!(count("#[test]\n#[ignore]\nfn a() {}"), 1);
    }

    #[test]
    fn words_that_only_look_like_them_pass() {
        assert_eq!(count("my_todo!(); // XXXX prefix, FIXMEUP"), 0);
        assert_eq!(count("let a = \"todo!() FIXME #[ignore]\";"), 0);
        assert_eq!(count("#[ignore = \"needs a tape drive\"]\nfn a() {}"), 0);
        assert!(check(&source("notes.txt", "FIXME")).is_empty());
    }
}

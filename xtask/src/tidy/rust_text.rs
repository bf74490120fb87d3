//! Tells code from comments and strings, so that a rule about one does not trip over the other.

/// A Rust file in two layers of the same length and with the same line breaks.
pub(super) struct RustText {
    /// Comments and the contents of literals are blank here.
    pub(super) code: String,
    /// Everything but comments is blank here.
    pub(super) comments: String,
}

#[derive(Clone, Copy)]
enum State {
    Code,
    LineComment,
    /// Block comments nest, this counts how deep.
    BlockComment(u32),
    Text,
    RawText {
        hashes: usize,
    },
}

pub(super) fn split(source: &str) -> RustText {
    let chars: Vec<char> = source.chars().collect();
    let mut out = RustText { code: String::new(), comments: String::new() };
    let mut state = State::Code;
    let mut at = 0;
    while at < chars.len() {
        let (next, len) = step(state, &chars, at);
        for c in &chars[at..at + len] {
            let blank = if *c == '\n' { '\n' } else { ' ' };
            let in_comment = is_comment(state) || is_comment(next);
            let in_code = !in_comment && matches!((state, next), (State::Code, _));
            out.code.push(if in_code { *c } else { blank });
            out.comments.push(if in_comment { *c } else { blank });
        }
        state = next;
        at += len;
    }
    out
}

fn is_comment(state: State) -> bool {
    matches!(state, State::LineComment | State::BlockComment(_))
}

/// Returns the state after the characters at `at`, and how many of them belong together.
fn step(state: State, chars: &[char], at: usize) -> (State, usize) {
    let starts = |text: &str| text.chars().enumerate().all(|(i, c)| chars.get(at + i) == Some(&c));
    match state {
        State::Code if starts("//") => (State::LineComment, 2),
        State::Code if starts("/*") => (State::BlockComment(1), 2),
        State::Code if starts("\"") => (State::Text, 1),
        State::Code if starts("'") => (State::Code, char_literal(chars, at).unwrap_or(1)),
        State::Code => raw_text(chars, at).unwrap_or((State::Code, 1)),
        State::LineComment if starts("\n") => (State::Code, 1),
        State::BlockComment(1) if starts("*/") => (State::Code, 2),
        State::BlockComment(depth) if starts("*/") => (State::BlockComment(depth - 1), 2),
        State::BlockComment(depth) if starts("/*") => (State::BlockComment(depth + 1), 2),
        State::Text if starts("\\") => (State::Text, 2.min(chars.len() - at)),
        State::Text if starts("\"") => (State::Code, 1),
        State::RawText { hashes } if starts("\"") && ends_raw(chars, at, hashes) => (State::Code, 1 + hashes),
        State::LineComment | State::BlockComment(_) | State::Text | State::RawText { .. } => (state, 1),
    }
}

fn ends_raw(chars: &[char], at: usize, hashes: usize) -> bool {
    chars[at + 1..].iter().take_while(|c| **c == '#').count() >= hashes
}

/// Returns the length of the character literal at `at`; a lifetime is none.
fn char_literal(chars: &[char], at: usize) -> Option<usize> {
    /// `'\u{10FFFF}'` is the longest of them.
    const LONGEST: usize = 12;
    let end = match chars.get(at + 1)? {
        '\\' => 3 + chars.get(at + 3..)?.iter().take(LONGEST).position(|c| *c == '\'')?,
        _ if chars.get(at + 2) == Some(&'\'') => 2,
        _ => return None,
    };
    Some(end + 1)
}

/// Recognises `r"`, `r#"`, `br##"` and the like.
fn raw_text(chars: &[char], at: usize) -> Option<(State, usize)> {
    let is_word = |c: &char| c.is_alphanumeric() || *c == '_';
    let after_word = at > 0 && is_word(&chars[at - 1]) && !matches!(chars[at - 1], 'b' | 'c');
    if chars[at] != 'r' || after_word {
        return None;
    }
    let hashes = chars[at + 1..].iter().take_while(|c| **c == '#').count();
    (chars.get(at + 1 + hashes) == Some(&'"')).then_some((State::RawText { hashes }, 2 + hashes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn code_comments_and_strings_are_told_apart() {
        let text = split("a(\"b // c\"); // d \"e\nf /* g /* h */ i */ j");
        assert_eq!(text.code.split_whitespace().collect::<Vec<_>>(), ["a(\"", ");", "f", "j"]);
        assert_eq!(
            text.comments.split_whitespace().collect::<Vec<_>>(),
            ["//", "d", "\"e", "/*", "g", "/*", "h", "*/", "i", "*/"]
        );
        assert_eq!(text.code.lines().count(), 2);
    }

    #[test]
    fn quotes_in_literals_do_not_derail() {
        for source in
            ["'\"' a", "'\\'' a", "b'\\\\' a", "r#\"x\"y\"# a", "\"\\\"\" a", "<'q> a", "br\"\\\" a"]
        {
            let text = split(source);
            assert!(text.code.ends_with(" a"), "{source}: {:?}", text.code);
            assert_eq!(text.comments.trim(), "", "{source}");
        }
    }

    #[test]
    fn the_end_of_the_file_may_come_anywhere() {
        for source in ["\"\\", "'", "'\\", "r#", "/*", "//", "r#\"", "b'"] {
            assert_eq!(split(source).code.chars().count(), source.chars().count(), "{source}");
        }
    }
}

//! The little of Markdown that the checks need: which line is prose and which is inside of a fence.

/// One line of a Markdown file. Line numbers are the index in the result of [`lines`], plus one.
#[derive(Debug, PartialEq, Eq, Clone, Copy)]
pub(crate) enum Line<'a> {
    Prose(&'a str),
    /// The opening fence, with the word after it (such as `rust` or `console`).
    Open(&'a str),
    /// A line of a fenced block, without the indentation of its fence.
    Code(&'a str),
    Close,
}

pub(crate) fn lines(text: &str) -> Vec<Line<'_>> {
    let mut fence: Option<Fence> = None;
    let mut lines = Vec::new();
    for line in text.lines() {
        let kind = match &fence {
            None => match Fence::open(line) {
                Some((opened, info)) => {
                    fence = Some(opened);
                    Line::Open(info)
                }
                None => Line::Prose(line),
            },
            Some(open) if open.closes(line) => {
                fence = None;
                Line::Close
            }
            Some(open) => Line::Code(open.dedent(line)),
        };
        lines.push(kind);
    }
    lines
}

struct Fence {
    indent: usize,
    mark: char,
    len: usize,
}

impl Fence {
    fn open(line: &str) -> Option<(Self, &str)> {
        let trimmed = line.trim_start();
        let mark = trimmed.chars().next().filter(|mark| matches!(mark, '`' | '~'))?;
        let len = trimmed.chars().take_while(|c| *c == mark).count();
        let info = trimmed[len..].trim();
        if len < 3 || info.contains('`') {
            return None;
        }
        Some((Self { indent: line.len() - trimmed.len(), mark, len }, info))
    }

    fn closes(&self, line: &str) -> bool {
        let line = line.trim();
        line.len() >= self.len && line.chars().all(|c| c == self.mark)
    }

    fn dedent<'a>(&self, line: &'a str) -> &'a str {
        let spaces = line.len() - line.trim_start_matches(' ').len();
        &line[spaces.min(self.indent)..]
    }
}

/// Returns a line of prose with the content of its `code spans` blanked out, so that what they quote
/// is not taken for a link. Byte positions stay the same.
pub(crate) fn without_code_spans(line: &str) -> String {
    let mut out = String::with_capacity(line.len());
    let mut rest = line;
    while let Some(start) = rest.find('`') {
        let ticks = rest[start..].len() - rest[start..].trim_start_matches('`').len();
        let body = &rest[start + ticks..];
        let Some(len) = find_ticks(body, ticks) else { break };
        out.push_str(&rest[..start]);
        out.extend(std::iter::repeat_n(' ', ticks + len + ticks));
        rest = &body[len + ticks..];
    }
    out.push_str(rest);
    out
}

/// Finds the next run of exactly `count` backticks.
fn find_ticks(text: &str, count: usize) -> Option<usize> {
    let mut at = 0;
    while let Some(found) = text[at..].find('`') {
        let start = at + found;
        let len = text[start..].len() - text[start..].trim_start_matches('`').len();
        if len == count {
            return Some(start);
        }
        at = start + len;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fences_are_told_from_prose() {
        let text = "a\n```rust,no_run\nlet x;\n```\n  ~~~~\n  ~~~\n    b\n  ~~~~\nc";
        assert_eq!(
            lines(text),
            [
                Line::Prose("a"),
                Line::Open("rust,no_run"),
                Line::Code("let x;"),
                Line::Close,
                Line::Open(""),
                Line::Code("~~~"),
                Line::Code("  b"),
                Line::Close,
                Line::Prose("c"),
            ]
        );
    }

    #[test]
    fn three_ticks_around_a_span_open_no_fence() {
        assert_eq!(lines("```a``` b"), [Line::Prose("```a``` b")]);
    }

    #[test]
    fn code_spans_are_blanked() {
        assert_eq!(without_code_spans("a `b` c"), "a     c");
        assert_eq!(without_code_spans("``a`b`` c"), "        c");
        assert_eq!(without_code_spans("an open ` tick"), "an open ` tick");
    }
}

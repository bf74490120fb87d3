//! Compares what a command wrote with what a page shows. `…` stands for what differs from run to
//! run: inside of a line for any characters, on a line of its own for any lines.

/// The wildcard.
const ELLIPSIS: char = '…';

/// Returns whether `actual` is what `expected` shows. Whitespace at the ends of lines, and empty
/// lines at the end, count for nothing: an editor would remove them from the page.
pub(super) fn matches(expected: &str, actual: &str) -> bool {
    let expected = significant_lines(expected);
    let actual = significant_lines(actual);
    wildcard(
        &expected,
        &actual,
        |line| line.trim().chars().eq([ELLIPSIS]),
        |expected, actual| line_matches(expected, actual),
    )
}

fn significant_lines(text: &str) -> Vec<&str> {
    text.trim_end().lines().map(str::trim_end).collect()
}

fn line_matches(expected: &str, actual: &str) -> bool {
    let expected: Vec<char> = expected.chars().collect();
    let actual: Vec<char> = actual.chars().collect();
    wildcard(&expected, &actual, |c| *c == ELLIPSIS, |expected, actual| expected == actual)
}

/// Matches in linear space and at most quadratic time: on a mismatch only the latest wildcard has
/// to give, as an earlier one could not do better.
fn wildcard<T>(
    pattern: &[T],
    text: &[T],
    is_wildcard: impl Fn(&T) -> bool,
    equal: impl Fn(&T, &T) -> bool,
) -> bool {
    let (mut p, mut t) = (0, 0);
    let mut retry: Option<(usize, usize)> = None;
    while t < text.len() {
        match pattern.get(p) {
            Some(item) if is_wildcard(item) => {
                p += 1;
                retry = Some((p, t));
            }
            Some(item) if equal(item, &text[t]) => {
                p += 1;
                t += 1;
            }
            _ => match retry {
                Some((after, from)) => {
                    p = after;
                    t = from + 1;
                    retry = Some((after, t));
                }
                None => return false,
            },
        }
    }
    pattern[p..].iter().all(is_wildcard)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_text_matches() {
        assert!(matches("a\nb\n", "a\nb"));
        assert!(matches("a\n\n", "a  \n"));
        assert!(matches("", "\n"));
        assert!(!matches("a\nb", "a"));
        assert!(!matches("a", "a\nb"));
        assert!(!matches("", "a"));
    }

    #[test]
    fn an_ellipsis_stands_for_any_part_of_a_line() {
        assert!(matches("ran … s", "ran 41.2 s"));
        assert!(matches("…", ""));
        assert!(matches("a…b…c", "a b b c"));
        assert!(!matches("ran … s", "ran 41.2 ms."));
        assert!(!matches("a … c", "a b\nc"));
    }

    #[test]
    fn an_ellipsis_alone_stands_for_any_lines() {
        assert!(matches("a\n…\nd", "a\nb\nc\nd"));
        assert!(matches("a\n…\nd", "a\nd"));
        assert!(matches("…\nx…\n…", "1\n2\nxyz\n3"));
        assert!(!matches("a\n…\nd", "a\nb\nc"));
    }

    #[test]
    fn many_wildcards_stay_quick() {
        assert!(!matches(&"a…".repeat(200), &"a".repeat(199)));
        assert!(!matches(&format!("{}b", "a…".repeat(200)), &"a".repeat(5_000)));
    }
}

//! No Rust file is longer than one can read.

use super::{Problems, Source};

/// Lines of a source file. Longer ones have two subjects.
const MAX_LINES: usize = 800;
/// Lines of a file of tests, where repetition is honest.
const MAX_TEST_LINES: usize = 1_200;

pub(super) fn check(source: &Source) -> Problems {
    if !source.is_rust() {
        return Problems::new();
    }
    let lines = source.text.lines().count();
    let limit = if is_test(source) { MAX_TEST_LINES } else { MAX_LINES };
    if lines <= limit {
        return Problems::new();
    }
    vec![format!("{}: {lines} lines, split it by subject (at most {limit})", source.path.display())]
}

fn is_test(source: &Source) -> bool {
    let path = &source.path;
    path.components().any(|part| part.as_os_str() == "tests")
        || path.file_stem().and_then(|stem| stem.to_str()).is_some_and(|stem| stem.ends_with("tests"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tidy::source;

    fn problems(path: &str, lines: usize) -> Problems {
        check(&source(path, &"x\n".repeat(lines)))
    }

    #[test]
    fn a_long_file_is_asked_to_be_split() {
        assert!(problems("src/a.rs", MAX_LINES).is_empty());
        let found = problems("src/a.rs", MAX_LINES + 1);
        assert!(found[0].starts_with("src/a.rs: 801 lines, split it"), "{found:?}");
    }

    #[test]
    fn tests_may_be_longer() {
        assert!(problems("crates/a/tests/b.rs", MAX_TEST_LINES).is_empty());
        assert!(problems("crates/a/src/b/tests.rs", MAX_TEST_LINES).is_empty());
        assert_eq!(problems("crates/a/tests/b.rs", MAX_TEST_LINES + 1).len(), 1);
        assert!(problems("docs/long.md", 10_000).is_empty());
    }
}

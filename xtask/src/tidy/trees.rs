//! Who takes one crate does not get the rest: proved with `cargo tree`.

use super::{Problems, layers};
use crate::step::Step;
use crate::stop::Result;

/// Runtimes and HTTP stacks. Only who asks for tiers, a server or a store on one gets any of them.
const HEAVY: &[&str] = &["tokio", "async-std", "smol", "http", "h2", "hyper", "reqwest", "axum", "tonic"];

/// What a user may ask for, and the back ends that come with it.
struct Choice {
    package: &'static str,
    features: &'static [&'static str],
    back_ends: &'static [&'static str],
    /// What of [`HEAVY`] is needed for that.
    heavy: &'static [&'static str],
}

const CHOICES: &[Choice] = &[
    Choice { package: "cache-core", features: &["--all-features"], back_ends: &[], heavy: &[] },
    Choice {
        package: "cache-memory",
        features: &["--all-features"],
        back_ends: &["cache-memory"],
        heavy: &[],
    },
    // Its own feature `tokio` is on by default.
    Choice {
        package: "cache-fs",
        features: &["--no-default-features"],
        back_ends: &["cache-fs"],
        heavy: &[],
    },
    Choice { package: "vitte-cache", features: &["--no-default-features"], back_ends: &[], heavy: &[] },
    Choice { package: "vitte-cache", features: &[], back_ends: &["cache-fs", "cache-memory"], heavy: &[] },
    Choice {
        package: "vitte-cache",
        features: &["--no-default-features", "--features=memory"],
        back_ends: &["cache-memory"],
        heavy: &[],
    },
    Choice {
        package: "vitte-cache",
        features: &["--no-default-features", "--features=macros"],
        back_ends: &["cache-memory"],
        heavy: &[],
    },
    Choice {
        package: "vitte-cache",
        features: &["--no-default-features", "--features=fs"],
        back_ends: &["cache-fs"],
        heavy: &[],
    },
    // The command without the verbs that listen.
    Choice {
        package: "cache-cli",
        features: &["--no-default-features"],
        back_ends: &["cache-fs"],
        heavy: &[],
    },
    Choice {
        package: "cache-cli",
        features: &[],
        back_ends: &["cache-fs", "cache-http-client", "cache-memory"],
        heavy: &["tokio", "http", "h2", "hyper", "reqwest", "axum"],
    },
    Choice { package: "cache-coordinator", features: &["--all-features"], back_ends: &[], heavy: &["tokio"] },
    Choice {
        package: "vitte-cache",
        features: &["--no-default-features", "--features=tiers"],
        back_ends: &["cache-memory"],
        heavy: &["tokio"],
    },
];

pub(super) fn check() -> Result<Problems> {
    let mut problems = Problems::new();
    for choice in CHOICES {
        problems.extend(choice.problems(&choice.tree()?));
    }
    Ok(problems)
}

impl Choice {
    fn tree(&self) -> Result<String> {
        Step::cargo(["tree", "--package", self.package, "--target", "all", "--edges", "normal,build"])
            .args(self.features)
            .args(["--prefix", "none", "--format", "{p}"])
            .text()
    }

    /// Returns what is wrong with a tree: what nobody asked for, and what was asked for and is not there.
    fn problems(&self, tree: &str) -> Problems {
        let whose = format!("{} {}", self.package, self.features.join(" "));
        let others = layers::back_ends().filter(|name| !self.back_ends.contains(name));
        let heavy = HEAVY.iter().copied().filter(|name| !self.heavy.contains(name));
        let mut problems = forbidden(&whose, tree, others.chain(heavy));
        // Otherwise a feature that does nothing would pass.
        let absent = self.back_ends.iter().chain(self.heavy).filter(|name| !has(tree, name));
        problems
            .extend(absent.map(|name| format!("{whose}: comes without {name}, which its users asked for")));
        problems
    }
}

/// Returns whether a crate is in the tree, whose lines start with a crate's name.
fn has(tree: &str, name: &str) -> bool {
    tree.lines().any(|line| line.split(' ').next() == Some(name))
}

/// Returns a problem for each forbidden crate in the tree.
fn forbidden<'a>(whose: &str, tree: &str, names: impl Iterator<Item = &'a str>) -> Problems {
    names
        .filter(|name| has(tree, name))
        .map(|name| {
            format!("{whose}: pulls in {name}, which its users did not ask for; see `cargo tree -i {name}`")
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_forbidden_crate_is_found_by_its_whole_name() {
        let tree = "cache-core v0.1.0\ntokio-util v0.7.0\ntokio v1.50.0 (*)";
        assert_eq!(forbidden("cache-core", tree, ["hyper", "tokio"].into_iter()).len(), 1);
        assert!(
            forbidden("cache-core", "cache-core v0.1.0\ntokio-util v0.7.0", HEAVY.iter().copied()).is_empty()
        );
    }

    #[test]
    fn one_back_end_is_what_was_asked_for() {
        let choice = Choice {
            package: "vitte-cache",
            features: &["--features=fs"],
            back_ends: &["cache-fs"],
            heavy: &[],
        };
        let problems = |tree: &str| choice.problems(tree).join("\n");
        assert_eq!(problems("vitte-cache v0.1.0\ncache-fs v0.1.0\ncache-core v0.1.0"), "");
        assert!(problems("vitte-cache v0.1.0").contains("comes without cache-fs"));
        assert!(problems("cache-fs v0.1.0\ncache-memory v0.1.0").contains("pulls in cache-memory"));
        assert!(problems("cache-fs v0.1.0\ntokio v1.50.0").contains("pulls in tokio"));
    }

    #[test]
    fn the_back_ends_are_those_of_the_second_layer() {
        let names: Vec<&str> = layers::back_ends().collect();
        assert!(names.contains(&"cache-fs") && names.contains(&"cache-s3"));
        assert!(!names.contains(&"cache-core"));
    }
}

//! Who takes one crate does not get the rest: proved with `cargo tree`.

use super::{Problems, layers};
use crate::step::Step;
use crate::stop::Result;

/// Runtimes and HTTP stacks. None of them belongs into `cache-core`.
const HEAVY: &[&str] = &["tokio", "async-std", "smol", "http", "h2", "hyper", "reqwest", "axum", "tonic"];

pub(super) fn check() -> Result<Problems> {
    let core = tree("cache-core", "--all-features")?;
    let facade = tree("vitte-cache", "--no-default-features")?;
    let mut problems = forbidden("cache-core", &core, HEAVY.iter().copied());
    problems.extend(forbidden("vitte-cache --no-default-features", &facade, layers::back_ends()));
    problems.extend(forbidden("vitte-cache --no-default-features", &facade, HEAVY.iter().copied()));
    Ok(problems)
}

fn tree(package: &str, features: &str) -> Result<String> {
    Step::cargo(["tree", "--package", package, features, "--target", "all", "--edges", "normal,build"])
        .args(["--prefix", "none", "--format", "{p}"])
        .text()
}

/// Returns a problem for each forbidden crate in the tree, whose lines start with a crate's name.
fn forbidden<'a>(whose: &str, tree: &str, names: impl Iterator<Item = &'a str>) -> Problems {
    names
        .filter(|name| tree.lines().any(|line| line.split(' ').next() == Some(name)))
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
    fn the_back_ends_are_those_of_the_second_layer() {
        let names: Vec<&str> = layers::back_ends().collect();
        assert!(names.contains(&"cache-fs") && names.contains(&"cache-s3"));
        assert!(!names.contains(&"cache-core"));
    }
}

//! `lint`: formatting, and clippy under every set of features that a user can choose alone.

use crate::step::{Step, run_all};
use crate::stop::Result;
use crate::workspace::{Package, Workspace};

/// The crates whose features are a promise to their users.
const CRATES_WITH_FEATURES: &[&str] = &["vitte-cache", "cache-fs"];

pub(crate) fn run(workspace: &Workspace) -> Result {
    let mut steps = vec![
        Step::cargo(["fmt", "--all", "--check"]),
        Step::cargo(["clippy", "--workspace", "--all-targets", "--all-features", "--", "-D", "warnings"]),
    ];
    for name in CRATES_WITH_FEATURES {
        steps.extend(feature_steps(workspace.package(name)?));
    }
    run_all(steps)
}

/// Returns one clippy call without any feature, and one per single feature.
///
/// Only the library is checked: dev-dependencies would switch features on and hide the mistake.
fn feature_steps(package: &Package) -> Vec<Step> {
    let clippy = |feature: Option<&str>| {
        let mut step = Step::cargo(["clippy", "--package", &package.name, "--lib", "--no-default-features"]);
        if let Some(feature) = feature {
            step = step.args(["--features", feature]);
        }
        step.args(["--", "-D", "warnings"])
    };
    std::iter::once(clippy(None)).chain(package.features().map(|feature| clippy(Some(feature)))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_feature_is_linted_alone() {
        let package: Package = serde_json::from_str(
            r#"{"name": "a", "version": "1.0.0", "description": null,
                "publish": null, "dependencies": [], "features": {"default": ["x"], "x": [], "y": []}}"#,
        )
        .unwrap();
        let shown: Vec<String> = feature_steps(&package).iter().map(ToString::to_string).collect();
        assert_eq!(
            shown,
            [
                "cargo clippy --package a --lib --no-default-features -- -D warnings",
                "cargo clippy --package a --lib --no-default-features --features x -- -D warnings",
                "cargo clippy --package a --lib --no-default-features --features y -- -D warnings",
            ]
        );
    }
}

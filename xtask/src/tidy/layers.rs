//! Dependencies between the crates only ever point down.

use super::Problems;
use crate::workspace::{Dependency, Package, Workspace};

/// Where a crate stands, and with that what it may depend on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Layer {
    /// May depend on crates of a strictly lower number.
    Number(u8),
    /// Helps tests: may depend on any layer, and is a dev-dependency only.
    TestOnly,
    /// Runs the chores. It depends on no other crate, so that it runs while they do not compile.
    Chores,
}

/// The layers of the architecture, top first. A new crate takes its place here before it compiles.
const LAYERS: &[(&str, Layer)] = &[
    ("cache-cli", Layer::Number(5)),
    ("vitte-cache", Layer::Number(5)),
    ("cache-server", Layer::Number(4)),
    ("cache-run", Layer::Number(4)),
    ("cache-coordinator", Layer::Number(3)),
    ("cache-memory", Layer::Number(2)),
    ("cache-fs", Layer::Number(2)),
    ("cache-http-client", Layer::Number(2)),
    ("cache-s3", Layer::Number(2)),
    ("cache-redis", Layer::Number(2)),
    ("cache-memcached", Layer::Number(2)),
    ("cache-ssh", Layer::Number(2)),
    ("cache-core", Layer::Number(1)),
    ("cache-macros", Layer::Number(1)),
    ("cache-testkit", Layer::TestOnly),
    ("xtask", Layer::Chores),
];

/// Returns the back ends: what a user who asked for none must not get.
pub(super) fn back_ends() -> impl Iterator<Item = &'static str> {
    LAYERS.iter().filter(|(_, layer)| *layer == Layer::Number(2)).map(|(name, _)| *name)
}

pub(super) fn check(workspace: &Workspace) -> Problems {
    workspace.packages.iter().flat_map(check_package).collect()
}

fn check_package(package: &Package) -> Problems {
    let name = &package.name;
    let Some(layer) = layer_of(name) else {
        return vec![format!("{name}: has no layer, give it one in xtask/src/tidy/layers.rs")];
    };
    let mut problems = Vec::new();
    if package.publishable() && package.description.as_ref().is_none_or(|text| text.trim().is_empty()) {
        problems.push(format!("{name}: add a `description` to its Cargo.toml, crates.io refuses it without"));
    }
    for dependency in package.dependencies.iter().filter(|dependency| dependency.path.is_some()) {
        if let Some(problem) = check_dependency(name, layer, dependency) {
            problems.push(problem);
        }
    }
    problems
}

fn check_dependency(name: &str, layer: Layer, dependency: &Dependency) -> Option<String> {
    let other = &dependency.name;
    let is_dev = dependency.kind.as_deref() == Some("dev");
    let Some(below) = layer_of(other) else {
        return Some(format!("{name}: depends on {other}, which has no layer in xtask/src/tidy/layers.rs"));
    };
    match (layer, below) {
        (_, Layer::Chores) => Some(format!("{name}: depends on {other}, which is for chores only")),
        (Layer::Chores, _) => {
            Some(format!("{name}: depends on {other}; chores must run while the crates do not compile"))
        }
        (Layer::TestOnly | Layer::Number(_), _) if is_dev => None,
        (Layer::TestOnly, _) => None,
        (_, Layer::TestOnly) => Some(format!("{name}: {other} may only be a dev-dependency")),
        (Layer::Number(from), Layer::Number(to)) if to < from => None,
        (Layer::Number(from), Layer::Number(to)) => Some(format!(
            "{name} (layer {from}): depends on {other} (layer {to}), but dependencies only point down; \
             move what they share to a lower layer"
        )),
    }
}

fn layer_of(name: &str) -> Option<Layer> {
    LAYERS.iter().find(|(known, _)| *known == name).map(|(_, layer)| *layer)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Checks one crate with one dependency of the workspace.
    fn problems(name: &str, other: &str, kind: Option<&str>) -> Problems {
        let package = serde_json::json!({
            "name": name, "version": "1.0.0", "description": "text",
            "publish": null, "features": {},
            "dependencies": [{ "name": other, "kind": kind, "path": "/y" }],
        });
        check_package(&serde_json::from_value(package).unwrap())
    }

    #[test]
    fn down_is_allowed() {
        assert_eq!(problems("cache-cli", "cache-core", None), Problems::new());
        assert_eq!(problems("cache-fs", "cache-core", Some("build")), Problems::new());
        assert_eq!(problems("cache-testkit", "cache-core", None), Problems::new());
    }

    #[test]
    fn up_and_sideways_are_not() {
        assert!(problems("cache-core", "cache-fs", None)[0].contains("only point down"));
        assert!(problems("cache-core", "cache-fs", Some("build"))[0].contains("only point down"));
        assert!(problems("cache-server", "cache-run", None)[0].contains("only point down"));
        assert!(problems("cache-cli", "vitte-cache", None)[0].contains("only point down"));
    }

    #[test]
    fn the_testkit_is_for_tests() {
        assert_eq!(problems("cache-fs", "cache-testkit", Some("dev")), Problems::new());
        assert!(problems("cache-fs", "cache-testkit", None)[0].contains("may only be a dev-dependency"));
    }

    #[test]
    fn chores_stand_alone() {
        assert!(problems("xtask", "cache-core", None)[0].contains("do not compile"));
        assert!(problems("cache-core", "xtask", Some("dev"))[0].contains("for chores only"));
    }

    #[test]
    fn a_crate_without_a_layer_is_refused() {
        assert!(problems("cache-new", "cache-core", None)[0].contains("has no layer"));
        assert!(problems("cache-fs", "cache-new", None)[0].contains("has no layer"));
    }

    #[test]
    fn a_published_crate_has_a_description() {
        let package = serde_json::json!({
            "name": "cache-core", "version": "1.0.0", "description": null,
            "publish": null, "features": {}, "dependencies": [],
        });
        let problems = check_package(&serde_json::from_value(package).unwrap());
        assert!(problems[0].contains("description"), "{problems:?}");
    }
}

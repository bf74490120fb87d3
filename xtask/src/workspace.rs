//! The workspace as cargo sees it.

use std::collections::BTreeMap;
use std::env;
use std::path::PathBuf;

use serde::Deserialize;

use crate::step::Step;
use crate::stop::{Result, Stop};

/// The part of `cargo metadata` that the verbs use.
#[derive(Deserialize)]
pub(crate) struct Workspace {
    #[serde(rename = "workspace_root")]
    pub(crate) root: PathBuf,
    #[serde(rename = "target_directory")]
    pub(crate) target: PathBuf,
    pub(crate) packages: Vec<Package>,
}

#[derive(Deserialize)]
pub(crate) struct Package {
    pub(crate) name: String,
    pub(crate) version: String,
    pub(crate) description: Option<String>,
    /// `None` means any registry, an empty list means never.
    publish: Option<Vec<String>>,
    pub(crate) dependencies: Vec<Dependency>,
    features: BTreeMap<String, Vec<String>>,
}

#[derive(Deserialize)]
pub(crate) struct Dependency {
    pub(crate) name: String,
    /// `None` for a normal dependency, else `dev` or `build`.
    pub(crate) kind: Option<String>,
    /// Set for a dependency inside of the repository.
    pub(crate) path: Option<PathBuf>,
}

impl Workspace {
    /// Reads the workspace around the current directory, and makes its root the current directory.
    pub(crate) fn open() -> Result<Self> {
        let json = Step::cargo(["metadata", "--no-deps", "--format-version", "1"]).stdout()?;
        let workspace: Self = serde_json::from_slice(&json)
            .map_err(|error| Stop::failed(format!("cannot understand `cargo metadata`: {error}")))?;
        env::set_current_dir(&workspace.root).map_err(Stop::io("enter", &workspace.root))?;
        Ok(workspace)
    }

    pub(crate) fn package(&self, name: &str) -> Result<&Package> {
        self.packages
            .iter()
            .find(|package| package.name == name)
            .ok_or_else(|| Stop::failed(format!("the workspace has no crate named {name}")))
    }

    /// Returns the path of a program that cargo built in `profile` (`debug` or `release`).
    pub(crate) fn binary(&self, profile: &str, name: &str) -> PathBuf {
        self.target.join(profile).join(format!("{name}{}", env::consts::EXE_SUFFIX))
    }
}

impl Package {
    pub(crate) fn publishable(&self) -> bool {
        self.publish.as_ref().is_none_or(|registries| !registries.is_empty())
    }

    /// Returns the features that a user can name, without `default`.
    pub(crate) fn features(&self) -> impl Iterator<Item = &str> {
        self.features.keys().map(String::as_str).filter(|name| *name != "default")
    }
}

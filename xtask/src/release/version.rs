//! The version of all crates, and where the workspace records it.

use std::fmt;
use std::str::FromStr;

/// A released version. Pre-releases are not made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Version {
    major: u64,
    minor: u64,
    patch: u64,
}

#[derive(Clone, Copy, clap::ValueEnum)]
pub(crate) enum Level {
    Major,
    Minor,
    Patch,
}

impl Version {
    pub(super) fn bump(self, level: Level) -> Self {
        let Self { major, minor, patch } = self;
        match level {
            Level::Major => Self { major: major + 1, minor: 0, patch: 0 },
            Level::Minor => Self { major, minor: minor + 1, patch: 0 },
            Level::Patch => Self { major, minor, patch: patch + 1 },
        }
    }
}

impl FromStr for Version {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let parts: Option<Vec<u64>> = text.split('.').map(|part| part.parse().ok()).collect();
        match parts.as_deref() {
            Some(&[major, minor, patch]) => Ok(Self { major, minor, patch }),
            _ => Err(format!("`{text}` is not a version of the form 1.2.3")),
        }
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.major, self.minor, self.patch)
    }
}

/// Replaces the version in `[workspace.package]`, and in the entries of `[workspace.dependencies]`
/// that are crates of the workspace. Comments and order stay as they are.
pub(super) fn replace(manifest: &str, from: Version, to: Version) -> Result<String, String> {
    let (old, new) = (format!("version = \"{from}\""), format!("version = \"{to}\""));
    let mut section = "";
    let mut is_set = false;
    let mut out = String::with_capacity(manifest.len());
    for line in manifest.lines() {
        if line.starts_with('[') {
            section = line.trim();
        }
        let is_package = section == "[workspace.package]" && line.starts_with(&old);
        let is_ours = section == "[workspace.dependencies]" && line.contains("path = ");
        is_set |= is_package;
        if is_package || is_ours {
            out.push_str(&line.replace(&old, &new));
        } else {
            out.push_str(line);
        }
        out.push('\n');
    }
    if is_set { Ok(out) } else { Err(format!("[workspace.package] has no line `{old}`")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn version(text: &str) -> Version {
        text.parse().unwrap()
    }

    #[test]
    fn versions_go_up() {
        assert_eq!(version("0.1.9").bump(Level::Patch).to_string(), "0.1.10");
        assert_eq!(version("0.1.9").bump(Level::Minor).to_string(), "0.2.0");
        assert_eq!(version("0.1.9").bump(Level::Major).to_string(), "1.0.0");
        assert!(version("0.10.0") > version("0.9.9"));
        assert!("1.2".parse::<Version>().is_err() && "1.2.3-rc".parse::<Version>().is_err());
    }

    #[test]
    fn only_our_own_versions_are_replaced() {
        let manifest = "[workspace.package]\nversion = \"0.1.0\" # one for all\n\n[workspace.dependencies]\n\
                        a = { path = \"crates/a\", version = \"0.1.0\" }\nb = { version = \"0.1.0\" }\n";
        let replaced = replace(manifest, version("0.1.0"), version("0.2.0")).unwrap();
        assert_eq!(
            replaced,
            "[workspace.package]\nversion = \"0.2.0\" # one for all\n\n[workspace.dependencies]\n\
             a = { path = \"crates/a\", version = \"0.2.0\" }\nb = { version = \"0.1.0\" }\n"
        );
        assert!(replace("[package]\nversion = \"0.1.0\"\n", version("0.1.0"), version("0.2.0")).is_err());
    }
}

//! Shims of version managers, and links that put a compiler cache in place of a compiler.
//!
//! A shim is one small program under the names of many tools. What it starts is decided by files in the directories
//! upwards, by the environment and by what is installed, so those are the identity: each version file upwards and in the
//! home directory by its content, the variables by their value, the installed versions by their names. A version that is
//! rebuilt under the same name is not noticed; for that there is `--tool 'python --version'`.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use super::Parts;
use crate::inputs::InputError;

/// Directories in which version managers keep their shims.
const SHIM_DIRS: [&str; 2] = ["shims", ".volta"];
/// Programs that shims are links to.
const SHIM_PROGRAMS: [&str; 4] = ["mise", "volta-shim", "asdf", "proto-shim"];
/// Files that choose a version, in any directory upwards or in the home directory.
const VERSION_FILES: [&str; 16] = [
    ".tool-versions",
    "mise.toml",
    ".mise.toml",
    ".mise.local.toml",
    "mise.local.toml",
    ".config/mise/config.toml",
    ".prototools",
    ".python-version",
    ".ruby-version",
    ".node-version",
    ".nvmrc",
    ".java-version",
    ".go-version",
    "version",
    "tools/user/platform.json",
    "package.json",
];
/// Variables that choose a version, by their beginnings and ends.
const VERSION_VARIABLES: [(&str, &str); 6] = [
    ("PYENV_", "VERSION"),
    ("RBENV_", "VERSION"),
    ("NODENV_", "VERSION"),
    ("ASDF_", "_VERSION"),
    ("MISE_", "_VERSION"),
    ("VOLTA_", "_VERSION"),
];
/// Programs that, called by the name of a compiler, start the next compiler of that name on `PATH`.
const COMPILER_CACHES: [&str; 6] = ["ccache", "sccache", "distcc", "icecc", "colorgcc", "buildcache"];
/// Where version managers keep what they have installed, beside their shims.
const INSTALLED: [&str; 2] = ["versions", "installs"];

/// Returns whether `program`, which is `real` with links resolved, is a version manager's shim.
pub(super) fn is_shim(program: &Path, real: &Path) -> bool {
    let is_in = |path: &Path| {
        path.parent().is_some_and(|dir| dir.iter().any(|part| SHIM_DIRS.iter().any(|d| part == *d)))
    };
    is_in(program) || is_in(real) || is_named(real, &SHIM_PROGRAMS)
}

fn is_named(path: &Path, names: &[&str]) -> bool {
    path.file_stem().is_some_and(|stem| names.iter().any(|name| stem == *name))
}

impl Parts<'_> {
    /// Returns the compiler that `program` will start, if it is a link to a compiler cache.
    pub(super) fn wrapped(&self, program: &Path, real: &Path) -> Option<PathBuf> {
        if !is_named(real, &COMPILER_CACHES) || is_named(program, &COMPILER_CACHES) {
            return None;
        }
        let is_other = |file: &PathBuf| {
            crate::base::canonical(file).is_ok_and(|file| file != real && !is_named(&file, &COMPILER_CACHES))
        };
        self.on_path(program.file_name()?).find(is_other)
    }

    /// Adds what decides which tool the shim `program` starts.
    pub(super) fn shim(&mut self, program: &Path) -> Result<(), InputError> {
        let manager = program.parent().and_then(Path::parent).map(Path::to_path_buf);
        let cwd = self.invocation.cwd.to_path_buf();
        let uses_package_json = program.iter().any(|part| part == ".volta");
        let above = cwd.ancestors().map(Path::to_path_buf).chain(self.home()).chain(manager.clone());
        for dir in above {
            for name in VERSION_FILES {
                // The global choices of pyenv and its relatives, and of volta; elsewhere they may be anything.
                let counts = match name {
                    "version" | "tools/user/platform.json" => Some(&dir) == manager.as_ref(),
                    "package.json" => uses_package_json,
                    _ => true,
                };
                if counts {
                    self.content_if_any(&dir.join(name))?;
                }
            }
        }
        let chooses = |name: &OsString| {
            let name = name.to_string_lossy();
            VERSION_VARIABLES.iter().any(|(start, end)| name.starts_with(start) && name.ends_with(end))
        };
        for (name, value) in self.invocation.env.child.iter().filter(|(name, _)| chooses(name)) {
            self.add(|key| key.bytes(name.as_encoded_bytes()).bytes(value.as_encoded_bytes()));
        }
        for dir in INSTALLED.iter().filter_map(|dir| Some(manager.as_ref()?.join(dir))) {
            self.installed(&dir);
        }
        self.describe.push(format!("versions that {} may choose", program.display()));
        Ok(())
    }

    /// Adds the names of what is installed in `dir`, and one level below for managers of several tools.
    fn installed(&mut self, dir: &Path) {
        let list = |dir: &Path| {
            let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
            let mut names: Vec<_> = entries.map(|entry| entry.file_name()).collect();
            names.sort();
            names
        };
        let is_nested = dir.ends_with("installs");
        for name in list(dir) {
            let below = if is_nested { list(&dir.join(&name)) } else { Vec::new() };
            self.add(|key| {
                let key = key.bytes(name.as_encoded_bytes());
                key.list(&below, |key, name| key.bytes(name.as_encoded_bytes()))
            });
        }
    }
}

//! Proxies of rustup: one program under the names `cargo`, `rustc`, `rustdoc`, …, which starts that of a toolchain.
//!
//! The toolchain is chosen as in the chapter "Overrides" of the rustup book: `+name`, `RUSTUP_TOOLCHAIN`, then the
//! nearest directory upwards that has an override or a `rust-toolchain(.toml)`, then the default. It is identified by
//! its channel manifest, which names each component with date and hash, and by the list of its components. A toolchain
//! that was built by hand has no manifest and is identified by the content of its compiler. If the choice cannot be
//! followed, all installed toolchains are part of the identity.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};

use super::Parts;
use crate::inputs::InputError;

/// What a toolchain file may be called.
const FILES: [&str; 2] = ["rust-toolchain", "rust-toolchain.toml"];
/// The largest settings or toolchain file that is looked into, in bytes; they have a few lines.
const MAX_SETTINGS: u64 = 1 << 20;

/// Which toolchain is chosen.
enum Choice {
    Name(String),
    Path(PathBuf),
    Unknown,
}

/// Returns whether `program`, which is `real` with links resolved, is a proxy of rustup.
pub(super) fn is_proxy(program: &Path, real: &Path) -> bool {
    let is_rustup =
        |path: &Path| path.file_stem().is_some_and(|name| name == "rustup" || name == "rustup-init");
    if is_rustup(program) {
        return false;
    }
    // Proxies are symbolic links or hard links to `rustup` beside them.
    is_rustup(real) || real.parent().is_some_and(|dir| is_same_file(&dir.join("rustup"), real))
}

#[cfg(unix)]
fn is_same_file(a: &Path, b: &Path) -> bool {
    use std::os::unix::fs::MetadataExt;
    let id = |path: &Path| fs::metadata(path).ok().map(|metadata| (metadata.dev(), metadata.ino()));
    id(a).is_some_and(|a| Some(a) == id(b))
}

#[cfg(not(unix))]
fn is_same_file(a: &Path, b: &Path) -> bool {
    let len = |path: &Path| fs::metadata(path.with_extension("exe")).ok().map(|metadata| metadata.len());
    len(a).is_some_and(|a| Some(a) == len(b))
}

impl Parts<'_> {
    /// Adds the toolchain that the proxy `program` will start.
    pub(super) fn rustup(&mut self, program: &Path, args: &[OsString]) -> Result<(), InputError> {
        let home = self.env("RUSTUP_HOME").map(PathBuf::from);
        let Some(home) = home.or_else(|| self.home().map(|home| home.join(".rustup"))) else {
            return self.content(program);
        };
        let installed = installed(&home.join("toolchains"));
        let chosen: Vec<PathBuf> = match self.choose(&home, args)? {
            Choice::Path(path) => vec![path],
            Choice::Name(name) => {
                let is_it = |dir: &&PathBuf| {
                    let of = dir.file_name().and_then(|of| of.to_str()).unwrap_or_default();
                    of.strip_prefix(name.as_str())
                        .is_some_and(|rest| rest.is_empty() || rest.starts_with('-'))
                };
                installed.iter().filter(is_it).cloned().collect()
            }
            Choice::Unknown => Vec::new(),
        };
        for toolchain in if chosen.is_empty() { installed } else { chosen } {
            self.toolchain(&toolchain)?;
        }
        Ok(())
    }

    /// Adds one toolchain.
    fn toolchain(&mut self, dir: &Path) -> Result<(), InputError> {
        let lib = dir.join("lib/rustlib");
        if self.content_if_any(&lib.join("multirust-channel-manifest.toml"))? {
            self.content_if_any(&lib.join("components"))?;
            return Ok(());
        }
        for program in ["bin/rustc", "bin/cargo", "bin/rustdoc"] {
            self.content_if_any(&dir.join(program))?;
        }
        // `rustc` itself is a few kilobytes that call this library.
        for library in sorted_entries(&dir.join("lib")) {
            let name =
                library.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
            if name.contains("rustc_driver") {
                self.content(&library)?;
            }
        }
        Ok(())
    }

    /// Returns which toolchain will be chosen, and adds the file that decides it.
    fn choose(&mut self, home: &Path, args: &[OsString]) -> Result<Choice, InputError> {
        if let Some(name) = args.first().and_then(|arg| arg.to_str()).and_then(|arg| arg.strip_prefix('+')) {
            return Ok(self.named(name));
        }
        if let Some(name) =
            self.env("RUSTUP_TOOLCHAIN").and_then(|name| name.to_str()).filter(|n| !n.is_empty())
        {
            return Ok(self.named(name));
        }
        let settings = parse(&home.join("settings.toml")).unwrap_or_default();
        let overrides = settings.get("overrides").and_then(toml::Value::as_table);
        let cwd = self.invocation.cwd.to_path_buf();
        for dir in cwd.ancestors() {
            let of = overrides.and_then(|overrides| overrides.get(&*dir.to_string_lossy()));
            if let Some(name) = of.and_then(toml::Value::as_str) {
                return Ok(self.named(name));
            }
            for file in FILES.map(|file| dir.join(file)) {
                if self.content_if_any(&file)? {
                    return Ok(self.in_file(&file));
                }
            }
        }
        let default = settings.get("default_toolchain").and_then(toml::Value::as_str);
        Ok(default.map_or(Choice::Unknown, |name| self.named(name)))
    }

    fn named(&mut self, name: &str) -> Choice {
        self.describe.push(format!("Rust toolchain {name}"));
        if Path::new(name).is_absolute() { Choice::Path(name.into()) } else { Choice::Name(name.to_owned()) }
    }

    /// Returns what a toolchain file chooses.
    fn in_file(&mut self, file: &Path) -> Choice {
        if let Some(table) = parse(file)
            && let Some(table) = table.get("toolchain").and_then(toml::Value::as_table)
        {
            let text = |name: &str| table.get(name).and_then(toml::Value::as_str);
            return match (text("channel"), text("path")) {
                (Some(channel), _) => self.named(channel),
                (None, Some(path)) => Choice::Path(file.parent().unwrap_or(file).join(path)),
                // It may name components only, and then the default counts.
                (None, None) => Choice::Unknown,
            };
        }
        let plain = read(file).unwrap_or_default();
        match plain.trim() {
            name if !name.is_empty() && !name.contains(char::is_whitespace) => self.named(name),
            _ => Choice::Unknown,
        }
    }
}

/// Returns the directories of the toolchains, sorted.
fn installed(dir: &Path) -> Vec<PathBuf> {
    sorted_entries(dir).into_iter().filter(|path| path.is_dir()).collect()
}

fn sorted_entries(dir: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    let mut paths: Vec<_> = entries.map(|entry| entry.path()).collect();
    paths.sort();
    paths
}

fn read(file: &Path) -> Option<String> {
    let small = fs::metadata(file).is_ok_and(|metadata| metadata.len() <= MAX_SETTINGS);
    if small { fs::read_to_string(file).ok() } else { None }
}

fn parse(file: &Path) -> Option<toml::Table> {
    read(file)?.parse().ok()
}

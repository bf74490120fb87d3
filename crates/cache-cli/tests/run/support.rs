//! A scratch place with a tree, a cache, and the command.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use serde_json::Value;
use tempfile::TempDir;

/// A tree to work in and a cache of its own. Nothing of the machine's configuration is seen.
pub(crate) struct Lab {
    dir: TempDir,
    pub(crate) work: PathBuf,
    pub(crate) cache: PathBuf,
    settings: &'static [(&'static str, &'static str)],
}

/// A finished `vitte-cache`.
pub(crate) struct Ran {
    pub(crate) code: i32,
    pub(crate) stdout: Vec<u8>,
    pub(crate) stderr: String,
    /// The status object, if there was one.
    pub(crate) status: Value,
}

impl Ran {
    pub(crate) fn outcome(&self) -> &str {
        self.status["outcome"].as_str().unwrap_or("none")
    }

    pub(crate) fn reasons(&self) -> String {
        let reasons = self.status["reasons"].as_array().cloned().unwrap_or_default();
        reasons.iter().filter_map(Value::as_str).collect::<Vec<_>>().join(", ")
    }

    pub(crate) fn refusal(&self) -> &str {
        self.status["refusal"].as_str().unwrap_or_default()
    }

    #[track_caller]
    pub(crate) fn expect(self, outcome: &str) -> Self {
        assert_eq!(self.outcome(), outcome, "exit {}, stderr: {}", self.code, self.stderr);
        self
    }
}

impl From<Output> for Ran {
    fn from(output: Output) -> Self {
        let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
        let status = stderr.lines().rev().find_map(|line| {
            serde_json::from_str::<Value>(line).ok().filter(|value| value["outcome"].is_string())
        });
        let code = output.status.code().unwrap_or(-1);
        Self { code, stdout: output.stdout, stderr, status: status.unwrap_or_default() }
    }
}

impl Lab {
    pub(crate) fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().canonicalize().unwrap();
        let (work, cache) = (root.join("work"), root.join("cache"));
        fs::create_dir(&work).unwrap();
        Self { dir, work, cache, settings: &[] }
    }

    /// The same with one file per entry and per blob, for tests that look at them.
    pub(crate) fn of_files() -> Self {
        Self { settings: &[("VITTE_CACHE_LAYOUT", "files")], ..Self::new() }
    }

    /// The same with segments whatever the file system, and so few bytes that a test can put all of them back.
    pub(crate) fn of_segments() -> Self {
        let settings = &[("VITTE_CACHE_LAYOUT", "segments"), ("VITTE_CACHE_MAX_SIZE", "16MB")];
        Self { settings, ..Self::new() }
    }

    /// One of each layout.
    pub(crate) fn of_each_layout() -> [Self; 2] {
        [Self::of_files(), Self::of_segments()]
    }

    /// Another tree with the same cache.
    pub(crate) fn other_tree(&self, name: &str) -> PathBuf {
        let tree = self.dir.path().canonicalize().unwrap().join(name);
        fs::create_dir_all(&tree).unwrap();
        tree
    }

    pub(crate) fn path(&self, path: &str) -> PathBuf {
        self.work.join(path)
    }

    pub(crate) fn write(&self, path: &str, content: impl AsRef<[u8]>) {
        write(&self.path(path), content);
    }

    pub(crate) fn read(&self, path: &str) -> String {
        String::from_utf8(fs::read(self.path(path)).unwrap()).unwrap()
    }

    /// The command in the tree, with an environment of its own.
    pub(crate) fn command(&self) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_vitte-cache"));
        command
            .current_dir(&self.work)
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("HOME", self.dir.path())
            .env("VITTE_CACHE_DIR", &self.cache)
            .envs(self.settings.iter().copied())
            .stdin(Stdio::null());
        command
    }

    /// Runs a line of shell in the tree, with the same environment.
    pub(crate) fn command_line(&self, line: &str) -> Output {
        let template = self.command();
        let mut shell = Command::new("/bin/sh");
        shell.args(["-c", line]).current_dir(&self.work).env_clear().stdin(Stdio::null());
        shell.envs(template.get_envs().filter_map(|(name, value)| Some((name, value?))));
        shell.output().unwrap()
    }

    /// `vitte-cache run --status json` with these arguments, ready to be changed or started.
    pub(crate) fn run_command<A: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = A>) -> Command {
        let mut command = self.command();
        command.args(["run", "--status", "json"]).args(args);
        command
    }

    pub(crate) fn run<A: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = A>) -> Ran {
        self.run_command(args).output().unwrap().into()
    }

    /// Runs `script` with `sh -c` through the cache, after the flags.
    pub(crate) fn sh(&self, flags: &[&str], script: &str) -> Ran {
        self.run(flags.iter().copied().chain(["--", "sh", "-c", script]))
    }

    /// All files of the cache, with their content.
    pub(crate) fn stored_files(&self, below: &str) -> Vec<PathBuf> {
        let mut files = Vec::new();
        collect(&self.cache, &mut files);
        files.retain(|path| path.to_string_lossy().contains(below));
        files.sort();
        files
    }
}

fn collect(dir: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        let path = entry.path();
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            collect(&path, files);
        } else {
            files.push(path);
        }
    }
}

pub(crate) fn write(path: &Path, content: impl AsRef<[u8]>) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, content).unwrap();
}

pub(crate) fn mode(path: &Path) -> u32 {
    fs::symlink_metadata(path).unwrap().permissions().mode() & 0o777
}

pub(crate) fn is_root() -> bool {
    Command::new("id").arg("-u").output().is_ok_and(|output| output.stdout == b"0\n")
}

/// Kills all processes of the group `leader`, if there are any left.
pub(crate) fn kill_group(leader: u32) {
    let group = format!("-{leader}");
    let _ = Command::new("kill").args(["-KILL", "--", &group]).stderr(Stdio::null()).status();
}

/// Whether the long variant of a test was asked for.
pub(crate) fn slow() -> bool {
    std::env::var_os("VITTE_CACHE_TEST_SLOW").is_some()
}

//! A scratch place with a cache, and the command in it.

use std::ffi::OsStr;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;
use tempfile::TempDir;

/// A directory to work in, a home and a cache. Nothing of the machine's configuration is seen.
pub(crate) struct Place {
    _dir: TempDir,
    pub(crate) root: PathBuf,
    pub(crate) work: PathBuf,
    pub(crate) cache: PathBuf,
    layout: Option<&'static str>,
}

/// A finished command.
#[derive(Debug)]
pub(crate) struct Done {
    pub(crate) code: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Done {
    #[track_caller]
    pub(crate) fn ok(self) -> Self {
        self.code(0)
    }

    #[track_caller]
    pub(crate) fn code(self, code: i32) -> Self {
        assert_eq!(self.code, code, "{self:?}");
        self
    }

    /// Returns standard output as the JSON values of its lines.
    #[track_caller]
    pub(crate) fn json_lines(&self) -> Vec<Value> {
        self.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    /// Returns standard output as one JSON value.
    #[track_caller]
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.stdout).unwrap()
    }
}

impl Place {
    pub(crate) fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().canonicalize().unwrap();
        let (work, cache) = (root.join("work"), root.join("cache"));
        fs::create_dir(&work).unwrap();
        Self { _dir: dir, root, work, cache, layout: None }
    }

    /// The same with one file per entry and per blob, for tests that look at them.
    pub(crate) fn of_files() -> Self {
        Self::of("files")
    }

    /// The same in this layout, whatever the file system.
    pub(crate) fn of(layout: &'static str) -> Self {
        Self { layout: Some(layout), ..Self::new() }
    }

    pub(crate) fn command<A: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = A>) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_vitte-cache"));
        command.args(args).current_dir(&self.work).env_clear().stdin(Stdio::null());
        for kept in ["PATH", "SYSTEMROOT"] {
            command.envs(std::env::var_os(kept).map(|value| (kept, value)));
        }
        let home = &self.root;
        command.env("HOME", home).env("USERPROFILE", home).env("APPDATA", home).env("LOCALAPPDATA", home);
        command
            .env("VITTE_CACHE_DIR", &self.cache)
            .envs(self.layout.map(|layout| ("VITTE_CACHE_LAYOUT", layout)));
        command
    }

    /// Runs the command line `line`, split at blanks.
    pub(crate) fn run(&self, line: &str) -> Done {
        finish(&mut self.command(line.split_whitespace()))
    }

    /// Runs it with `input` as its standard input.
    pub(crate) fn run_with(&self, line: &str, input: &[u8]) -> Done {
        let mut command = self.command(line.split_whitespace());
        let mut child =
            command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        child.stdin.take().unwrap().write_all(input).unwrap();
        done(&child.wait_with_output().unwrap())
    }

    pub(crate) fn write(&self, path: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.root.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, content).unwrap();
        path
    }

    pub(crate) fn read(&self, path: impl AsRef<Path>) -> Vec<u8> {
        fs::read(self.work.join(path)).unwrap()
    }
}

pub(crate) fn finish(command: &mut Command) -> Done {
    done(&command.output().unwrap())
}

fn done(output: &std::process::Output) -> Done {
    Done {
        code: output.status.code().unwrap_or(-1),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

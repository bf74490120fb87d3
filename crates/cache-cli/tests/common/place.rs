//! A scratch place with a cache, and the command in it.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

use tempfile::TempDir;

/// A home with a directory to work in and a cache. Nothing of the machine's configuration is seen.
pub(crate) struct Place {
    _dir: TempDir,
    pub(crate) root: PathBuf,
    pub(crate) work: PathBuf,
    pub(crate) cache: PathBuf,
    env: Vec<(&'static str, OsString)>,
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
    pub(crate) fn code(self, code: i32) -> Self {
        assert_eq!(self.code, code, "{self:?}");
        self
    }
}

impl From<Output> for Done {
    fn from(output: Output) -> Self {
        Self {
            code: output.status.code().unwrap_or(-1),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }
}

impl Place {
    /// A place with nothing in it.
    pub(crate) fn empty() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().canonicalize().unwrap();
        let (work, cache) = (root.join("work"), root.join("cache"));
        fs::create_dir(&work).unwrap();
        Self { _dir: dir, root, work, cache, env: Vec::new() }
    }

    /// The same place with one more variable for all that is run in it.
    pub(crate) fn set(mut self, name: &'static str, value: impl Into<OsString>) -> Self {
        self.env.push((name, value.into()));
        self
    }

    pub(crate) fn command<A: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = A>) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_vitte-cache"));
        command.args(args).current_dir(&self.work).env_clear().stdin(Stdio::null());
        for kept in ["PATH", "SYSTEMROOT"] {
            command.envs(std::env::var_os(kept).map(|value| (kept, value)));
        }
        for home in ["HOME", "USERPROFILE", "APPDATA", "LOCALAPPDATA"] {
            command.env(home, &self.root);
        }
        command.env("VITTE_CACHE_DIR", &self.cache).envs(self.env.iter().map(|(name, value)| (name, value)));
        command
    }

    /// Runs the command line `line`, split at blanks.
    pub(crate) fn run(&self, line: &str) -> Done {
        finish(&mut self.command(line.split_whitespace()))
    }

    /// Puts a file in the place of what is at `path`, as editors do it.
    pub(crate) fn write(&self, path: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.root.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        let new = path.with_extension("new");
        fs::write(&new, content).unwrap();
        fs::rename(new, &path).unwrap();
        path
    }
}

pub(crate) fn finish(command: &mut Command) -> Done {
    command.output().unwrap().into()
}

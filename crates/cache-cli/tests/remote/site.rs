//! Machines: each with a tree and a local cache of its own.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;
use tempfile::TempDir;

/// A machine. Nothing of the real one's configuration is seen.
pub(crate) struct Machine {
    dir: TempDir,
    pub(crate) work: PathBuf,
    env: Vec<(&'static str, String)>,
}

/// A finished `vitte-cache`.
#[derive(Debug)]
pub(crate) struct Done {
    pub(crate) code: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
    /// The status object, if there is one.
    pub(crate) status: Value,
}

impl Done {
    /// Checks how it went and where the result came from.
    #[track_caller]
    pub(crate) fn expect(self, outcome: &str, origin: Option<&str>) -> Self {
        assert_eq!(self.code, 0, "{}", self.stderr);
        assert_eq!(self.status["outcome"], outcome, "{}", self.stderr);
        assert_eq!(self.status["origin"].as_str(), origin, "{}", self.stderr);
        self
    }

    pub(crate) fn warnings(&self) -> Vec<&str> {
        self.status["warnings"].as_array().into_iter().flatten().filter_map(Value::as_str).collect()
    }

    pub(crate) fn number(&self, name: &str) -> u64 {
        self.status["remote"][name].as_u64().unwrap_or_default()
    }
}

impl Machine {
    /// Returns a machine whose tree is at another path than that of any other one.
    pub(crate) fn new(url: &str, mode: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let work = dir.path().canonicalize().unwrap().join("somewhere").join("tree");
        fs::create_dir_all(work.join(".git")).unwrap();
        let env = vec![
            ("VITTE_REMOTE_CACHE_URL", url.to_owned()),
            ("VITTE_REMOTE_CACHE_MODE", mode.to_owned()),
            // Long enough for a machine under load; tests of the default say so.
            ("VITTE_REMOTE_CACHE_TIMEOUT", "20s".to_owned()),
            ("VITTE_REMOTE_CACHE_UPLOAD_WAIT", "20s".to_owned()),
        ];
        Self { dir, work, env }
    }

    /// The same machine with another setting.
    pub(crate) fn set(mut self, name: &'static str, value: &str) -> Self {
        self.env.retain(|(known, _)| *known != name);
        self.env.push((name, value.to_owned()));
        self
    }

    pub(crate) fn write(&self, path: &str, content: impl AsRef<[u8]>) {
        let path = self.work.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }

    pub(crate) fn read(&self, path: &str) -> Vec<u8> {
        fs::read(self.work.join(path)).unwrap()
    }

    pub(crate) fn has(&self, path: &str) -> bool {
        self.work.join(path).exists()
    }

    pub(crate) fn home(&self) -> &Path {
        self.dir.path()
    }

    pub(crate) fn command<A: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = A>) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_vitte-cache"));
        command.current_dir(&self.work).env_clear().stdin(Stdio::null()).args(args);
        command
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("HOME", self.dir.path())
            .env("VITTE_CACHE_DIR", self.dir.path().join("cache"))
            // Whoever runs the tests may be behind a proxy.
            .env("NO_PROXY", "127.0.0.1")
            .envs(self.env.iter().map(|(name, value)| (*name, value)));
        command
    }

    pub(crate) fn call<A: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = A>) -> Done {
        let output = self.command(args).output().unwrap();
        let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
        let status = stderr.lines().rev().find_map(|line| serde_json::from_str::<Value>(line).ok());
        Done {
            code: output.status.code().unwrap_or(-1),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr,
            status: status.unwrap_or_default(),
        }
    }

    /// Runs `script` through the cache, after these flags.
    pub(crate) fn run(&self, flags: &[&str], script: &str) -> Done {
        self.call(["run", "--status", "json"].iter().chain(flags).copied().chain(["--", "sh", "-c", script]))
    }

    /// Makes `out/data` from `src/in` by a command that leaves a trace where it ran.
    pub(crate) fn build(&self, flags: &[&str]) -> Done {
        let script = "echo ran >> ../trace; mkdir -p out; cat src/in src/in > out/data; \
                      printf x > out/empty; : > out/nothing; chmod 755 out/empty; ln -sf data out/link; echo built";
        let flags: Vec<&str> =
            ["-n", "build", "-i", "src", "-o", "out/"].iter().chain(flags).copied().collect();
        self.run(&flags, script)
    }

    /// How often the command of `build` ran here.
    pub(crate) fn ran(&self) -> usize {
        fs::read_to_string(self.work.join("../trace")).map_or(0, |trace| trace.lines().count())
    }

    /// Every file of the machine that contains `text`.
    pub(crate) fn files_with(&self, text: &str) -> Vec<PathBuf> {
        let mut found = Vec::new();
        let mut dirs = vec![self.dir.path().to_owned()];
        while let Some(dir) = dirs.pop() {
            for entry in fs::read_dir(dir).unwrap().flatten() {
                let path = entry.path();
                if entry.file_type().unwrap().is_dir() {
                    dirs.push(path);
                } else if fs::read(&path)
                    .is_ok_and(|bytes| bytes.windows(text.len()).any(|part| part == text.as_bytes()))
                {
                    found.push(path);
                }
            }
        }
        found
    }
}

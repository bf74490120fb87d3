//! What only these tests ask of a scratch place.

use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::Stdio;

use serde_json::Value;

pub(crate) use crate::place::{Done, Place, finish};

impl Done {
    #[track_caller]
    pub(crate) fn ok(self) -> Self {
        self.code(0)
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
        Self::empty()
    }

    /// The same with one file per entry and per blob, for tests that look at them.
    pub(crate) fn of_files() -> Self {
        Self::of("files")
    }

    /// The same in this layout, whatever the file system.
    pub(crate) fn of(layout: &str) -> Self {
        Self::new().set("VITTE_CACHE_LAYOUT", layout)
    }

    /// Runs `line` with `input` as its standard input.
    pub(crate) fn run_with(&self, line: &str, input: &[u8]) -> Done {
        let mut command = self.command(line.split_whitespace());
        let mut child =
            command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        child.stdin.take().unwrap().write_all(input).unwrap();
        child.wait_with_output().unwrap().into()
    }

    pub(crate) fn read(&self, path: impl AsRef<Path>) -> Vec<u8> {
        fs::read(self.work.join(path)).unwrap()
    }
}

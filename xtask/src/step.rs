//! Running other programs in the open: each command is printed as it could be typed, streams its
//! output, and says how long it took.

use std::ffi::{OsStr, OsString};
use std::fmt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use crate::stop::{Result, Stop};

/// One command to run.
#[derive(Clone)]
pub(crate) struct Step {
    program: OsString,
    args: Vec<OsString>,
    env: Vec<(String, OsString)>,
    dir: Option<PathBuf>,
}

impl Step {
    pub(crate) fn new(program: impl AsRef<OsStr>) -> Self {
        Self { program: program.as_ref().to_owned(), args: Vec::new(), env: Vec::new(), dir: None }
    }

    /// Starts a call of cargo, the one found on `PATH`, so that `+toolchain` works with rustup.
    pub(crate) fn cargo<S: AsRef<OsStr>>(args: impl IntoIterator<Item = S>) -> Self {
        Self::new("cargo").args(args)
    }

    pub(crate) fn arg(mut self, arg: impl AsRef<OsStr>) -> Self {
        self.args.push(arg.as_ref().to_owned());
        self
    }

    pub(crate) fn args<S: AsRef<OsStr>>(mut self, args: impl IntoIterator<Item = S>) -> Self {
        self.args.extend(args.into_iter().map(|arg| arg.as_ref().to_owned()));
        self
    }

    pub(crate) fn env(mut self, name: &str, value: impl AsRef<OsStr>) -> Self {
        self.env.push((name.to_owned(), value.as_ref().to_owned()));
        self
    }

    pub(crate) fn dir(mut self, dir: &Path) -> Self {
        self.dir = Some(dir.to_owned());
        self
    }

    /// Runs the command with its output streamed to ours.
    pub(crate) fn run(&self) -> Result {
        println!("$ {self}");
        let start = Instant::now();
        let status = self.status()?;
        let took = seconds(start.elapsed());
        if status.success() {
            println!("  {took}");
            return Ok(());
        }
        println!("  {took}, {status}");
        Err(Stop::failed(format!("`{self}` failed ({status})")))
    }

    /// Runs the command, without printing it, and returns how it ended.
    pub(crate) fn status(&self) -> Result<ExitStatus> {
        self.command().status().map_err(|error| self.cannot_start(&error))
    }

    /// Runs the command and returns what it wrote to standard output; standard error is streamed.
    pub(crate) fn stdout(&self) -> Result<Vec<u8>> {
        let output =
            self.command().stderr(Stdio::inherit()).output().map_err(|error| self.cannot_start(&error))?;
        if output.status.success() {
            return Ok(output.stdout);
        }
        Err(Stop::failed(format!("`{self}` failed ({})", output.status)))
    }

    /// Returns the standard output as text, without the newline at its end.
    pub(crate) fn text(&self) -> Result<String> {
        let text = String::from_utf8(self.stdout()?)
            .map_err(|_| Stop::failed(format!("`{self}` wrote text that is not UTF-8")))?;
        Ok(text.trim_end().to_owned())
    }

    /// Returns whether the command is there and succeeds; all of its output is dropped.
    pub(crate) fn succeeds(&self) -> bool {
        self.command()
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status()
            .is_ok_and(|status| status.success())
    }

    /// Returns the command for callers that measure it, or talk to it.
    pub(crate) fn command(&self) -> Command {
        let mut command = Command::new(&self.program);
        command.args(&self.args).envs(self.env.iter().map(|(name, value)| (name, value)));
        if let Some(dir) = &self.dir {
            command.current_dir(dir);
        }
        command
    }

    fn cannot_start(&self, error: &std::io::Error) -> Stop {
        let program = self.program.to_string_lossy();
        if error.kind() == std::io::ErrorKind::NotFound {
            return Stop::absent(format!("`{program}` is not on PATH, see `cargo xtask setup`"));
        }
        Stop::failed(format!("cannot start `{program}`: {error}"))
    }
}

/// Shows the command as one would type it.
impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(dir) = &self.dir {
            write!(f, "cd {} && ", quoted(dir.as_os_str()))?;
        }
        for (name, value) in &self.env {
            write!(f, "{name}={} ", quoted(value))?;
        }
        f.write_str(&quoted(&self.program))?;
        self.args.iter().try_for_each(|arg| write!(f, " {}", quoted(arg)))
    }
}

/// Runs all of the steps, also after one has failed, and names every one that did.
pub(crate) fn run_all(steps: impl IntoIterator<Item = Step>) -> Result {
    all(steps.into_iter().map(|step| step.run()))
}

/// Joins the outcomes of checks that do not depend on each other.
pub(crate) fn all(outcomes: impl IntoIterator<Item = Result>) -> Result {
    let mut failures = Vec::new();
    let mut absent = Vec::new();
    for outcome in outcomes {
        match outcome {
            Ok(()) => {}
            Err(Stop::Failed(message)) => failures.push(message),
            Err(Stop::Absent(message)) => absent.push(message),
        }
    }
    if !failures.is_empty() {
        failures.extend(absent);
        return Err(Stop::Failed(failures.join("; ")));
    }
    if absent.is_empty() { Ok(()) } else { Err(Stop::Absent(absent.join("; "))) }
}

/// Returns a duration the way people read it.
pub(crate) fn seconds(duration: Duration) -> String {
    let secs = duration.as_secs();
    if secs >= 60 {
        return format!("{} min {:02} s", secs / 60, secs % 60);
    }
    format!("{:.1} s", duration.as_secs_f64())
}

fn quoted(word: &OsStr) -> String {
    let word = word.to_string_lossy();
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_=+./:,@%{}".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        return word.into_owned();
    }
    format!("'{}'", word.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_are_shown_as_typed() {
        let step = Step::cargo(["doc", "--no-deps"]).env("RUSTDOCFLAGS", "-D warnings").arg("it's");
        assert_eq!(step.to_string(), r"RUSTDOCFLAGS='-D warnings' cargo doc --no-deps 'it'\''s'");
    }

    #[test]
    fn a_failure_outweighs_an_absent_tool() {
        let outcomes = [Err(Stop::absent("no a")), Err(Stop::failed("b broke")), Ok(())];
        assert!(matches!(all(outcomes), Err(Stop::Failed(message)) if message == "b broke; no a"));
        assert!(matches!(all([Ok(()), Err(Stop::absent("no a"))]), Err(Stop::Absent(_))));
    }

    #[test]
    fn a_program_that_does_not_exist_is_absent() {
        assert!(matches!(Step::new("no-such-program-here").run(), Err(Stop::Absent(_))));
        assert!(!Step::new("no-such-program-here").succeeds());
    }
}

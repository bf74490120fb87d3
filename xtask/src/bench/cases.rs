//! What is measured: hits of `vitte-cache run`, beside the programs that do the same.

use std::fmt::Write as _;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use crate::files;
use crate::step::Step;
use crate::stop::{Result, Stop};

/// About a source file.
const INPUT_BYTES: usize = 4_096;
const FILES_PER_DIR: usize = 100;

/// One table: commands that are measured in turn. The first is the baseline.
pub(super) struct Case {
    pub(super) title: &'static str,
    pub(super) contenders: Vec<Contender>,
    /// Index of the contender whose goal is checked.
    pub(super) ours: usize,
    /// What our hit may cost beyond the baseline.
    pub(super) goal: Option<Duration>,
}

pub(super) struct Contender {
    pub(super) name: &'static str,
    pub(super) step: Step,
    /// The same command with a status that machines can read, if it is ours.
    pub(super) json_status: Option<Step>,
}

impl Contender {
    /// Returns a closure for `map_err` that names the command.
    pub(super) fn cannot_start(&self) -> impl FnOnce(io::Error) -> Stop + '_ {
        move |error| Stop::failed(format!("cannot start `{}`: {error}", self.step))
    }
}

impl Case {
    /// Fills the caches, and makes sure that what is measured is a hit.
    pub(super) fn prepare(&self) -> Result {
        for contender in &self.contenders {
            contender.step.command().stdout(Stdio::null()).status().map_err(contender.cannot_start())?;
            if let Some(step) = &contender.json_status {
                expect_hit(step)?;
            }
        }
        Ok(())
    }
}

fn expect_hit(step: &Step) -> Result {
    let output =
        step.command().output().map_err(|error| Stop::failed(format!("cannot start `{step}`: {error}")))?;
    let text = String::from_utf8_lossy(&output.stderr);
    match outcome(&text).as_deref() {
        Some("hit") => Ok(()),
        Some(other) => Err(Stop::failed(format!("`{step}` is not a hit but `{other}`:\n{text}"))),
        None => Err(Stop::failed(format!("`{step}` wrote no status ({}):\n{text}", output.status))),
    }
}

/// Reads the outcome from the status, the last line that is a JSON object.
fn outcome(stderr: &str) -> Option<String> {
    stderr.lines().rev().find_map(|line| {
        let status: serde_json::Value = serde_json::from_str(line).ok()?;
        Some(status.get("outcome")?.as_str()?.to_owned())
    })
}

pub(super) fn all(binary: &Path, scratch: &Path) -> Result<Vec<Case>> {
    let bench = Bench { binary, scratch };
    Ok(vec![
        bench.no_inputs()?,
        bench.inputs("300 unchanged inputs", "300", 300, Duration::from_millis(5))?,
        bench.inputs("10,000 unchanged inputs", "10000", 10_000, Duration::from_millis(60))?,
        bench.compile()?,
    ])
}

struct Bench<'a> {
    binary: &'a Path,
    scratch: &'a Path,
}

impl Bench<'_> {
    fn dir(&self, name: &str) -> Result<PathBuf> {
        let dir = self.scratch.join(name);
        files::create_dirs(&dir)?;
        Ok(dir)
    }

    fn baseline(dir: &Path) -> Contender {
        Contender { name: "true", step: Step::new("true").dir(dir), json_status: None }
    }

    /// Our command, with `args` after `run` and its flags.
    fn ours(&self, dir: &Path, args: &[&str]) -> Contender {
        let run = |flags: &[&str]| {
            Step::new(self.binary)
                .arg("run")
                .args(flags)
                .args(args)
                .env("VITTE_CACHE_DIR", self.scratch.join("cache"))
                .dir(dir)
        };
        Contender {
            name: "vitte-cache run",
            step: run(&["-q"]),
            json_status: Some(run(&["--status", "json"])),
        }
    }

    fn no_inputs(&self) -> Result<Case> {
        let dir = self.dir("none")?;
        let mut contenders = vec![Self::baseline(&dir), self.ours(&dir, &["--ttl", "1h", "--", "true"])];
        if Step::new("bkt").arg("--version").succeeds() {
            let cache = self.dir("bkt-cache")?;
            let step = Step::new("bkt").args(["--ttl=1h", "--", "true"]).env("BKT_CACHE_DIR", cache);
            contenders.push(Contender { name: "bkt", step: step.dir(&dir), json_status: None });
        }
        let goal = Some(Duration::from_millis(2));
        Ok(Case { title: "hit without inputs", contenders, ours: 1, goal })
    }

    fn inputs(&self, title: &'static str, name: &str, count: usize, goal: Duration) -> Result<Case> {
        let dir = self.dir(name)?;
        for index in 0..count {
            let path = dir.join(format!("src/{:03}/{index:05}.txt", index / FILES_PER_DIR));
            files::write(&path, input(index))?;
        }
        // `sh` keeps the command short: 10,000 names would not fit on a command line.
        let command = "for dir in src/*; do cat $dir/*; done | cksum > out.txt";
        let ours = self.ours(&dir, &["-i", "src/**", "-o", "out.txt", "--", "sh", "-c", command]);
        Ok(Case { title, contenders: vec![Self::baseline(&dir), ours], ours: 1, goal: Some(goal) })
    }

    fn compile(&self) -> Result<Case> {
        let dir = self.dir("compile")?;
        files::write(&dir.join("main.c"), C_SOURCE)?;
        let mut ours = self.ours(
            &dir,
            &[
                &["--depfile", "out.d", "-i", "main.c", "-o", "main.o", "--"][..],
                &["gcc", "-MD", "-MF", "out.d", "-c", "main.c", "-o", "main.o"],
            ]
            .concat(),
        );
        ours.name = "vitte-cache --depfile";
        let mut contenders = vec![Self::baseline(&dir), ours];
        if Step::new("ccache").arg("--version").succeeds() {
            let cache = self.dir("ccache-cache")?;
            // Only the system's headers are included: they are older than the compilation, as the
            // direct mode of ccache demands.
            let step = Step::new("ccache").args(["gcc", "-c", "main.c", "-o", "ccache.o"]);
            let step = step.env("CCACHE_DIR", cache).dir(&dir);
            contenders.push(Contender { name: "ccache (direct mode)", step, json_status: None });
        }
        Ok(Case { title: "hit on the compilation of one C file", contenders, ours: 1, goal: None })
    }
}

/// Includes enough headers of the system to be a usual file.
const C_SOURCE: &str = "#include <errno.h>\n#include <stdio.h>\n#include <stdlib.h>\n#include <string.h>\n\
                        #include <unistd.h>\n\nint main(void) {\n    puts(\"hello\");\n    return 0;\n}\n";

fn input(index: usize) -> String {
    let mut text = String::with_capacity(INPUT_BYTES + 32);
    for line in 0.. {
        if text.len() >= INPUT_BYTES {
            break;
        }
        writeln!(text, "line {line} of input {index}").expect("a string takes all");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_outcome_is_read_from_the_last_status() {
        let stderr = "warning: x\n42\n{\"outcome\": \"miss\"}\n{\"outcome\":\"hit\",\"label\":\"a\"}\n7\n";
        assert_eq!(outcome(stderr).as_deref(), Some("hit"));
        assert_eq!(outcome("● hit"), None);
    }

    #[test]
    fn inputs_differ_and_have_their_size() {
        assert_ne!(input(1), input(2));
        assert!((INPUT_BYTES..INPUT_BYTES + 64).contains(&input(3).len()));
    }
}

//! The identity of the program that a command starts, as a part of the key: another compiler is another result.
//!
//! `auto` identifies
//!
//! - a program by the content of its file, links followed. The digest is remembered, so this costs a `stat`. Compiler
//!   drivers such as `gcc` name their version, target and library directory in themselves, and are rebuilt with what
//!   they start (`cc1`, `as` excepted); who replaces `cc1` by hand declares it with `-i`;
//! - a script by its content and that of the interpreter in its `#!` line, through `env` as well;
//! - a launcher that starts what its arguments name (`env`, `nice`, `ccache`, …) by both;
//! - a proxy of rustup by the toolchain that it will choose and that toolchain's manifest;
//! - a shim of a version manager (pyenv, rbenv, nodenv, asdf, mise, volta, …) or a link to a compiler cache by what
//!   decides what it starts.
//!
//! What a program starts later on is not known beforehand: for `make` or `sh -c`, tools that matter are declared with
//! `--tool 'cc --version'` or `-i`.

mod rustup;
mod shim;

use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::str::FromStr;
use std::time::Duration;

use cache_core::{Digest, HashFunction, KeyBuilder, Namespace};

use crate::environment::Environment;
use crate::inputs::InputError;
use crate::memory::Memory;
use crate::probe::{self, Limits};

/// What `--tool 'cmd --version'` may use: Java tools take two seconds, none writes a megabyte.
const LIMITS: Limits = Limits { time: Duration::from_secs(10), bytes: 1 << 20 };
/// How much of a script the kernel looks at for a `#!` line, in bytes (`BINPRM_BUF_SIZE`).
const SHEBANG: u64 = 256;
/// How many programs may start each other before the last one is identified by its content alone: `env nice ccache gcc`.
const MAX_DEPTH: usize = 5;
/// Programs that start the program that their arguments name.
const LAUNCHERS: [&str; 10] =
    ["env", "nice", "nohup", "time", "stdbuf", "setarch", "ccache", "sccache", "distcc", "icecc"];

/// How many arguments of a launcher are tried, as options may have arguments of their own: `env -u NAME make`.
const MAX_LAUNCHER_ARGS: usize = 16;

/// How the program of a command is identified.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum ToolMode {
    /// By content, and by what else is known to decide what it does.
    #[default]
    Auto,
    /// By the content of its file alone.
    Content,
    /// By path, size and modification time.
    ModifiedTime,
    /// Not at all.
    None,
    /// By what this command line says.
    Command(String),
}

impl FromStr for ToolMode {
    type Err = ToolError;
    fn from_str(text: &str) -> Result<Self, ToolError> {
        match text {
            "auto" => Ok(Self::Auto),
            "content" => Ok(Self::Content),
            "mtime" => Ok(Self::ModifiedTime),
            "none" => Ok(Self::None),
            // One word without an argument is a typing error rather than a way to ask for a version.
            _ if text.trim().contains(char::is_whitespace) => Ok(Self::Command(text.to_owned())),
            _ => Err(ToolError::BadMode(text.to_owned())),
        }
    }
}

/// The identity of a program.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ToolIdentity {
    /// The file that is started.
    pub program: PathBuf,
    /// Part of the key: equal for equal tools.
    pub digest: Digest,
    /// What the digest covers, for people: `content of /usr/bin/gcc`.
    pub describe: String,
}

/// Why a program has no identity.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ToolError {
    /// `--tool` says something else.
    #[error(
        "`{0}` is no way to identify a program; write auto, content, mtime, none, or a command line such as 'cc --version'"
    )]
    BadMode(String),
    /// A file that belongs to the tool cannot be read.
    #[error("cannot identify the program {}: {source}; choose another way with --tool", program.display())]
    Unreadable {
        /// The program.
        program: PathBuf,
        /// What is wrong.
        source: InputError,
    },
    /// The command line of `--tool` gave no answer.
    #[error("cannot identify the program: `{command}` {why}; correct --tool")]
    Command {
        /// The command line.
        command: String,
        /// What is wrong.
        why: String,
    },
}

/// A command that is about to run.
#[derive(Debug, Clone, Copy)]
pub struct Invocation<'a> {
    /// The file that is started, as it was found: links not resolved, absolute.
    pub program: &'a Path,
    /// Its arguments, without its name.
    pub args: &'a [OsString],
    /// Its working directory.
    pub cwd: &'a Path,
    /// What it sees of the environment.
    pub env: &'a Environment,
}

/// Returns the identity of the program that `invocation` starts.
///
/// # Errors
/// If it, or what belongs to it, cannot be read, or the command that should tell does not.
pub fn identify(
    mode: &ToolMode,
    invocation: Invocation<'_>,
    memory: &mut Memory,
) -> Result<ToolIdentity, ToolError> {
    let mut parts = Parts::new(invocation, memory);
    let program = invocation.program;
    match mode {
        ToolMode::Auto => parts.program(program, invocation.args, 0),
        ToolMode::Content => parts.content(program),
        ToolMode::ModifiedTime => parts.modified(program),
        ToolMode::None => {
            parts.describe.push("nothing".to_owned());
            Ok(())
        }
        ToolMode::Command(line) => return command(line, invocation),
    }
    .map_err(|source| ToolError::Unreadable { program: program.to_path_buf(), source })?;
    Ok(parts.finish())
}

/// Returns the identity that is what `line` says and how it ends.
fn command(line: &str, invocation: Invocation<'_>) -> Result<ToolIdentity, ToolError> {
    let fail = |why: String| ToolError::Command { command: line.to_owned(), why };
    let mut shell = if cfg!(windows) { Command::new("cmd") } else { Command::new("/bin/sh") };
    shell.args([if cfg!(windows) { "/C" } else { "-c" }, line]).current_dir(invocation.cwd);
    shell.env_clear().envs(invocation.env.child.iter().map(|(name, value)| (name, value)));
    let said = probe::run(&mut shell, LIMITS).map_err(|error| fail(error.to_string()))?;
    match said.code {
        None => return Err(fail("was ended by a signal".to_owned())),
        // What a shell says when there is no such program.
        Some(126 | 127) => {
            let why = String::from_utf8_lossy(&said.stderr).lines().next().unwrap_or_default().to_owned();
            return Err(fail(format!("cannot be run: {why}")));
        }
        Some(_) => {}
    }
    let key = builder("command").text(line).bytes(&said.stdout).bytes(&said.stderr);
    let key = key.number(u64::from(said.code.unwrap_or_default().cast_unsigned()));
    let first = [&said.stdout, &said.stderr].into_iter().find(|text| !text.is_empty());
    let first = first.map(|text| String::from_utf8_lossy(text).lines().next().unwrap_or_default().to_owned());
    Ok(ToolIdentity {
        program: invocation.program.to_path_buf(),
        digest: Digest::new(HashFunction::Blake3, *key.finish().as_bytes()),
        describe: format!("`{line}`: {}", first.unwrap_or_default()),
    })
}

fn builder(kind: &str) -> KeyBuilder {
    KeyBuilder::new(&Namespace::default(), "tool").text(kind)
}

/// The parts of an identity, collected one by one.
struct Parts<'a> {
    invocation: Invocation<'a>,
    memory: &'a mut Memory,
    key: KeyBuilder,
    describe: Vec<String>,
}

impl<'a> Parts<'a> {
    fn new(invocation: Invocation<'a>, memory: &'a mut Memory) -> Self {
        Self { invocation, memory, key: builder("parts"), describe: Vec::new() }
    }

    fn add(&mut self, add: impl FnOnce(KeyBuilder) -> KeyBuilder) {
        self.key = add(self.key.clone());
    }

    fn finish(self) -> ToolIdentity {
        ToolIdentity {
            program: self.invocation.program.to_path_buf(),
            digest: Digest::new(HashFunction::Blake3, *self.key.finish().as_bytes()),
            describe: self.describe.join(", "),
        }
    }

    /// Adds the content of a file. Its path is no part of it, so that checkouts share what their own tools make. A
    /// program that may be run but not read is known by its size and time.
    fn content(&mut self, path: &Path) -> Result<(), InputError> {
        let digest = match self.memory.digest_file(path) {
            Err(InputError::Denied { .. }) => return self.modified(path),
            digest => digest?,
        };
        self.add(|key| key.text("content").digest(&digest));
        self.describe.push(format!("content of {}", path.display()));
        Ok(())
    }

    /// Adds the name and content of a file that need not be there; returns whether it is. One that is not adds nothing:
    /// how many directories were searched for it depends on where the checkout is.
    fn content_if_any(&mut self, path: &Path) -> Result<bool, InputError> {
        if !path.is_file() {
            return Ok(false);
        }
        let name = path.file_name().unwrap_or_default();
        self.add(|key| key.bytes(name.as_encoded_bytes()));
        self.content(path).map(|()| true)
    }

    fn modified(&mut self, path: &Path) -> Result<(), InputError> {
        let metadata = fs::metadata(path).map_err(|error| InputError::io(path, error))?;
        let modified = metadata.modified().map_err(|error| InputError::io(path, error))?;
        let since = modified.duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
        self.add(|key| {
            let key = key.text("mtime").bytes(path.as_os_str().as_encoded_bytes());
            key.number(metadata.len()).number(since.as_secs()).number(u64::from(since.subsec_nanos()))
        });
        self.describe.push(format!("size and time of {}", path.display()));
        Ok(())
    }

    /// Adds all that is known to decide what `program` does with `args`.
    fn program(&mut self, program: &Path, args: &[OsString], depth: usize) -> Result<(), InputError> {
        let real = crate::base::canonical(program).map_err(|error| InputError::io(program, error))?;
        if depth >= MAX_DEPTH {
            return self.content(&real);
        }
        if rustup::is_proxy(program, &real) {
            return self.rustup(program, args);
        }
        self.content(&real)?;
        if let Some(wrapped) = self.wrapped(program, &real) {
            return self.program(&wrapped, args, depth + 1);
        }
        if shim::is_shim(program, &real) {
            self.shim(program)?;
        }
        if let Some((program, rest)) = interpreter(&real)? {
            self.program(&program, &rest, depth + 1)?;
        }
        if is_launcher(&real) || is_launcher(program) {
            for (at, arg) in args.iter().enumerate().take(MAX_LAUNCHER_ARGS) {
                if is_program_name(arg)
                    && let Some(next) = self.find(arg)
                {
                    return self.program(&next, &args[at + 1..], depth + 1);
                }
            }
        }
        Ok(())
    }

    /// Returns the program that the name or path `name` stands for.
    fn find(&self, name: &OsStr) -> Option<PathBuf> {
        if Path::new(name).components().count() > 1 {
            return Some(self.invocation.cwd.join(name)).filter(|path| is_executable(path));
        }
        self.on_path(name).next()
    }

    /// Returns all programs of this name on `PATH`, in order.
    fn on_path(&self, name: &OsStr) -> impl Iterator<Item = PathBuf> {
        let path = self.invocation.env.get("PATH").unwrap_or_default();
        let files: Vec<_> =
            std::env::split_paths(path)
                .map(|dir| self.invocation.cwd.join(dir).join(name))
                .map(|file| {
                    if cfg!(windows) && file.extension().is_none() {
                        file.with_extension("exe")
                    } else {
                        file
                    }
                })
                .filter(|file| is_executable(file))
                .collect();
        files.into_iter()
    }

    fn env(&self, name: &str) -> Option<&'a OsStr> {
        self.invocation.env.get(name)
    }

    fn home(&self) -> Option<PathBuf> {
        self.env("HOME").or_else(|| self.env("USERPROFILE")).map(PathBuf::from)
    }
}

/// Returns the interpreter that the script `path` names and the arguments it gets, if it is a script.
fn interpreter(path: &Path) -> Result<Option<(PathBuf, Vec<OsString>)>, InputError> {
    let fail = |error| InputError::io(path, error);
    let mut head = Vec::new();
    File::open(path).map_err(fail)?.take(SHEBANG).read_to_end(&mut head).map_err(fail)?;
    let Some(line) = head.strip_prefix(b"#!") else { return Ok(None) };
    let line = String::from_utf8_lossy(line.split(|&byte| byte == b'\n').next().unwrap_or_default());
    let mut words = line.split_whitespace().map(OsString::from);
    let Some(interpreter) = words.next().map(PathBuf::from) else { return Ok(None) };
    // On Windows `#!/usr/bin/env python` names a file that is not there, and is not used.
    Ok(interpreter.is_file().then(|| (interpreter, words.collect())))
}

fn is_launcher(program: &Path) -> bool {
    program.file_stem().is_some_and(|name| LAUNCHERS.iter().any(|launcher| name == *launcher))
}

/// Returns whether an argument of a launcher may be the program: neither an option, nor `NAME=value`, nor a number.
fn is_program_name(arg: &OsString) -> bool {
    let bytes = arg.as_encoded_bytes();
    let is_number = bytes.iter().all(u8::is_ascii_digit);
    !bytes.starts_with(b"-") && !bytes.contains(&b'=') && !is_number
}

fn is_executable(path: &Path) -> bool {
    let Ok(metadata) = fs::metadata(path) else { return false };
    #[cfg(unix)]
    let executable = std::os::unix::fs::PermissionsExt::mode(&metadata.permissions()) & 0o111 != 0;
    #[cfg(not(unix))]
    let executable = true;
    metadata.is_file() && executable
}

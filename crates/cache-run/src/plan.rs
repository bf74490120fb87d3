//! Everything that is known before a command runs, and the key made of it.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{Seek, Write};
use std::path::{Path, PathBuf};

use cache_core::{Anchor, Digest, Fingerprint, HashFunction, Hasher, Key, KeyBuilder, RelPath};

use crate::base::{canonical, find_base, normalize};
use crate::discovered::{Change, Context, Moment};
use crate::environment::{self, Environment};
use crate::exec::{self, Finished, Limits, Search, Sink, SpawnError, Stdin};
use crate::flight;
use crate::inputs::{InputError, InputSet, Inputs};
use crate::manifest::{Manifest, Shown};
use crate::memory::Memory;
use crate::outputs::OutputPattern;
use crate::runner::Ui;
use crate::spec::{Spec, StdinMode};
use crate::tool::{self, Invocation, ToolIdentity, ToolMode};
use crate::value::{DepSet, KIND_RESULT};

/// Part of every key: raise it when the same request may mean another result.
const KEY_VERSION: u64 = 1;

/// Why there is no plan.
#[derive(Debug)]
pub(crate) enum PlanError {
    /// The request makes no sense.
    Usage(String),
    /// The program is not there.
    Spawn(SpawnError),
    /// An input cannot be read. That need not concern the command.
    Unreadable(String),
}

impl From<InputError> for PlanError {
    fn from(error: InputError) -> Self {
        match error {
            InputError::Denied { .. } | InputError::Io { .. } | InputError::KeepsChanging { .. } => {
                Self::Unreadable(error.to_string())
            }
            other => Self::Usage(other.to_string()),
        }
    }
}

fn usage(error: impl std::fmt::Display) -> PlanError {
    PlanError::Usage(error.to_string())
}

/// What runs, and how, without what it reads.
pub(crate) struct Frame<'a> {
    pub(crate) spec: &'a Spec,
    pub(crate) base: PathBuf,
    pub(crate) cwd: PathBuf,
    pub(crate) program: PathBuf,
    pub(crate) environment: Environment,
    pub(crate) outputs: Vec<OutputPattern>,
    pub(crate) depfile: Option<RelPath>,
}

impl<'a> Frame<'a> {
    pub(crate) fn new(spec: &'a Spec) -> Result<Self, PlanError> {
        let unreachable =
            |dir: &Path, error| usage(format!("cannot use the directory {}: {error}", dir.display()));
        let cwd = canonical(&spec.cwd).map_err(|error| unreachable(&spec.cwd, error))?;
        let base = match &spec.base {
            Some(base) => canonical(&cwd.join(base)).map_err(|error| unreachable(base, error))?,
            None => find_base(&cwd).map_err(|error| unreachable(&cwd, error))?,
        };
        if !cwd.starts_with(&base) {
            let (base, cwd) = (base.display(), cwd.display());
            return Err(usage(format!(
                "the base directory {base} is not above the current directory {cwd}: correct --base"
            )));
        }
        let environment =
            Environment::new(spec.env_mode, &spec.env, &spec.pass_env, spec.environment.clone())
                .map_err(usage)?;
        let outputs = spec.outputs.iter().map(|text| OutputPattern::parse(&base, &cwd, text));
        let outputs = outputs.collect::<Result<Vec<_>, _>>().map_err(usage)?;
        let depfile = spec.depfile.as_ref().map(|path| depfile_path(&base, &cwd, path)).transpose()?;
        let name = spec.command.first().map_or(OsStr::new(""), OsString::as_os_str);
        let search =
            Search { path: environment.get("PATH"), path_ext: environment.get("PATHEXT"), cwd: &cwd };
        let program = exec::resolve_program(name, search).map_err(PlanError::Spawn)?;
        Ok(Self { spec, base, cwd, program, environment, outputs, depfile })
    }

    /// Runs the command; what it writes is passed on.
    pub(crate) fn execute(
        &self,
        stdin: Stdin,
        limits: &Limits<'_>,
        key: Option<&Key>,
    ) -> Result<Finished, SpawnError> {
        let mut env = self.environment.child.clone();
        if let Some(key) = key {
            let held = flight::extend_active(self.active_flights(), &key.to_hex());
            env.retain(|(name, _)| name != flight::ACTIVE_ENV);
            env.push((flight::ACTIVE_ENV.into(), held));
        }
        let command = exec::Command {
            program: &self.program,
            arg0: &self.spec.command[0],
            args: &self.spec.command[1..],
            cwd: Some(&self.cwd),
            env: &env,
            stdin,
        };
        let sink =
            Sink::stdio().map_err(|source| SpawnError::System { program: self.program.clone(), source })?;
        exec::run(&command, limits, sink)
    }

    /// Returns the keys that processes above us are running.
    pub(crate) fn active_flights(&self) -> Option<&OsStr> {
        let (_, value) = self.spec.environment.iter().find(|(name, _)| name == flight::ACTIVE_ENV)?;
        Some(value)
    }

    /// Returns whether `path` is something that the command is declared to make.
    pub(crate) fn is_output(&self, path: &RelPath) -> bool {
        self.depfile.as_ref() == Some(path) || self.outputs.iter().any(|pattern| pattern.covers(path))
    }
}

fn depfile_path(base: &Path, cwd: &Path, path: &Path) -> Result<RelPath, PlanError> {
    let absolute = normalize(cwd, path);
    let below = absolute.strip_prefix(base).map_err(|_| {
        let (path, base) = (path.display(), base.display());
        usage(format!("the depfile {path} lies outside of the base directory {base}: use --base with a directory above both"))
    })?;
    RelPath::from_path(below).map_err(usage)
}

/// A frame, what the command reads, and the key of it all.
pub(crate) struct Plan<'a> {
    pub(crate) frame: &'a Frame<'a>,
    pub(crate) memory: Memory,
    pub(crate) patterns: Inputs,
    pub(crate) inputs: InputSet,
    pub(crate) tool: ToolIdentity,
    pub(crate) stdin: Option<(File, Digest)>,
    pub(crate) key: Key,
    /// Why a result could not be restored without harm, with the remedy. The command runs, and nothing is stored.
    pub(crate) conflict: Option<String>,
}

impl<'a> Plan<'a> {
    /// Makes the plan; `cache_dir` is left out of the inputs, and `side` is where digests of files are remembered.
    pub(crate) fn new(
        frame: &'a Frame<'a>,
        side: Option<&Path>,
        cache_dir: Option<&Path>,
        ui: &dyn Ui,
    ) -> Result<Self, PlanError> {
        let spec = frame.spec;
        let mut memory = match side {
            Some(side) => Memory::load(&memory_file(side, &frame.base)),
            None => Memory::none(std::sync::Arc::new(cache_core::SystemClock)),
        };
        let mut patterns = Inputs::new(&frame.base, &frame.cwd, &spec.inputs)?;
        if let Some(dir) = cache_dir {
            patterns = patterns.without(dir);
        }
        let listing = patterns.resolve()?;
        let inputs = patterns.digest(listing, &mut memory, &Bar(ui))?;
        let mode = spec.tool.parse::<ToolMode>().map_err(usage)?;
        let (program, args) = (&*frame.program, &spec.command[1..]);
        let invocation = Invocation { program, args, cwd: &frame.cwd, env: &frame.environment };
        let tool = tool::identify(&mode, invocation, &mut memory).map_err(usage)?;
        let stdin = match spec.stdin {
            StdinMode::Null => None,
            StdinMode::Key => Some(spool_stdin(side).map_err(|error| {
                usage(format!(
                    "cannot keep the standard input in a temporary file: {error}; run without --stdin=key"
                ))
            })?),
        };
        let conflict = conflict(frame, &inputs);
        let mut plan =
            Self { frame, memory, patterns, inputs, tool, stdin, key: Key::from_bytes([0; 32]), conflict };
        plan.key = plan.make_key();
        Ok(plan)
    }

    /// Says so if there are input patterns and none of them matches, and nothing else tells when the result gets stale.
    pub(crate) fn reads_nothing(&self) -> Option<String> {
        let spec = self.frame.spec;
        let bounded = spec.ttl.is_some() || spec.depfile.is_some();
        (self.inputs.files.is_empty() && !bounded).then(|| {
            let patterns = spec.inputs.join("`, `");
            format!(
                "no file matches `{patterns}`, so the result would never get stale: correct -i, or give --ttl"
            )
        })
    }

    fn make_key(&self) -> Key {
        let spec = self.frame.spec;
        let texts = |key: KeyBuilder, text: &String| key.text(text);
        let key = KeyBuilder::new(&spec.namespace, KIND_RESULT)
            .number(KEY_VERSION)
            .list(&spec.command, |key, arg| key.bytes(arg.as_encoded_bytes()))
            .bytes(relative(&self.frame.base, &self.frame.cwd).as_encoded_bytes())
            .digest(&self.tool.digest)
            .digest(&self.inputs.digest())
            .list(&self.frame.environment.keyed, |key, var| {
                let key = key.bytes(var.name.as_encoded_bytes());
                match &var.value {
                    Some(value) => key.bytes(value.as_encoded_bytes()),
                    None => key.absent(),
                }
            });
        let key = self.options().iter().fold(key, |key, (name, value)| texts(key.text(name), value));
        match &self.stdin {
            Some((_, digest)) => key.digest(digest).finish(),
            None => key.absent().finish(),
        }
    }

    /// Returns the options that are part of the key, by name.
    fn options(&self) -> Vec<(String, String)> {
        let spec = self.frame.spec;
        let depfile = self.frame.depfile.as_ref().map_or_else(String::new, ToString::to_string);
        let own = |name: &str, value: String| (name.to_owned(), value);
        vec![
            own("depfile", depfile),
            own("environment mode", format!("{:?}", spec.env_mode).to_lowercase()),
            own("namespace", spec.namespace.to_string()),
            own("outputs", spec.outputs.join("\n")),
            own("passed environment", spec.pass_env.join("\n")),
            own("platform", platform()),
            own("salt", spec.salt.clone()),
        ]
    }

    /// Returns what the key is made of, as it can be kept and shown.
    pub(crate) fn manifest(&self, salt: &[u8; 32]) -> Manifest {
        let spec = self.frame.spec;
        let redacted = environment::redact_args(&spec.command[1..]);
        let args = spec.command[1..].iter().zip(redacted);
        let env = self.frame.environment.keyed.iter().map(|var| {
            let shown = var.value.as_ref().map(|value| {
                let secret = environment::looks_secret(&var.name, value);
                let text = (!secret).then(|| value.to_string_lossy().into_owned());
                Shown::new(salt, value.as_encoded_bytes(), text)
            });
            (var.name.to_string_lossy().into_owned(), shown)
        });
        let mut env: Vec<_> = env.collect();
        env.sort_by(|a, b| a.0.cmp(&b.0));
        let mut options = self.options();
        options.retain(|(name, _)| name != "platform" && name != "salt");
        let salt_shown = Shown::new(salt, spec.salt.as_bytes(), None);
        options.push(("salt".to_owned(), hex_tag(&salt_shown)));
        Manifest {
            program: spec.command[0].to_string_lossy().into_owned(),
            tool: self.tool.digest,
            tool_description: self.tool.describe.clone(),
            args: args.map(|(raw, text)| Shown::new(salt, raw.as_encoded_bytes(), Some(text))).collect(),
            cwd: relative(&self.frame.base, &self.frame.cwd).to_string_lossy().into_owned(),
            env,
            options,
            platform: platform(),
            stdin: self.stdin.as_ref().map(|(_, digest)| *digest),
            inputs: self.inputs.files.iter().map(|input| (input.path.clone(), input.state)).collect(),
        }
    }

    /// Returns the standard input of the command, from its beginning.
    pub(crate) fn stdin(&self) -> std::io::Result<Stdin> {
        match &self.stdin {
            None => Ok(Stdin::Null),
            Some((file, _)) => {
                let mut file = file.try_clone()?;
                file.rewind()?;
                Ok(Stdin::File(file))
            }
        }
    }

    /// Returns the first thing that is not as `set` wants it.
    pub(crate) fn first_change(&mut self, set: &DepSet) -> Option<Change> {
        self.frame.context().first_change(set, &mut self.memory)
    }

    /// Returns what the command has read besides its inputs.
    pub(crate) fn discovered(&mut self, depfile: &RelPath, started: Moment) -> Result<DepSet, String> {
        let path = depfile.to_native().map_err(|error| error.to_string())?;
        let frame = self.frame;
        frame.context().collect(
            &frame.base.join(path),
            started,
            |path| frame.is_output(path),
            &mut self.memory,
        )
    }
}

impl Frame<'_> {
    fn context(&self) -> Context<'_> {
        Context {
            base: &self.base,
            cwd: &self.cwd,
            args: &self.spec.command[1..],
            env: &self.environment.child,
        }
    }
}

fn hex_tag(shown: &Shown) -> String {
    Fingerprint::from_bytes(shown.tag).to_string()
}

/// Returns where `path` is as seen from `base`, which is above it; `.` for `base` itself.
fn relative<'p>(base: &Path, path: &'p Path) -> &'p OsStr {
    match path.strip_prefix(base) {
        Ok(below) if !below.as_os_str().is_empty() => below.as_os_str(),
        _ => OsStr::new("."),
    }
}

fn platform() -> String {
    format!("{}-{}", std::env::consts::OS, std::env::consts::ARCH)
}

/// Digests of files are remembered per base directory.
fn memory_file(side: &Path, base: &Path) -> PathBuf {
    let name = Fingerprint::of(base.as_os_str().as_encoded_bytes());
    side.join("memory").join(name.to_string())
}

/// An owned directory is emptied of what is not a result, so no input may live there.
fn conflict(frame: &Frame<'_>, inputs: &InputSet) -> Option<String> {
    let owned: Vec<_> =
        frame.outputs.iter().filter_map(|output| Some((output.owned_dir()?, output.text()))).collect();
    if owned.is_empty() {
        return None;
    }
    inputs.files.iter().filter(|input| input.path.anchor == Anchor::Base).find_map(|input| {
        let (_, text) = owned.iter().find(|(dir, _)| input.path.path.starts_with(dir))?;
        Some(format!("input {} lies in the output {text} · add -i '!{text}**'", input.path))
    })
}

/// Copies our standard input to a file without a name.
fn spool_stdin(side: Option<&Path>) -> std::io::Result<(File, Digest)> {
    let mut file = side.map_or_else(tempfile::tempfile, tempfile::tempfile_in)?;
    let mut hasher = Hasher::new(HashFunction::Blake3);
    let mut stdin = std::io::stdin().lock();
    loop {
        let piece = std::io::BufRead::fill_buf(&mut stdin)?;
        if piece.is_empty() {
            return Ok((file, hasher.finish()));
        }
        hasher.update(piece);
        file.write_all(piece)?;
        let len = piece.len();
        std::io::BufRead::consume(&mut stdin, len);
    }
}

/// Shows how far hashing is.
struct Bar<'u>(&'u dyn Ui);

impl crate::inputs::Progress for Bar<'_> {
    fn read(&self, done: crate::inputs::Amount, total: crate::inputs::Amount) {
        self.0.progress(done.files, total.files, done.bytes);
    }
}

//! A small build system for C: an [`ActionCache`] knows which objects have to be compiled, a [`TargetCache`] whether the
//! program has to be linked.
//!
//! ```text
//! cargo run -p cache-coordinator --example build_tool -- path/to/project
//! ```
//!
//! It compiles `src/*.c`, with the headers of `include`, and links `out/app`. What it makes is in `.cache` as well: after
//! `rm -r out` nothing is compiled. A project to try it on is in `build_tool`, beside this file.

#![expect(clippy::print_stdout, reason = "it shows what it did")]

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::Instant;
use std::{env, fs};

use cache_coordinator::action::{
    ActionCache, ActionId, ActionKind, ActionMetadata, ActionRequest, ActionRun, FileStates, Hit, Mark, Miss,
    Recording,
};
use cache_coordinator::target::{TargetBuild, TargetCache, TargetDep, TargetId};
use cache_core::{Digest, FileDependency, FileState, Namespace, RelPath, Store, TreePath};
use cache_fs::{FsStore, Options};

type Result<T, E = Box<dyn std::error::Error>> = std::result::Result<T, E>;

const FLAGS: [&str; 2] = ["-O1", "-Iinclude"];
/// What `cc` takes from the environment.
const ENVIRONMENT: [&str; 4] = ["CPATH", "C_INCLUDE_PATH", "LIBRARY_PATH", "GCC_EXEC_PREFIX"];
const PROGRAM: &str = "app";

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let project = env::args_os().nth(1).ok_or("say what to build: build_tool path/to/project")?;
    build(Path::new(&project), &mut |line| println!("{line}")).await
}

/// Builds the project, and tells what became of each target.
pub(crate) async fn build(project: &Path, tell: &mut dyn FnMut(String)) -> Result<()> {
    let store = Arc::new(FsStore::open(&project.join(".cache"), Options::default())?);
    let files = Arc::new(FileStates::new(project)?);
    let (metadata, namespace) = (metadata()?, Namespace::default());
    // Taken before anything runs, so that what is edited from now on is noticed when an action is recorded.
    let sources = files.snapshot(&sources(files.base())?).await?;
    let mut build = Build {
        project,
        sources: sources.into_iter().map(|file| (file.path.to_string(), file)).collect(),
        objects: ActionCache::new(store.clone(), files.clone(), namespace.clone()),
        programs: TargetCache::new(store.clone(), files, namespace, metadata.clone()),
        tell,
    };
    fs::create_dir_all(project.join("out"))?;
    let units = build.sources.keys().filter_map(|path| path.strip_prefix("src/")?.strip_suffix(".c"));
    let request = |unit: &str| {
        let id = ActionId::new(format!("{unit}.o"), ActionKind::Compile, Digest::blake3(unit.as_bytes()))?;
        Ok(ActionRequest { id, metadata: metadata.clone() })
    };
    let requests = units.map(request).collect::<Result<Vec<_>>>()?;
    let answers = build.objects.batch_validate(&requests).await.results;
    let mut objects = Vec::new();
    for (request, answer) in requests.into_iter().zip(answers) {
        objects.push(build.object(request, answer).await?);
    }
    build.program(&objects).await?;
    Ok(store.close().await?)
}

struct Build<'a> {
    project: &'a Path,
    /// The files of the project, by name.
    sources: BTreeMap<String, FileDependency>,
    objects: ActionCache,
    programs: TargetCache,
    tell: &'a mut dyn FnMut(String),
}

impl Build<'_> {
    async fn object(&mut self, request: ActionRequest, mut answer: Result<Hit, Miss>) -> Result<TargetDep> {
        let (name, target) = (request.id.target(), TargetId::new(request.id.target())?);
        if matches!(&answer, Ok(hit) if !hit.is_in_place()) {
            answer = self.objects.reuse(&request.id, &request.metadata).await;
        }
        let why = match answer {
            Ok(hit) => return Ok(self.reused(target, &hit)),
            Err(miss) => miss,
        };
        let (unit, object) = (name.trim_end_matches(".o"), format!("out/{name}"));
        let (source, depfile) = (format!("src/{unit}.c"), format!("out/{unit}.d"));
        let mark = self.objects.files().mark();
        let cost_ms = self.cc(&["-c", &source, "-o", &object, "-MD", "-MF", &depfile])?;
        let (outputs, metadata) = (vec![RelPath::new(object)?], request.metadata);
        let mut run = ActionRun { outputs, metadata, success: true, cost_ms, ..ActionRun::default() };
        let recorded: Result<Recording> = async {
            run.inputs = self.inputs(&depfile, &mark).await?;
            Ok(self.objects.record(&request.id, &run).await?)
        }
        .await;
        self.built(name, &why, &recorded);
        let outputs = match recorded {
            Ok(recording) => recording.outputs,
            Err(_) => self.objects.files().digest(&run.outputs).await?,
        };
        Ok(TargetDep { target, outputs })
    }

    async fn program(&mut self, objects: &[TargetDep]) -> Result<()> {
        let target = TargetId::new(PROGRAM)?;
        let why = match self.programs.reuse(&target, &[], objects).await {
            Ok(hit) => {
                self.reused(target, &hit);
                return Ok(());
            }
            Err(miss) => miss,
        };
        let mut args = vec![format!("-oout/{PROGRAM}")];
        args.extend(objects.iter().map(|object| format!("out/{}", object.target)));
        let cost_ms = self.cc(&args)?;
        let (deps, outputs) = (objects.to_vec(), vec![RelPath::new(format!("out/{PROGRAM}"))?]);
        let made = TargetBuild { target, sources: Vec::new(), deps, outputs, cost_ms };
        let recorded = self.programs.update(&made).await.map_err(Into::into);
        self.built(PROGRAM, &why, &recorded);
        Ok(())
    }

    /// Runs the compiler or linker, and returns how many milliseconds it took.
    fn cc<S: AsRef<OsStr>>(&self, args: &[S]) -> Result<u64> {
        let started = Instant::now();
        let status = Command::new("cc").args(FLAGS).args(args).current_dir(self.project).status()?;
        let cost_ms = started.elapsed().as_millis() as u64;
        if status.success() { Ok(cost_ms) } else { Err(format!("cc failed: {status}").into()) }
    }

    /// Returns what the compiler read, and where it would have found a header first if one had been there.
    async fn inputs(&self, depfile: &str, mark: &Mark) -> Result<Vec<FileDependency>> {
        let text = fs::read_to_string(self.project.join(depfile))?;
        // The first word is the object; a backslash continues a line.
        let read: BTreeSet<&str> = text.split_whitespace().skip(1).filter(|word| *word != "\\").collect();
        let (ours, others): (Vec<&str>, Vec<_>) = read.iter().partition(|at| self.sources.contains_key(**at));
        let files = self.objects.files();
        let path = |name: &str| TreePath::new(files.base(), &files.base().join(name));
        // Headers of the system are known only now.
        let others = others.into_iter().map(path).collect::<Result<Vec<_>, _>>()?;
        let mut inputs = files.snapshot_since(mark, &others).await?;
        inputs.extend(ours.iter().map(|path| self.sources[*path].clone()));
        let dirs: BTreeSet<&str> = ours.iter().filter_map(|path| Some(path.rsplit_once('/')?.0)).collect();
        // `include/a/b.h` may be included as `a/b.h` or `b.h`.
        let spelled = read.iter().flat_map(|path| path.match_indices('/').map(|(at, _)| &path[at..]));
        let places: BTreeSet<String> =
            spelled.flat_map(|spelled| dirs.iter().map(move |dir| format!("{dir}{spelled}"))).collect();
        // What was not there when the build began must not be there now either, or else nothing is recorded.
        let is_other = |place: &String| !read.contains(&**place) && !self.sources.contains_key(place);
        for place in places.into_iter().filter(is_other) {
            inputs.push(FileDependency { path: path(&place)?, state: FileState::Absent, stat: None });
        }
        Ok(inputs)
    }

    fn reused(&mut self, target: TargetId, hit: &Hit) -> TargetDep {
        let what = if hit.is_in_place() { "cached" } else { "restored" };
        (self.tell)(format!("{target}: {what}"));
        TargetDep { target, outputs: hit.digest() }
    }

    fn built(&mut self, name: &str, why: &Miss, recorded: &Result<Recording>) {
        let trouble = recorded.as_ref().err().map_or_else(String::new, |error| format!("; {error}"));
        (self.tell)(format!("{name}: built, as {why}{trouble}"));
    }
}

/// Returns what decides a result besides the files: other flags, variables or another compiler make another object.
fn metadata() -> Result<ActionMetadata> {
    let version = Command::new("cc").arg("--version").output();
    let version = version.map_err(|error| format!("cannot run cc: {error}"))?.stdout;
    Ok(ActionMetadata {
        flags: FLAGS.map(str::to_owned).to_vec(),
        env: ENVIRONMENT.map(|name| (name.to_owned(), env::var(name).ok())).to_vec(),
        tool: Some(Digest::blake3(&version)),
    })
}

/// Returns the files of the project.
fn sources(base: &Path) -> Result<Vec<TreePath>> {
    let mut found = Vec::new();
    let mut dirs = vec![base.join("src"), base.join("include")];
    while let Some(dir) = dirs.pop() {
        for entry in fs::read_dir(&dir).map_err(|error| format!("cannot list {}: {error}", dir.display()))? {
            let entry = entry?;
            if entry.file_type()?.is_dir() {
                dirs.push(entry.path());
            } else {
                found.push(TreePath::new(base, &entry.path())?);
            }
        }
    }
    Ok(found)
}

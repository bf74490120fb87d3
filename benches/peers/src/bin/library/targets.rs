//! Whether many targets of an unchanged tree have to be made again, beside a `stat` of their files.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use cache_coordinator::action::{
    ActionCache, ActionId, ActionKind, ActionMetadata, ActionRequest, ActionRun, BatchReport, FileStates,
};
use cache_coordinator::target::{TargetBuild, TargetCache, TargetId, TargetRequest};
use cache_core::{Anchor, Digest, Namespace, Policy, RelPath, Store, TreePath};
use cache_memory::{MemoryStore, Options};
use rayon::prelude::*;
use tokio::runtime::Runtime;

use crate::Result;
use crate::case::Case;

const SOURCES: usize = 20;
/// Headers that targets share, in [`Layout::Shared`].
const HEADERS: usize = 1_000;
/// As many sources of a target are shared there.
const SHARED: usize = 10;
const PER_DIR: usize = 500;
/// A file that was written a moment ago is read on every look-up, as its times could hide another write.
const SETTLE: Duration = Duration::from_secs(3);
/// Nothing is evicted.
const ROOM: u64 = 4 << 30;

const STAT: &str = "parallel stat";
const ACTIONS: &str = "ActionCache";
const TARGETS: &str = "TargetCache";

/// Which targets have which sources.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Layout {
    /// Twenty of its own for each.
    Own,
    /// Ten of its own, and ten of a thousand headers.
    Shared,
}

impl Layout {
    pub(crate) fn title(self) -> &'static str {
        match self {
            Self::Own => "batch validation, 20 sources of its own for each target",
            Self::Shared => "batch validation, 10 sources of its own and 10 shared headers for each target",
        }
    }

    fn source(self, target: usize, number: usize) -> String {
        if self == Self::Shared && number < SHARED {
            let header = (target * 37 + number * 101) % HEADERS;
            return format!("include/{:02}/header_{header:04}.h", header / 50);
        }
        format!("src/{:03}/module_{target:05}/part_{number:02}.c", target / PER_DIR)
    }
}

/// A tree with what was recorded of it.
struct Tree {
    base: PathBuf,
    store: Arc<dyn Store>,
    actions: Vec<ActionRequest>,
    targets: Vec<TargetRequest>,
    /// All files, each once.
    files: Vec<PathBuf>,
    runtime: Runtime,
}

pub(crate) fn case(scratch: &Path, layout: Layout, targets: usize) -> Result<Case<'static>> {
    let base = scratch.join(if layout == Layout::Own { "own" } else { "shared" });
    let tree = Arc::new(Tree::new(&base, layout, targets)?);
    let stat = Arc::clone(&tree);
    let case = Case::new(layout.title(), "batch", 1).contender(STAT, move |_| {
        let found = stat.files.par_iter().filter(|path| path.symlink_metadata().is_ok()).count();
        if found == stat.files.len() { Ok(()) } else { Err("a file is gone".into()) }
    });
    // A tool that stays, such as one that watches, and one that has just been started.
    let (actions, targets) = (tree.actions(tree.files()?), tree.targets(tree.files()?));
    let first = Arc::clone(&tree);
    let case = case.contender(ACTIONS, move |_| first.check_actions(&actions));
    let second = Arc::clone(&tree);
    let case = case.contender(TARGETS, move |_| second.check_targets(&targets));
    let third = Arc::clone(&tree);
    let case = case
        .contender("ActionCache, just started", move |_| third.check_actions(&third.actions(third.files()?)));
    let fourth = Arc::clone(&tree);
    let case = case.contender("TargetCache, just started", move |_| {
        fourth.check_targets(&fourth.targets(fourth.files()?))
    });
    Ok(case.goal(ACTIONS, STAT, 1.5).goal(TARGETS, STAT, 1.5))
}

impl Tree {
    /// Writes the files, and records all targets.
    fn new(base: &Path, layout: Layout, count: usize) -> Result<Self> {
        let policy = Policy { max_bytes: Some(ROOM), ..Policy::unlimited() };
        let mut tree = Self {
            base: base.to_owned(),
            store: Arc::new(MemoryStore::new(Options { policy, ..Options::default() })),
            actions: Vec::new(),
            targets: Vec::new(),
            files: Vec::new(),
            runtime: tokio::runtime::Builder::new_current_thread().build()?,
        };
        let mut names = Vec::new();
        for target in 0..count {
            let sources: Vec<String> = (0..SOURCES).map(|number| layout.source(target, number)).collect();
            names.extend(sources.iter().cloned());
            names.push(output(target));
            let sources = sources.into_iter().map(tree_path).collect::<Result<_>>()?;
            let name = format!("//app:module_{target:05}");
            let id = ActionId::new(&*name, ActionKind::Compile, Digest::blake3(b"cc"))?;
            tree.actions.push(ActionRequest { id, metadata: metadata() });
            tree.targets.push(TargetRequest { target: TargetId::new(name)?, sources, deps: Vec::new() });
        }
        names.sort_unstable();
        names.dedup();
        for name in &names {
            let path = base.join(name);
            if let Some(dir) = path.parent() {
                fs::create_dir_all(dir)?;
            }
            fs::write(&path, name)?;
            tree.files.push(path);
        }
        thread::sleep(SETTLE);
        tree.record()?;
        Ok(tree)
    }

    fn record(&self) -> Result {
        let files = self.files()?;
        let (actions, targets) = (self.actions(Arc::clone(&files)), self.targets(Arc::clone(&files)));
        self.runtime.block_on(async {
            for (at, (action, target)) in self.actions.iter().zip(&self.targets).enumerate() {
                let inputs = files.snapshot(&target.sources).await?;
                let outputs = vec![RelPath::new(output(at))?];
                let build = TargetBuild {
                    target: target.target.clone(),
                    sources: inputs.clone(),
                    deps: Vec::new(),
                    outputs: outputs.clone(),
                    cost_ms: 1,
                };
                targets.update(&build).await?;
                let run = ActionRun { inputs, outputs, metadata: metadata(), success: true, cost_ms: 1 };
                actions.record(&action.id, &run).await?;
            }
            Ok(files.save()?)
        })
    }

    fn files(&self) -> Result<Arc<FileStates>> {
        // What is known about files goes from one process to the next.
        Ok(Arc::new(FileStates::new(&self.base)?.remember_in(self.base.with_extension("known"))))
    }

    fn actions(&self, files: Arc<FileStates>) -> ActionCache {
        ActionCache::new(Arc::clone(&self.store), files, Namespace::default())
    }

    fn targets(&self, files: Arc<FileStates>) -> TargetCache {
        TargetCache::new(Arc::clone(&self.store), files, Namespace::default(), metadata())
    }

    fn check_actions(&self, cache: &ActionCache) -> Result {
        self.check(&self.runtime.block_on(cache.batch_validate(&self.actions)))
    }

    fn check_targets(&self, cache: &TargetCache) -> Result {
        self.check(&self.runtime.block_on(cache.batch_validate(&self.targets)))
    }

    fn check(&self, report: &BatchReport) -> Result {
        if report.hits == self.targets.len() && report.misplaced == 0 && report.paths == self.files.len() {
            return Ok(());
        }
        Err(format!("{} hits, {} misplaced, {} paths", report.hits, report.misplaced, report.paths).into())
    }
}

fn output(target: usize) -> String {
    format!("out/{:03}/module_{target:05}.o", target / PER_DIR)
}

fn tree_path(name: String) -> Result<TreePath> {
    Ok(TreePath { anchor: Anchor::Base, path: RelPath::new(name)? })
}

fn metadata() -> ActionMetadata {
    ActionMetadata { flags: vec!["-O2".to_owned()], env: Vec::new(), tool: Some(Digest::blake3(b"cc")) }
}

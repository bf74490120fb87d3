//! The cache of targets.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use cache_core::{
    Digest, EntryMeta, FileDependency, FileState, Key, KeyBuilder, Namespace, RelPath, Result, Store,
    TreePath,
};
use rayon::prelude::*;

use super::id::{TargetDep, TargetId};
use crate::action::{
    ActionMetadata, BatchReport, Claim, Counters, Execution, FileStates, Hit, Ledger, Miss, Nondeterministic,
    Proved, Record, RecordError, RecordStats, Recorded, Recording, RestoreError, Trimmed, View, Wanted,
    claim, differing_upstream, offload, restore,
};
use crate::{Coordinator, Limits, Origin};

/// Kind of entries that hold a target in one state of its sources.
const KIND: &str = "target";
/// Kind of keys of the last state of a target, which explains misses.
const LAST: &str = "target.last";

/// Knows which targets need not be made again.
///
/// A target is cached when it was made before from sources of the same names and content and from targets with the same
/// outputs, and every output is in the tree as it was made or has its content in the store. What the store cannot tell is
/// a miss and never an error.
#[derive(Debug)]
pub struct TargetCache {
    ledger: Arc<Ledger>,
    metadata: Recorded,
    counters: Counters,
}

/// One question of a batch: a target, and what it is made from now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TargetRequest {
    /// Which target.
    pub target: TargetId,
    /// Its source files, in any order.
    pub sources: Vec<TreePath>,
    /// Targets that it is made from, in any order.
    pub deps: Vec<TargetDep>,
}

/// A target that was made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TargetBuild {
    /// Which target.
    pub target: TargetId,
    /// The state of its sources **before** it was made, from [`FileStates::snapshot`].
    pub sources: Vec<FileDependency>,
    /// Targets that it was made from, in any order.
    pub deps: Vec<TargetDep>,
    /// What was made, relative to the base directory. A directory stands for all that is in it.
    pub outputs: Vec<RelPath>,
    /// How many milliseconds it took.
    pub cost_ms: u64,
}

impl TargetCache {
    /// Returns the cache that is in `namespace` of `store`, for the checkout that `files` knows. All its targets are made
    /// with `metadata`: the flags, environment and tools of the build.
    #[expect(clippy::needless_pass_by_value, reason = "it belongs to the cache from now on")]
    pub fn new(
        store: Arc<dyn Store>,
        files: Arc<FileStates>,
        namespace: Namespace,
        metadata: ActionMetadata,
    ) -> Self {
        Self::with(store, None, files, namespace, &metadata)
    }

    /// As [`new`](Self::new), with a store that says where a hit [came from](Hit::origin).
    #[expect(clippy::needless_pass_by_value, reason = "it belongs to the cache from now on")]
    pub fn over(
        chain: Arc<Coordinator>,
        files: Arc<FileStates>,
        namespace: Namespace,
        metadata: ActionMetadata,
    ) -> Self {
        Self::with(Arc::clone(&chain) as _, Some(chain), files, namespace, &metadata)
    }

    fn with(
        store: Arc<dyn Store>,
        chain: Option<Arc<Coordinator>>,
        files: Arc<FileStates>,
        namespace: Namespace,
        metadata: &ActionMetadata,
    ) -> Self {
        let ledger = Arc::new(Ledger { store, chain, files, namespace, kind: KIND, keep_outputs: true });
        Self { ledger, metadata: metadata.recorded(), counters: Counters::default() }
    }

    /// Returns the files of the checkout.
    pub fn files(&self) -> &Arc<FileStates> {
        &self.ledger.files
    }

    /// Returns whether the target need not be made again.
    ///
    /// # Cancel safety
    /// Dropping the future changes nothing.
    pub async fn is_cached(&self, target: &TargetId, sources: &[TreePath], deps: &[TargetDep]) -> bool {
        self.look_up(target, sources, deps).await.is_ok()
    }

    /// Returns what was made if the target need not be made again, or why it has to.
    ///
    /// # Errors
    /// The reason of the miss.
    ///
    /// # Cancel safety
    /// Dropping the future changes nothing.
    pub async fn look_up(
        &self,
        target: &TargetId,
        sources: &[TreePath],
        deps: &[TargetDep],
    ) -> Result<Hit, Miss> {
        let result = self.find_one(target, sources, deps).await;
        self.counters.looked_up(KIND, &result);
        result
    }

    /// Looks the target up, and puts those of its outputs into the tree that are not there as they were made. What cannot be
    /// restored is a miss, and the tree is as it was then.
    ///
    /// The hit tells what was found: whether it [was in place](Hit::is_in_place), or had to be restored.
    ///
    /// # Errors
    /// The reason of the miss.
    ///
    /// # Cancel safety
    /// Dropping the future leaves the tree as it was, or with all outputs in place.
    pub async fn reuse(
        &self,
        target: &TargetId,
        sources: &[TreePath],
        deps: &[TargetDep],
    ) -> Result<Hit, Miss> {
        let found = self.find_one(target, sources, deps).await;
        let result = self.ledger.put_in_place(found, &self.counters).await;
        self.counters.looked_up(KIND, &result);
        result
    }

    async fn find_one(
        &self,
        target: &TargetId,
        sources: &[TreePath],
        deps: &[TargetDep],
    ) -> Result<Hit, Miss> {
        let request =
            TargetRequest { target: target.clone(), sources: sources.to_vec(), deps: deps.to_vec() };
        let (mut results, _) = self.find(&[request]).await;
        results.pop().unwrap_or(Err(Miss::Absent))
    }

    /// Answers all of `requests` with one look at each distinct file, on all of rayon's threads, and as few round trips to
    /// the store as it allows.
    ///
    /// # Cancel safety
    /// Dropping the future changes nothing.
    pub async fn batch_validate(&self, requests: &[TargetRequest]) -> BatchReport {
        let (results, paths) = self.find(requests).await;
        for result in &results {
            self.counters.looked_up(KIND, result);
        }
        BatchReport::new(results, paths)
    }

    /// Answers all of `requests`, and tells how many paths were looked at.
    async fn find(&self, requests: &[TargetRequest]) -> (Vec<Result<Hit, Miss>>, usize) {
        let last = requests.iter().map(|request| self.last(&request.target, &request.deps)).collect();
        // Mostly, nothing has changed since the last state: then its record says all, and no key is needed.
        let is_last =
            |at: usize, meta: &EntryMeta| same_paths(&requests[at].sources, &meta.dependencies.files);
        let Some((proved, view)) = self.ledger.prove(last, is_last, View::default()).await else {
            let why = "checking was interrupted".to_owned();
            return (vec![Err(Miss::StoreFailed { why }); requests.len()], 0);
        };
        let mut results = Vec::with_capacity(requests.len());
        let mut open = Vec::new();
        for (request, proved) in requests.iter().zip(proved) {
            match proved {
                Proved::Hit(hit) => results.push(Ok(hit)),
                Proved::Open(undecided) => {
                    let (last, wanted) = *undecided;
                    open.push(Open { at: results.len(), request, last: last.ok(), wanted });
                    results.push(Err(Miss::Absent));
                }
            }
        }
        self.ledger.find_misplaced(&mut results).await;
        let paths = self.decide(open, view, &mut results).await;
        (results, paths)
    }

    /// Answers what is `open`, each at its place in `results`. Returns how many paths were looked at, those of `view` included.
    async fn decide(&self, open: Vec<Open<'_>>, mut view: View, results: &mut [Result<Hit, Miss>]) -> usize {
        if open.is_empty() {
            return view.len();
        }
        let mut sources: HashMap<u32, Vec<Claim>> = HashMap::new();
        for Open { request, last, .. } in &open {
            for path in &request.sources {
                sources.entry(view.add(path.anchor, &path.path)).or_default();
            }
            for file in last.iter().flat_map(|(_, meta, _)| &meta.dependencies.files) {
                let claims = view.number(&file.path).and_then(|number| sources.get_mut(&number));
                if let Some(claims) = claims {
                    claims.extend(claim(file));
                }
            }
        }
        let files = Arc::clone(&self.ledger.files);
        let looked = offload(move || {
            files.look(&mut view);
            files.resolve(&mut view, sources);
            view
        });
        let view = looked.await.unwrap_or_default();
        // What cannot be read has no key.
        let ask = |open: &Open<'_>| {
            let states = states(&open.request.sources, &view)?;
            Ok(self.wanted(&open.request.target, &states, &open.request.deps))
        };
        let asked: Vec<Result<Wanted, Miss>> = open.par_iter().map(ask).collect();
        let (mut with_key, mut wanted) = (Vec::new(), Vec::new());
        for (open, asked) in open.into_iter().zip(asked) {
            match asked {
                Ok(asked) => {
                    wanted.push(asked);
                    with_key.push(open);
                }
                Err(miss) => results[open.at] = Err(miss),
            }
        }
        let (answers, view) = self.ledger.examine(wanted, view).await;
        for (open, answer) in with_key.into_iter().zip(answers) {
            results[open.at] = match answer {
                Err(Miss::Absent) => Err(open.reason(&view).unwrap_or(Miss::Absent)),
                answer => answer,
            };
        }
        view.len()
    }

    /// Records that the target was made.
    ///
    /// # Errors
    /// If a source is not as it was before, an output is missing or cannot be read, or the store refuses. A build can go on
    /// as if nothing had happened.
    ///
    /// # Cancel safety
    /// Dropping the future leaves the old record or the new one.
    pub async fn update(&self, build: &TargetBuild) -> Result<Recording, RecordError> {
        let states: Vec<_> = build.sources.iter().map(|file| (&file.path, file.state)).collect();
        let wanted = self.wanted(&build.target, &states, &build.deps);
        let execution = Execution {
            wanted: &wanted,
            inputs: &build.sources,
            outputs: &build.outputs,
            success: true,
            cost_ms: build.cost_ms,
        };
        let recording = self.ledger.record(execution).await?;
        self.ledger.copy(&wanted, &self.last(&build.target, &build.deps)).await?;
        self.counters.recorded(&recording);
        Ok(recording)
    }

    /// Puts the outputs of a hit into the tree that are not there as they were made: all of them or none.
    ///
    /// # Errors
    /// If the content is not in the store any more, something is in the way, or the system refuses. The tree is as it was
    /// then, and the target has to be made again.
    ///
    /// # Cancel safety
    /// Dropping the future leaves the tree as it was: files are put in their places in one step without an await.
    pub async fn restore(&self, hit: &Hit) -> Result<(), RestoreError> {
        restore(&*self.ledger.store, self.ledger.files.base(), hit).await?;
        self.counters.restored();
        Ok(())
    }

    /// Waits until everything recorded has arrived in all tiers of the store. What [`update`](Self::update) acknowledged is in
    /// the store already, and dropping the cache without this loses none of it.
    ///
    /// # Errors
    /// As [`flush`](Store::flush) of the store.
    ///
    /// # Cancel safety
    /// Dropping the future ends the wait.
    pub async fn flush(&self) -> Result<()> {
        self.ledger.store.flush().await
    }

    /// Closes the store, for all who share it. Afterwards, everything is a miss. Closing twice is fine.
    ///
    /// # Errors
    /// As [`close`](Store::close) of the store.
    ///
    /// # Cancel safety
    /// Close again to do the rest.
    pub async fn close(&self) -> Result<()> {
        self.ledger.store.close().await
    }

    /// Keeps `limits` for what is recorded here, its outputs included: what was not used for longest goes, or what is oldest
    /// if the store does not know when it was used. What belongs to others stays, so this is for limits of its own, besides
    /// those of the store; call it when a build is over, before the store is [collected](Store::gc).
    ///
    /// The last state of each target, which explains misses, counts as one more record.
    ///
    /// Costs a listing of the namespace. Content that no record names any more goes as well, unless it is younger than an
    /// hour and may belong to a recording that is under way.
    ///
    /// # Errors
    /// If the store cannot list or refuses. What was removed stays removed.
    ///
    /// # Cancel safety
    /// Dropping the future leaves what was not removed yet.
    pub async fn trim(&self, limits: &Limits) -> Result<Trimmed> {
        self.ledger.trim(limits).await
    }

    /// Returns what had different outputs in executions with equal inputs, flags, environment and tool, the most various
    /// first; of more than 1000, those.
    ///
    /// # Errors
    /// If the store cannot list or tell.
    ///
    /// # Cancel safety
    /// Dropping the future changes nothing.
    pub async fn nondeterministic(&self) -> Result<Vec<Nondeterministic>> {
        self.ledger.nondeterministic().await
    }

    /// Returns what was done so far.
    pub fn stats(&self) -> RecordStats {
        self.counters.stats()
    }

    fn wanted(&self, target: &TargetId, states: &[(&TreePath, FileState)], deps: &[TargetDep]) -> Wanted {
        let last = self.last(target, deps);
        let mut states = states.to_vec();
        states.sort_unstable();
        states.dedup();
        let key = KeyBuilder::new(&self.ledger.namespace, KIND).text(&last.name);
        let key = key.list(&states, |key, (path, state)| {
            let key = key.number(path.anchor as u64).bytes(path.path.as_bytes());
            match state {
                FileState::Absent => key.absent(),
                FileState::File { digest, executable } => key.digest(digest).number(u64::from(*executable)),
                FileState::Symlink { target } => key.text("symlink").digest(target),
                FileState::Directory => key.text("directory"),
            }
        });
        let key = key.list(&last.upstream, |key, (name, outputs)| key.text(name).digest(outputs));
        let key = key.digest(&last.metadata.flags);
        let key = key.list(&last.metadata.env, |key, env| {
            let key = key.text(&env.name);
            env.value.map_or_else(|| key.clone().absent(), |value| key.clone().digest(&value))
        });
        let key = last.metadata.tool.map_or_else(|| key.clone().absent(), |tool| key.clone().digest(&tool));
        Wanted { key: key.finish(), ..last }
    }

    /// Returns where the last state of the target is.
    fn last(&self, target: &TargetId, deps: &[TargetDep]) -> Wanted {
        let mut upstream: Vec<(String, Digest)> =
            deps.iter().map(|dep| (dep.target.to_string(), dep.outputs)).collect();
        upstream.sort_unstable();
        upstream.dedup();
        let name = target.to_string();
        let key: Key = KeyBuilder::new(&self.ledger.namespace, LAST).text(&name).finish();
        Wanted { key, name, metadata: self.metadata.clone(), upstream }
    }
}

/// A request that the last record of its target does not answer.
struct Open<'a> {
    at: usize,
    request: &'a TargetRequest,
    /// The last record, if there is one.
    last: Option<(Record, EntryMeta, Origin)>,
    /// Where that is, and what is compared with it.
    wanted: Wanted,
}

impl Open<'_> {
    /// Returns what changed since the last state of the target.
    fn reason(&self, view: &View) -> Option<Miss> {
        let (record, meta, _) = self.last.as_ref()?;
        let then = &meta.dependencies.files;
        let now: HashSet<&TreePath> = self.request.sources.iter().collect();
        let former: HashSet<&TreePath> = then.iter().map(|file| &file.path).collect();
        let reason = self.wanted.metadata.differs(&record.flags, meta);
        reason
            .or_else(|| {
                let target = differing_upstream(&record.upstream, &self.wanted.upstream)?;
                Some(Miss::DependencyChanged { target })
            })
            .or_else(|| then.iter().find_map(|file| source_changed(file, &now, view)))
            .or_else(|| {
                let path = now.difference(&former).min().map(|path| (*path).clone())?;
                Some(Miss::InputAdded { path })
            })
    }
}

/// Returns whether `sources` are the paths of `files`, in any order.
fn same_paths(sources: &[TreePath], files: &[FileDependency]) -> bool {
    let in_order = || sources.iter().zip(files).all(|(source, file)| *source == file.path);
    if sources.len() == files.len() && in_order() {
        return true;
    }
    let mut sources: Vec<&TreePath> = sources.iter().collect();
    let mut files: Vec<&TreePath> = files.iter().map(|file| &file.path).collect();
    for paths in [&mut sources, &mut files] {
        paths.sort_unstable();
        paths.dedup();
    }
    sources == files
}

/// Returns what is at each of `sources`.
fn states<'a>(sources: &'a [TreePath], view: &View) -> Result<Vec<(&'a TreePath, FileState)>, Miss> {
    let state = |path: &'a TreePath| match view.at(path) {
        Some(Ok(seen)) => Ok((path, seen.behind)),
        Some(Err(error)) => Err(Miss::InputUnreadable { path: path.clone(), why: error.to_string() }),
        None => Err(Miss::InputUnreadable { path: path.clone(), why: "nobody looked".to_owned() }),
    };
    sources.iter().map(state).collect()
}

/// Returns how a former source differs now.
fn source_changed(then: &FileDependency, sources: &HashSet<&TreePath>, view: &View) -> Option<Miss> {
    if !sources.contains(&then.path) {
        return Some(Miss::InputRemoved { path: then.path.clone() });
    }
    crate::action::changed(then, view)
}

//! Whether what an entry was computed from is as it was.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use cache_core::stat::Stat;
use cache_core::{FileDependency, FileState, Key, TreePath};
use rayon::prelude::*;

use super::answer::Invalidation;
use super::cache::Inner;
use super::graph::Graph;
use super::state::State;
use super::trace::{Durability, Trace, Validation};
use crate::action::{Claim, FileStates, View, changed, is_gone, offload};

/// How many entries a store is asked for at once.
const FETCH_BATCH: usize = 1000;
/// How many entries that nobody listed are looked for in one check. Beyond, the check fails.
const MAX_FETCHED: usize = 1 << 16;

/// What a check found.
#[derive(Debug)]
pub(super) enum Verdict {
    Valid,
    Invalid(Invalidation),
    /// Something was reported meanwhile.
    Restless,
}

/// What has to be looked at, to know about one entry.
#[derive(Debug)]
struct Plan {
    root: u32,
    /// When it was made: what is put in doubt later is not proved by it.
    revision: u64,
    /// Entries in doubt, with the files to look at.
    suspects: Vec<(u32, Validation, Vec<FileDependency>)>,
    /// Entries that were computed from another result than there is now, and from which.
    outdated: Vec<(u32, u32)>,
    /// Entries that were computed from one that is not known, and from which.
    orphans: Vec<(u32, Key)>,
}

impl Inner {
    /// Finds out whether the entry under `key` is valid, and drops what is found not to be. Entries that are fresh are
    /// not looked at, unless all are to be looked at again.
    pub(super) async fn check(&self, key: &Key, again: bool) -> Verdict {
        let mut fetched = HashSet::new();
        let plan = loop {
            let (plan, drops) = {
                let mut state = self.state();
                let Some(root) = state.graph.find_known(key) else { return Verdict::Restless };
                (plan(&mut state, root, again), state.drops)
            };
            let missing: Vec<Key> =
                plan.orphans.iter().map(|(_, key)| *key).filter(|key| fetched.insert(*key)).collect();
            if missing.is_empty() || fetched.len() > MAX_FETCHED {
                break plan;
            }
            if !self.adopt_all(&missing, drops).await {
                return Verdict::Restless;
            }
        };
        if plan.suspects.is_empty() {
            return Verdict::Valid;
        }
        let found = if plan.suspects.iter().all(|(_, _, files)| files.is_empty()) {
            Vec::new()
        } else {
            let files = Arc::clone(&self.files);
            let suspects: Vec<_> = plan
                .suspects
                .iter()
                .map(|(id, validation, files)| (*id, *validation, files.clone()))
                .collect();
            let looked = offload(move || differing(&files, &suspects)).await;
            let Some(found) = looked else { return Verdict::Restless };
            found
        };
        conclude(&mut self.state(), &plan, found)
    }

    /// Takes notice of those of `keys` that are in the store. Returns whether nothing was dropped meanwhile.
    async fn adopt_all(&self, keys: &[Key], drops: u64) -> bool {
        for keys in keys.chunks(FETCH_BATCH) {
            // What cannot be told is not known, and that makes a miss.
            let Ok(entries) = self.store.get_many(keys).await else { continue };
            let mut state = self.state();
            if state.drops != drops {
                return false;
            }
            for (key, entry) in keys.iter().zip(entries) {
                let trace = entry.and_then(|entry| Trace::of_meta(entry.meta, &self.namespace));
                let is_dropped = state.removals.dropped_by(key).is_some();
                if let Some(trace) = trace.filter(|_| !is_dropped && state.graph.find_known(key).is_none()) {
                    state.insert(*key, &trace, false);
                }
            }
        }
        true
    }
}

/// Returns what has to be looked at to know about `root`: it, and what it was computed from, as far as that is in doubt.
fn plan(state: &mut State, root: u32, again: bool) -> Plan {
    let State { graph, stats, .. } = state;
    let revision = graph.revision();
    let mut plan = Plan { root, revision, suspects: Vec::new(), outdated: Vec::new(), orphans: Vec::new() };
    let mut seen = HashSet::from([root]);
    let mut next = vec![root];
    while let Some(id) = next.pop() {
        stats.visited += 1;
        let is_fresh = graph.is_fresh(id);
        if is_fresh && !again {
            continue;
        }
        if is_fresh && graph.durability(id) > Durability::Workspace {
            stats.skipped_by_durability += 1;
            continue;
        }
        let validation = graph.validation(id);
        let needs_files = !(is_fresh && validation == Validation::Dependencies);
        let files: Vec<FileDependency> = if needs_files { graph.files(id).collect() } else { Vec::new() };
        stats.files_checked += files.len() as u64;
        plan.suspects.push((id, validation, files));
        for (upstream, used) in graph.upstreams(id) {
            if !graph.is_known(upstream) {
                plan.orphans.push((id, graph.key(upstream)));
                continue;
            }
            if graph.result(upstream) != used {
                plan.outdated.push((id, upstream));
            }
            if seen.insert(upstream) {
                next.push(upstream);
            }
        }
    }
    plan
}

/// Returns which of `suspects` have a file that is not what it was.
fn differing(
    files: &FileStates,
    suspects: &[(u32, Validation, Vec<FileDependency>)],
) -> Vec<(u32, Invalidation)> {
    let mut wanted: HashMap<TreePath, Vec<Claim>> = HashMap::new();
    let by_stat =
        |validation: Validation, file: &FileDependency| file.stat.filter(|_| validation == Validation::Mtime);
    for (_, validation, dependencies) in suspects {
        for file in dependencies.iter().filter(|file| by_stat(*validation, file).is_none()) {
            let claims = wanted.entry(file.path.clone()).or_default();
            if let (FileState::File { digest, .. }, Some(stat)) = (file.state, file.stat)
                && !claims.contains(&(stat, digest))
            {
                claims.push((stat, digest));
            }
        }
    }
    let view = files.view(wanted);
    let find = |(id, validation, dependencies): &(u32, Validation, Vec<FileDependency>)| {
        let why = dependencies.iter().find_map(|file| {
            if by_stat(*validation, file).is_some() { restat(files, file) } else { content(file, &view) }
        });
        why.map(|why| (*id, why))
    };
    suspects.par_iter().filter_map(find).collect()
}

/// Returns how `file` differs from what it was, by its content.
pub(super) fn content(file: &FileDependency, view: &View) -> Option<Invalidation> {
    changed(file, view).map(|miss| Invalidation::of_file(miss, &file.path))
}

/// Returns how `file` differs from what it was, by its `stat` alone. That was kept only because an equal one proves equal
/// content.
fn restat(files: &FileStates, file: &FileDependency) -> Option<Invalidation> {
    let path = || file.path.clone();
    let unreadable = |why: String| Some(Invalidation::FileUnreadable { path: path(), why });
    let native = match file.path.locate(files.base()) {
        Ok(native) => native,
        Err(error) => return unreadable(error.to_string()),
    };
    match native.metadata() {
        Ok(metadata) if Some(Stat::new(&metadata).fingerprint) == file.stat => None,
        Ok(_) => Some(Invalidation::FileChanged { path: path() }),
        Err(error) if is_gone(&error) => Some(Invalidation::FileRemoved { path: path() }),
        Err(error) => unreadable(format!("cannot read {}: {error}", native.display())),
    }
}

/// Makes the suspects fresh that are valid, drops those that are known not to be, and says what the root is.
///
/// What is valid is the greatest fixed point: entries that depend on each other are valid together, unless something
/// says that one of them is not. An entry that is only computed from one which is not valid stays: the other may have
/// the same result again.
fn conclude(state: &mut State, plan: &Plan, found: Vec<(u32, Invalidation)>) -> Verdict {
    let graph = &state.graph;
    let is_restless = |id: u32| graph.is_touched_since(id, plan.revision);
    if plan.suspects.iter().any(|(id, ..)| is_restless(*id)) {
        return Verdict::Restless;
    }
    let mut invalid: HashMap<u32, Invalidation> = found.into_iter().collect();
    let changed: Vec<u32> = invalid.keys().copied().collect();
    for (id, key) in &plan.orphans {
        invalid.entry(*id).or_insert(Invalidation::UpstreamInvalid { key: *key });
    }
    spread(graph, &mut invalid, plan);
    let mut outdated = Vec::new();
    for (id, upstream) in &plan.outdated {
        // If the one upstream is not valid either, it may get the result again that was used.
        if !invalid.contains_key(id) {
            invalid.insert(*id, Invalidation::UpstreamChanged { key: graph.key(*upstream) });
            outdated.push((*id, *upstream));
        }
    }
    spread(graph, &mut invalid, plan);
    outdated.retain(|(_, upstream)| !invalid.contains_key(upstream));
    let verdict = match invalid.get(&plan.root) {
        Some(why) => Verdict::Invalid(why.clone()),
        None => Verdict::Valid,
    };
    let valid = plan.suspects.iter().map(|(id, ..)| *id).filter(|id| !invalid.contains_key(id));
    state.stats.cut_offs += state.graph.verified(valid, plan.revision);
    for id in changed.into_iter().chain(outdated.into_iter().map(|(id, _)| id)) {
        if let Some(why) = invalid.remove(&id)
            && state.graph.is_known(id)
        {
            state.drop_entry(id, why);
        }
    }
    verdict
}

/// Adds to `invalid` those suspects that were computed from invalid ones.
fn spread(graph: &Graph, invalid: &mut HashMap<u32, Invalidation>, plan: &Plan) {
    let suspects: HashSet<u32> = plan.suspects.iter().map(|(id, ..)| *id).collect();
    let mut next: Vec<u32> = invalid.keys().copied().collect();
    while let Some(id) = next.pop() {
        let key = graph.key(id);
        for dependant in graph.dependants(id).filter(|id| suspects.contains(id)) {
            invalid.entry(dependant).or_insert_with(|| {
                next.push(dependant);
                Invalidation::UpstreamInvalid { key }
            });
        }
    }
}

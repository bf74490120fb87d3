//! Whether the tree is as it was when something was recorded.

use std::collections::HashMap;
use std::ops::Range;

use cache_core::{Anchor, Digest, EntryMeta, FileDependency, FileState, Output, RelPath, TreePath};
use rayon::prelude::*;

use super::files::FileStates;
use super::hit::Hit;
use super::ledger::Wanted;
use super::miss::Miss;
use super::outputs::{self, is_right};
use super::record::Record;
use super::view::{Claim, Sight, View};
use crate::Origin;

/// A record that was found, with what it was made from and where it was.
pub(crate) type Found = Result<(Record, EntryMeta, Origin), Miss>;

/// What became of a question for which nothing was read.
#[derive(Debug)]
pub(crate) enum Proved {
    /// All that was recorded is still so: stats that prove contents are equal, outputs are known.
    Hit(Hit),
    /// It takes a closer look.
    Open(Box<(Found, Wanted)>),
}

impl Proved {
    /// Returns what was found, if that is not decided.
    pub(super) fn open(&self) -> Option<&Found> {
        match self {
            Self::Hit(_) => None,
            Self::Open(open) => Some(&open.0),
        }
    }
}

/// Decides those of `asked` that can be decided without reading a file. Only what is to be proved is looked at.
pub(super) fn prove(files: &FileStates, asked: Vec<(Found, Wanted, bool)>, view: &mut View) -> Vec<Proved> {
    let mut numbers = Vec::new();
    let mut number = |(found, wanted, fits): (Found, Wanted, bool)| {
        let first = numbers.len();
        if let Ok((record, meta, _)) = &found
            && fits
        {
            let inputs = meta.dependencies.files.iter().map(|file| (file.path.anchor, &file.path.path));
            let outputs = record.outputs.iter().map(|output| (Anchor::Base, &output.path));
            numbers.extend(inputs.chain(outputs).map(|(anchor, path)| view.add(anchor, path)));
        }
        (found, wanted, first..numbers.len())
    };
    let numbered: Vec<(Found, Wanted, Range<usize>)> = asked.into_iter().map(&mut number).collect();
    files.look(view);
    let (view, numbers) = (&*view, &numbers);
    let decide = |(found, wanted, range): (Found, Wanted, Range<usize>)| match found {
        Ok((record, meta, origin)) => match proof(files, &record, &meta, &wanted, &numbers[range], view) {
            Some(misplaced) => Proved::Hit(hit((record, meta, origin), misplaced)),
            None => Proved::Open(Box::new((Ok((record, meta, origin)), wanted))),
        },
        Err(miss) => Proved::Open(Box::new((Err(miss), wanted))),
    };
    numbered.into_par_iter().map(decide).collect()
}

/// Returns which outputs are not in the tree, if it is proved that everything else is as it was. `numbers` are those of the
/// inputs and outputs, or none.
fn proof(
    files: &FileStates,
    record: &Record,
    meta: &EntryMeta,
    wanted: &Wanted,
    numbers: &[u32],
    view: &View,
) -> Option<Vec<usize>> {
    let inputs = &meta.dependencies.files;
    if !record.success
        || numbers.len() != inputs.len() + record.outputs.len()
        || wanted.metadata.differs(&record.flags, meta).is_some()
        || differing_upstream(&record.upstream, &wanted.upstream).is_some()
    {
        return None;
    }
    let (inputs_at, outputs_at) = numbers.split_at(inputs.len());
    let is_same = |(input, &number): (&FileDependency, &u32)| match (input.state, view.sight(number)) {
        (FileState::File { digest, executable }, Some(Sight::File(file))) => {
            let is_known = || file.digest.get() == Some(&digest);
            executable == file.executable
                && if input.stat == Some(file.stat) { file.prove(digest) } else { is_known() }
        }
        (state, Some(sight)) => matches!(sight.seen(), Some(Ok(seen)) if seen.behind == state),
        (_, None) => false,
    };
    if !inputs.iter().zip(inputs_at).all(is_same) {
        return None;
    }
    let mut misplaced = Vec::new();
    for (at, (output, &number)) in record.outputs.iter().zip(outputs_at).enumerate() {
        let sight = view.sight(number)?;
        if let Sight::File(file) = sight
            && file.digest.get().is_none()
        {
            // Nothing is claimed about outputs; mostly, they are remembered.
            file.prove(files.known(file.stat)?);
        }
        if !matches!(sight.seen()?, Ok(seen) if is_right(output, seen.own)) {
            misplaced.push(at);
        }
    }
    Some(misplaced)
}

/// Finds out what is at all paths that `found` names, by reading where no stat proves it.
pub(super) fn look<'a>(files: &FileStates, found: impl Iterator<Item = &'a Found>, view: &mut View) {
    let mut wanted: HashMap<u32, Vec<Claim>> = HashMap::new();
    for (record, meta, _) in found.flatten() {
        for file in &meta.dependencies.files {
            let claims = wanted.entry(view.add(file.path.anchor, &file.path.path)).or_default();
            claims.extend(claim(file).filter(|claim| !claims.contains(claim)));
        }
        for output in &record.outputs {
            wanted.entry(view.add(Anchor::Base, &output.path)).or_default();
        }
    }
    files.look(view);
    files.resolve(view, wanted);
}

/// Returns the paths of `inputs`, and what was recorded about them.
pub(super) fn claims(inputs: &[FileDependency]) -> HashMap<TreePath, Vec<Claim>> {
    let mut claims: HashMap<TreePath, Vec<Claim>> = HashMap::new();
    for file in inputs {
        claims.entry(file.path.clone()).or_default().extend(claim(file));
    }
    claims
}

pub(crate) fn claim(file: &FileDependency) -> Option<Claim> {
    let FileState::File { digest, .. } = file.state else { return None };
    Some((file.stat?, digest))
}

/// Returns how `input` differs from what was recorded.
pub(crate) fn changed(input: &FileDependency, view: &View) -> Option<Miss> {
    let path = || input.path.clone();
    match (input.state, view.at(&input.path)) {
        (state, Some(Ok(seen))) if state == seen.behind => None,
        (FileState::Absent, Some(Ok(_))) => Some(Miss::InputAdded { path: path() }),
        (_, Some(Ok(seen))) if seen.behind == FileState::Absent => Some(Miss::InputRemoved { path: path() }),
        (_, Some(Ok(_))) => Some(Miss::InputChanged { path: path() }),
        (_, Some(Err(error))) => Some(Miss::InputUnreadable { path: path(), why: error.to_string() }),
        (_, None) => Some(Miss::InputUnreadable { path: path(), why: "nobody looked".to_owned() }),
    }
}

/// Returns a hit if everything is as it was recorded. Whether the outputs that are not in the tree are in the store is
/// for the caller to find out.
pub(super) fn check(
    (record, meta, origin): (Record, EntryMeta, Origin),
    wanted: &Wanted,
    view: &View,
) -> Result<Hit, Miss> {
    if let Some(miss) = wanted.metadata.differs(&record.flags, &meta) {
        return Err(miss);
    }
    if let Some(target) = differing_upstream(&record.upstream, &wanted.upstream) {
        return Err(Miss::DependencyChanged { target });
    }
    if let Some(miss) = meta.dependencies.files.iter().find_map(|input| changed(input, view)) {
        return Err(miss);
    }
    // Last, so that it is the reason only if nothing has changed since it failed.
    if !record.success {
        return Err(Miss::Failed);
    }
    let is_in_place = |output: &Output| {
        let seen = view.at_path(Anchor::Base, &output.path);
        matches!(seen, Some(Ok(seen)) if is_right(output, seen.own))
    };
    let misplaced = (0..record.outputs.len()).filter(|&at| !is_in_place(&record.outputs[at])).collect();
    Ok(hit((record, meta, origin), misplaced))
}

fn hit((record, meta, origin): (Record, EntryMeta, Origin), misplaced: Vec<usize>) -> Hit {
    Hit {
        misplaced,
        outputs: record.outputs,
        history: record.history,
        created: meta.created,
        cost_ms: meta.cost_ms,
        origin,
    }
}

/// Returns the first of the targets that something is made from that is not the same.
pub(crate) fn differing_upstream(then: &[(String, Digest)], now: &[(String, Digest)]) -> Option<String> {
    let other = now.iter().find(|upstream| !then.contains(upstream));
    let gone = || then.iter().find(|upstream| !now.contains(upstream));
    other.or_else(gone).map(|(target, _)| target.clone())
}

/// Returns the paths at which there are different outputs.
pub(super) fn differing(before: &[Output], now: &[Output]) -> Vec<RelPath> {
    let alone = |a: &[Output], b: &[Output]| -> Vec<RelPath> {
        let b: HashMap<&RelPath, Digest> =
            b.iter().map(|output| (&output.path, outputs::digest(std::slice::from_ref(output)))).collect();
        let differs =
            |output: &&Output| b.get(&output.path) != Some(&outputs::digest(std::slice::from_ref(*output)));
        a.iter().filter(differs).map(|output| output.path.clone()).collect()
    };
    let mut paths = [alone(before, now), alone(now, before)].concat();
    paths.sort_unstable();
    paths.dedup();
    paths
}

//! Whether the tree is as it was when something was recorded.

use std::collections::HashMap;

use cache_core::{Digest, EntryMeta, FileDependency, FileState, Output, RelPath};

use super::files::{Claim, FileStates, Unseen, View};
use super::hit::Hit;
use super::ledger::Wanted;
use super::miss::Miss;
use super::outputs::{self, in_tree, is_right};
use super::record::Record;
use crate::Origin;

/// A record that was found, with what it was made from and where it was.
pub(crate) type Found = Result<(Record, EntryMeta, Origin), Miss>;

/// Returns what is at all paths that `found` names, and all that `view` shows already.
pub(super) fn look(files: &FileStates, found: &[Found], mut view: View) -> View {
    let mut unseen = Unseen::default();
    for (record, meta, _) in found.iter().flatten() {
        for file in meta.dependencies.files.iter().filter(|file| view.at(&file.path).is_none()) {
            unseen.add(&file.path, claim(file));
        }
        let outputs = record.outputs.iter().map(|output| in_tree(&output.path));
        for path in outputs.filter(|path| view.at(path).is_none()) {
            unseen.add(&path, None);
        }
    }
    view.extend(files.view(unseen));
    view
}

/// Returns the paths of `inputs`, and what was recorded about them.
pub(super) fn claims(inputs: &[FileDependency]) -> Unseen {
    let mut unseen = Unseen::default();
    for file in inputs {
        unseen.add(&file.path, claim(file));
    }
    unseen
}

fn claim(file: &FileDependency) -> Option<Claim> {
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
    let is_in_place = |output: &Output| matches!(view.at(&in_tree(&output.path)), Some(Ok(seen)) if is_right(output, seen.own));
    let misplaced = (0..record.outputs.len()).filter(|&at| !is_in_place(&record.outputs[at])).collect();
    Ok(Hit {
        misplaced,
        outputs: record.outputs,
        history: record.history,
        created: meta.created,
        cost_ms: meta.cost_ms,
        origin,
    })
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

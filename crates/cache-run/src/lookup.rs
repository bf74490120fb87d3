//! Finding the stored result of a run.

use cache_core::{Digest, Entry, Key, KeyBuilder};
use cache_fs::Lookup;

use crate::discovered::Change;
use crate::entries::Entries;
use crate::manifest::{Difference, HIDDEN};
use crate::plan::Plan;
use crate::report::Reason;
use crate::spec::Spec;
use crate::value::{self, DepSet, Index, KIND_INDEX, KIND_RESULT, RunResult};

/// A stored result.
#[derive(Debug)]
pub(crate) struct Hit {
    pub(crate) entry: Entry,
    pub(crate) result: RunResult,
}

/// What came of looking.
#[derive(Debug)]
pub(crate) enum Found {
    /// A result that is good.
    Fresh(Box<Hit>),
    /// A result whose time is over, and which the user accepts.
    Stale(Box<Hit>),
    /// Nothing. The reason is known if the store or the recorded files tell; else the journal is asked.
    Miss(Option<Reason>),
}

/// Looks the run of `plan` up, in one step or, by way of what earlier runs discovered, in two.
pub(crate) fn find(entries: Entries<'_>, spec: &Spec, plan: &mut Plan<'_>) -> Found {
    let entry = match entries.get(&plan.key) {
        Ok(Lookup::Hit(entry)) => entry,
        Ok(Lookup::Miss(miss)) => {
            let found = Reason::of_miss(miss, now(), entries.store);
            return stale(entries, spec, &plan.key).unwrap_or(Found::Miss(found));
        }
        Err(error) => return Found::Miss(Some(Reason::Unknown(error.to_string()))),
    };
    if entry.meta.kind != KIND_INDEX {
        return judge(spec, entry);
    }
    let Some(index) = value::decode::<Index>(&entry.value) else {
        return Found::Miss(Some(Reason::Corrupt));
    };
    let index = if entries.far.is_some() { Index { sets: sound_sets(plan, index) } } else { index };
    match matching(&index, plan) {
        Err(reason) => Found::Miss(reason),
        Ok(set) => match entries.get(&set.result) {
            Ok(Lookup::Hit(entry)) => judge(spec, entry),
            Ok(Lookup::Miss(miss)) => {
                let reason = Reason::of_miss(miss, now(), entries.store);
                stale(entries, spec, &set.result).unwrap_or(Found::Miss(reason))
            }
            Err(error) => Found::Miss(Some(Reason::Unknown(error.to_string()))),
        },
    }
}

fn now() -> cache_core::Timestamp {
    std::time::SystemTime::now().into()
}

/// Returns the first set that describes the tree as it is, or what differs from the set that was used last.
fn matching<'i>(index: &'i Index, plan: &mut Plan<'_>) -> Result<&'i DepSet, Option<Reason>> {
    let base = base_digest(plan);
    let mut reason = None;
    for set in &index.sets {
        if set.base.is_some_and(|bound| bound != base) {
            reason.get_or_insert_with(|| {
                Reason::Unknown(
                    "the result belongs to another checkout: it contains that checkout's path".to_owned(),
                )
            });
            continue;
        }
        match plan.first_change(set) {
            None => return Ok(set),
            Some(change) => drop(reason.get_or_insert_with(|| Reason::Discovered(vec![difference(change)]))),
        }
    }
    Err(reason)
}

/// Returns those sets of an index from elsewhere that lead where they have to: whoever made it up can only lead to the result
/// of what it describes.
pub(crate) fn sound_sets(plan: &Plan<'_>, mut index: Index) -> Vec<DepSet> {
    index.sets.truncate(Index::MAX_SETS);
    index.sets.retain(|set| result_key(plan, set) == set.result);
    index.sets
}

/// Returns the key of the result that a command gave with these discovered inputs.
pub(crate) fn result_key(plan: &Plan<'_>, set: &DepSet) -> Key {
    let described = value::encode(&(&set.files, &set.env)).unwrap_or_default();
    let key = KeyBuilder::new(&plan.frame.spec.namespace, "run.discovered").key(&plan.key);
    let key = key.digest(&Digest::blake3(&described));
    match &set.base {
        Some(base) => key.digest(base).finish(),
        None => key.absent().finish(),
    }
}

/// Returns what stands for the base directory in a result that contains its path.
pub(crate) fn base_digest(plan: &Plan<'_>) -> Digest {
    Digest::blake3(plan.frame.base.as_os_str().as_encoded_bytes())
}

fn difference(change: Change) -> Difference {
    use cache_core::FileState::Absent;
    let there = |state| (state != Absent).then_some(state);
    match change {
        Change::Env(name) => {
            let hidden = || Some(HIDDEN.to_owned());
            Difference::Env { name, before: hidden(), after: hidden() }
        }
        Change::File { path, before, after } => {
            Difference::File { path, before: there(before), after: after.and_then(there) }
        }
    }
}

fn judge(spec: &Spec, entry: Entry) -> Found {
    let result = (entry.meta.kind == KIND_RESULT).then(|| value::decode::<RunResult>(&entry.value)).flatten();
    let Some(result) = result else { return Found::Miss(Some(Reason::Corrupt)) };
    if !spec.failures.store(result.code) {
        return Found::Miss(Some(Reason::Asked(
            "the stored result is a failure, and --cache-failures does not name it",
        )));
    }
    // The time to live that counts is the shorter one: of the run that stored it, and of the one that asks.
    if let Some(ends) = spec.ttl.map(|ttl| entry.meta.created.plus(ttl))
        && ends <= now()
    {
        let hit = Box::new(Hit { entry, result });
        return if spec.stale {
            Found::Stale(hit)
        } else {
            Found::Miss(Some(Reason::Expired { ago: now().since(ends) }))
        };
    }
    Found::Fresh(Box::new(Hit { entry, result }))
}

fn stale(entries: Entries<'_>, spec: &Spec, key: &Key) -> Option<Found> {
    if !spec.stale {
        return None;
    }
    let entry = entries.get_stale(key).ok()??;
    let result = value::decode::<RunResult>(&entry.value).filter(|_| entry.meta.kind == KIND_RESULT)?;
    spec.failures.store(result.code).then(|| Found::Stale(Box::new(Hit { entry, result })))
}

//! What actions and targets have in common: records in a store, checked against a tree.

use std::collections::HashMap;
use std::sync::Arc;

use cache_core::{
    Dependencies, Digest, Entry, EntryMeta, FileDependency, FileState, Key, MissReason, Namespace, Output,
    PutMode, RelPath, Store, TreePath,
};
use rayon::prelude::*;

use super::check::{self, Found, Proved, changed, check, claims, differing, look};
use super::files::FileStates;
use super::flaky::VARIANTS_TAG;
use super::hit::{Hit, Recording};
use super::metadata::Recorded;
use super::miss::Miss;
use super::outputs::{self, blob, in_tree};
use super::record::Record;
use super::restore::restore;
use super::stats::Counters;
use super::trim::OUTPUTS_TAG;
use super::view::View;
use super::{RecordError, offload};
use crate::{Coordinator, Origin};

/// How many entries or blobs a store is asked for at once: a round trip for each thousand, and bounded memory there.
const BATCH: usize = 1000;
/// Who writes entries.
const WRITER: &str = concat!("vitte-cache ", env!("CARGO_PKG_VERSION"));

/// Where records are, and which tree they are about.
#[derive(Debug)]
pub(crate) struct Ledger {
    pub(crate) store: Arc<dyn Store>,
    /// The store as a chain, if it is one that can say where an entry was.
    pub(crate) chain: Option<Arc<Coordinator>>,
    pub(crate) files: Arc<FileStates>,
    pub(crate) namespace: Namespace,
    /// Kind of its entries.
    pub(crate) kind: &'static str,
    /// Whether the content of outputs is stored.
    pub(crate) keep_outputs: bool,
}

/// What is asked for.
#[derive(Debug)]
pub(crate) struct Wanted {
    pub(crate) key: Key,
    pub(crate) name: String,
    pub(crate) metadata: Recorded,
    /// Targets that it is made from, sorted by name.
    pub(crate) upstream: Vec<(String, Digest)>,
}

/// An execution, to be recorded.
#[derive(Debug)]
pub(crate) struct Execution<'a> {
    pub(crate) wanted: &'a Wanted,
    pub(crate) inputs: &'a [FileDependency],
    pub(crate) outputs: &'a [RelPath],
    pub(crate) success: bool,
    pub(crate) cost_ms: u64,
}

fn decode((entry, origin): (Entry, Origin), kind: &str, wanted: &Wanted) -> Found {
    let record = Record::decode(&entry, kind, &wanted.name).ok_or(Miss::Unreadable)?;
    Ok((record, entry.meta, origin))
}

fn interrupted() -> Miss {
    Miss::StoreFailed { why: "checking was interrupted".to_owned() }
}

impl Ledger {
    /// Returns for each of `wanted` whether it is cached, and `view` with all that was looked at. Each file that `view` does
    /// not show is looked at once.
    pub(crate) async fn examine(&self, wanted: Vec<Wanted>, view: View) -> (Vec<Result<Hit, Miss>>, View) {
        let count = wanted.len();
        let Some((proved, mut view)) = self.prove(wanted, |_, _| true, view).await else {
            return (vec![Err(interrupted()); count], View::default());
        };
        let files = Arc::clone(&self.files);
        let checked = offload(move || {
            look(&files, proved.iter().filter_map(Proved::open), &mut view);
            let check = |proved: Proved| match proved {
                Proved::Hit(hit) => Ok(hit),
                Proved::Open(open) => open.0.and_then(|found| check(found, &open.1, &view)),
            };
            let hits: Vec<Result<Hit, Miss>> = proved.into_par_iter().map(check).collect();
            (hits, view)
        });
        let Some((mut hits, view)) = checked.await else {
            return (vec![Err(interrupted()); count], View::default());
        };
        self.find_misplaced(&mut hits).await;
        (hits, view)
    }

    /// Decides those of `wanted` that can be decided without reading a file, if what was recorded `fits` what is asked with
    /// this index. While the files of some are looked at, the store is asked for the next. Returns nothing if that was
    /// interrupted.
    pub(crate) async fn prove(
        &self,
        wanted: Vec<Wanted>,
        fits: impl Fn(usize, &EntryMeta) -> bool,
        mut view: View,
    ) -> Option<(Vec<Proved>, View)> {
        let mut proved = Vec::with_capacity(wanted.len());
        let mut wanted = wanted.into_iter().enumerate().peekable();
        let mut asked = Vec::new();
        while wanted.peek().is_some() || !asked.is_empty() {
            let (files, kind) = (Arc::clone(&self.files), self.kind);
            let work: Vec<(Result<_, Miss>, Wanted, bool)> = std::mem::take(&mut asked);
            let work = (!work.is_empty()).then(|| {
                let mut view = std::mem::take(&mut view);
                offload(move || {
                    let decode = |(entry, wanted, fits): (Result<_, Miss>, Wanted, bool)| {
                        (entry.and_then(|entry| decode(entry, kind, &wanted)), wanted, fits)
                    };
                    let found = work.into_par_iter().map(decode).collect();
                    (check::prove(&files, found, &mut view), view)
                })
            });
            let next: Vec<(usize, Wanted)> = wanted.by_ref().take(BATCH).collect();
            let keys: Vec<Key> = next.iter().map(|(_, wanted)| wanted.key).collect();
            let entries = self.entries(&keys).await;
            let ask = |(entry, (at, wanted)): (Result<(Entry, Origin), Miss>, _)| {
                let fits = entry.as_ref().is_ok_and(|(entry, _)| fits(at, &entry.meta));
                (entry, wanted, fits)
            };
            asked.extend(entries.into_iter().zip(next).map(ask));
            if let Some(work) = work {
                let (decided, seen) = work.await?;
                proved.extend(decided);
                view = seen;
            }
        }
        Some((proved, view))
    }

    /// Returns what is stored under each of `keys`, at most [`BATCH`].
    async fn entries(&self, keys: &[Key]) -> Vec<Result<(Entry, Origin), Miss>> {
        if keys.is_empty() {
            return Vec::new();
        }
        let entries = match &self.chain {
            Some(chain) => chain.get_many_located(keys).await,
            None => self.store.get_many(keys).await.map(|entries| {
                let unlocated = |entry: Option<Entry>| entry.map(|entry| (entry, Origin::Unknown));
                entries.into_iter().map(unlocated).collect()
            }),
        };
        let mut entries: Vec<Result<(Entry, Origin), Miss>> = match entries {
            Ok(entries) => entries
                .into_iter()
                .zip(keys)
                .map(|(entry, key)| entry.ok_or_else(|| self.absent(key)))
                .collect(),
            Err(error) => vec![Err(Miss::StoreFailed { why: error.to_string() }); keys.len()],
        };
        // A store that answers too little has no more.
        entries.resize_with(keys.len(), || Err(Miss::Absent));
        entries
    }

    /// Returns why there is nothing under `key`.
    fn absent(&self, key: &Key) -> Miss {
        match self.chain.as_ref().and_then(|chain| chain.refusal(key)) {
            Some(MissReason::Unsigned) => Miss::Unsigned,
            Some(MissReason::UnknownSigner) => Miss::UnknownSigner,
            Some(MissReason::Forged) => Miss::Forged,
            _ => Miss::Absent,
        }
    }

    /// Makes misses of hits whose outputs are neither in the tree nor in the store.
    pub(crate) async fn find_misplaced(&self, hits: &mut [Result<Hit, Miss>]) {
        let misplaced = hits.iter().flatten().flat_map(Hit::misplaced);
        let mut digests: Vec<Digest> = misplaced.filter_map(blob).map(|(digest, _)| digest).collect();
        digests.sort_unstable();
        digests.dedup();
        let mut missing = HashMap::new();
        for digests in digests.chunks(BATCH) {
            match self.store.missing(digests).await {
                Ok(lost) => missing.extend(lost.into_iter().map(|digest| (digest, None))),
                Err(error) => {
                    let why = error.to_string();
                    missing.extend(digests.iter().map(|digest| (*digest, Some(why.clone()))));
                }
            }
        }
        if missing.is_empty() {
            return;
        }
        for place in hits {
            let Ok(hit) = place else { continue };
            let lost = hit.misplaced().find_map(|output| Some((output, missing.get(&blob(output)?.0)?)));
            let miss = lost.map(|(output, why)| match why {
                None => Miss::OutputLost { path: in_tree(&output.path) },
                Some(why) => Miss::StoreFailed { why: why.clone() },
            });
            if let Some(miss) = miss {
                *place = Err(miss);
            }
        }
    }

    /// Restores what is not in its place. If that fails, it is a miss.
    pub(crate) async fn put_in_place(
        &self,
        found: Result<Hit, Miss>,
        counters: &Counters,
    ) -> Result<Hit, Miss> {
        let hit = found?;
        if !hit.is_in_place() {
            let restored = restore(&*self.store, self.files.base(), &hit).await;
            restored.map_err(|error| Miss::NotRestored { why: error.to_string() })?;
            counters.restored();
        }
        Ok(hit)
    }

    /// Stores what an execution made and from what, unless an input changed meanwhile.
    pub(crate) async fn record(&self, execution: Execution<'_>) -> Result<Recording, RecordError> {
        let Execution { wanted, inputs, outputs, success, cost_ms } = execution;
        let outputs = if success { self.capture(outputs).await? } else { Vec::new() };
        // After the outputs, so that an action that writes to its own inputs is found out.
        self.check_unchanged(inputs).await?;
        let recorded = &wanted.metadata;
        let mut meta = EntryMeta {
            namespace: self.namespace.clone(),
            kind: self.kind.to_owned(),
            name: wanted.name.clone(),
            created: self.files.clock().now(),
            writer: WRITER.to_owned(),
            cost_ms,
            dependencies: Dependencies {
                files: inputs.to_vec(),
                env: recorded.env.clone(),
                tool: recorded.tool,
                ..Dependencies::default()
            },
            ..EntryMeta::default()
        };
        if success && self.keep_outputs {
            let meta = EntryMeta {
                kind: outputs::KIND.to_owned(),
                dependencies: Dependencies::default(),
                ..meta.clone()
            };
            outputs::keep(&*self.store, &self.files, meta, &outputs).await?;
        }
        let digest = outputs::digest(&outputs);
        let before = self.before(wanted, &meta).await;
        let mut history = before.as_ref().map(|before| before.history.clone()).unwrap_or_default();
        history.add(success.then_some(digest));
        // For those who list: they do not see the value.
        if success && self.keep_outputs {
            meta.tags.insert(OUTPUTS_TAG.to_owned(), digest.to_string());
        }
        if !history.is_deterministic() {
            meta.tags.insert(VARIANTS_TAG.to_owned(), history.variants().len().to_string());
        }
        let before = before.filter(|before| success && before.success);
        let differing = before.map_or_else(Vec::new, |before| differing(&before.outputs, &outputs));
        let record = Record {
            success,
            flags: recorded.flags,
            upstream: wanted.upstream.clone(),
            outputs,
            history: history.clone(),
        };
        let value = record.encode().ok_or_else(|| {
            RecordError::Store(cache_core::Error::Invalid(format!(
                "the record of {} has no encoding",
                wanted.name
            )))
        })?;
        let entry = Entry { meta, value: value.into(), ..Entry::default() };
        let _ = self.store.put(&wanted.key, &entry, PutMode::Overwrite).await?;
        Ok(Recording { outputs: digest, history, differing })
    }

    /// Stores what is recorded at `from` at `to` as well.
    pub(crate) async fn copy(&self, from: &Wanted, to: &Wanted) -> Result<(), RecordError> {
        // Evicted already: then there is nothing to explain with.
        let Some(entry) = self.store.get(&from.key).await? else { return Ok(()) };
        let _ = self.store.put(&to.key, &entry, PutMode::Overwrite).await?;
        Ok(())
    }

    /// Returns the record of the last execution, if nothing that went in was different.
    async fn before(&self, wanted: &Wanted, meta: &EntryMeta) -> Option<Record> {
        // What is not known is not compared: a store that fails must not keep an execution from being recorded.
        let entry = self.store.get(&wanted.key).await.ok().flatten()?;
        let record = Record::decode(&entry, self.kind, &wanted.name)?;
        let states = |meta: &EntryMeta| -> Vec<(TreePath, FileState)> {
            meta.dependencies.files.iter().map(|file| (file.path.clone(), file.state)).collect()
        };
        let same = states(&entry.meta) == states(meta)
            && record.upstream == wanted.upstream
            && wanted.metadata.differs(&record.flags, &entry.meta).is_none();
        same.then_some(record)
    }

    async fn capture(&self, paths: &[RelPath]) -> Result<Vec<Output>, RecordError> {
        let (files, paths) = (Arc::clone(&self.files), paths.to_vec());
        let captured = offload(move || outputs::capture(&files, &paths)).await;
        captured.unwrap_or(Err(RecordError::Interrupted))
    }

    async fn check_unchanged(&self, inputs: &[FileDependency]) -> Result<(), RecordError> {
        let (files, inputs) = (Arc::clone(&self.files), inputs.to_vec());
        let changed = offload(move || {
            let view = files.view(claims(&inputs));
            inputs.iter().find_map(|input| changed(input, &view))
        });
        match changed.await {
            Some(None) => Ok(()),
            Some(Some(miss)) => Err(RecordError::InputChanged(miss)),
            None => Err(RecordError::Interrupted),
        }
    }
}

//! Why a run was a miss: the nearest earlier run and the differences to it.

use cache_core::{
    Digest, Entry, EntryMeta, Key, KeyBuilder, Output, OutputKind, PutMode, RelPath, Timestamp,
};
use cache_fs::FsStore;

use crate::journal::{Journal, Outcome, Record};
use crate::manifest::{Difference, Manifest};
use crate::spec::Spec;
use crate::value::{self, KIND_MANIFEST, WRITER};

/// Bytes of the journal that a miss looks at: about a thousand runs, read and parsed in a few milliseconds.
const LOOK_BACK: u64 = 512 << 10;
/// Earlier runs that a miss is compared with.
const CANDIDATES: usize = 8;
/// Largest manifest that is read: a million inputs.
const MAX_MANIFEST: u64 = 256 << 20;

/// What the journal says about a key that was not in the cache.
#[derive(Debug)]
pub(crate) enum Earlier {
    /// Nothing: no run with this label is known.
    None,
    /// The same key was stored, and so it must have been removed, or belong to somebody else.
    SameKeyStored {
        /// When it was stored or used last.
        at: Timestamp,
        /// Name of the key that it was signed with, if it was signed.
        signer: Option<String>,
    },
    /// The same key was run, and was not stored; why not.
    SameKeyNotStored(Option<String>),
    /// The nearest run with the same label, and the differences to it.
    Nearest(Box<Record>, Vec<Difference>),
    /// There were runs with this label, and their details are no longer kept.
    Forgotten,
}

/// Looks for what explains a miss of `key` under `label`.
pub(crate) fn earlier(store: &FsStore, journal: &Journal, label: &str, key: &Key, now: &Manifest) -> Earlier {
    let records = journal.read(LOOK_BACK);
    let same_key =
        records.iter().rev().find(|record| record.key == *key && record.outcome != Outcome::Bypass);
    match same_key {
        Some(record) if record.outcome == Outcome::NotStored => {
            return Earlier::SameKeyNotStored(record.not_stored.clone());
        }
        Some(record) => return Earlier::SameKeyStored { at: record.at, signer: record.signer.clone() },
        None => {}
    }
    nearest(store, records.iter().rev().filter(|record| record.label == label), now)
}

/// Returns the one of `records`, newest first, that differs least from `now`; of equals the newest.
pub(crate) fn nearest<'r>(
    store: &FsStore,
    records: impl Iterator<Item = &'r Record>,
    now: &Manifest,
) -> Earlier {
    let mut seen = Vec::new();
    let mut best: Option<(&Record, Vec<Difference>)> = None;
    let mut any = false;
    for record in records {
        any = true;
        let Some(digest) = record.manifest else { continue };
        if seen.contains(&digest) {
            continue;
        }
        seen.push(digest);
        if let Some(manifest) = manifest(store, record) {
            let differences = now.differences(&manifest);
            if best.as_ref().is_none_or(|(_, least)| differences.len() < least.len()) {
                best = Some((record, differences));
            }
        }
        if seen.len() == CANDIDATES {
            break;
        }
    }
    match best {
        Some((record, differences)) => Earlier::Nearest(Box::new(record.clone()), differences),
        None if any => Earlier::Forgotten,
        None => Earlier::None,
    }
}

/// Keeps what `key` was made of, and returns where. It is an entry of its own with one blob, so that it lives and ages
/// like everything else in the store.
pub(crate) fn keep(store: &FsStore, spec: &Spec, key: &Key, manifest: &Manifest) -> Option<Digest> {
    let bytes = value::encode(manifest)?;
    let digest = store.write_blob(&bytes).ok()?;
    let meta = EntryMeta {
        namespace: spec.namespace.clone(),
        kind: KIND_MANIFEST.to_owned(),
        name: spec.label(),
        created: std::time::SystemTime::now().into(),
        writer: WRITER.to_owned(),
        ..EntryMeta::default()
    };
    let kind = OutputKind::File { digest, len: bytes.len() as u64, mode: 0o600, modified_ns: 0 };
    let output = Output { path: RelPath::new(KIND_MANIFEST).ok()?, kind };
    let entry = Entry { meta, outputs: vec![output], ..Entry::default() };
    let key = KeyBuilder::new(&spec.namespace, KIND_MANIFEST).key(key).finish();
    let _ = store.put(&key, &entry, PutMode::Overwrite).ok()?;
    Some(digest)
}

/// Returns what the key of a run was made of, if that is still kept.
pub(crate) fn manifest(store: &FsStore, record: &Record) -> Option<Manifest> {
    let bytes = store.read_blob(&record.manifest?, MAX_MANIFEST).ok()??;
    value::decode(&bytes)
}

//! What all caches have, however they reach their values.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use cache_core::envelope::Compression;
use cache_core::{Clock, EntryMeta, Key, KeyBuilder, ListFilter, Namespace};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::place::Place;
use crate::terms::{Made, Standing, Terms};
use crate::tier::Found;
use crate::{Error, Result, encoding};

/// Largest value, encoded, in bytes: it is in memory as a whole, and twice on its way in.
pub const MAX_VALUE_BYTES: u64 = 1 << 30;

/// The kind of entries that hold the value of a Rust program.
const VALUE: &str = "value";
/// The kind of entries that hold what a memoised function returned.
pub(crate) const CALL: &str = "call";
/// All kinds that a cache clears.
pub(crate) const KINDS: [&str; 2] = [VALUE, CALL];
/// What is shown of a key in lists, in characters.
const MAX_NAME: usize = 200;
const WRITER: &str = concat!("vitte-cache ", env!("CARGO_PKG_VERSION"));

/// A cache that reaches its values by a `T`.
pub(crate) struct Inner<T> {
    pub(crate) reach: T,
    pub(crate) place: Place,
    pub(crate) namespace: Namespace,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) default_ttl: Option<Duration>,
    pub(crate) compression: Compression,
    pub(crate) read_only: bool,
    pub(crate) closed: AtomicBool,
}

/// Where a value is, and what is shown of it in lists.
#[derive(Clone)]
pub(crate) struct Slot {
    pub(crate) key: Key,
    pub(crate) kind: &'static str,
    pub(crate) name: String,
}

impl<T> Inner<T> {
    /// Returns the way to the values, unless the cache is closed.
    pub(crate) fn open(&self) -> Result<&T> {
        if self.closed.load(Ordering::Acquire) {
            return Err(Error::Closed { cache: self.place.to_string() });
        }
        Ok(&self.reach)
    }

    pub(crate) fn close(&self) {
        self.closed.store(true, Ordering::Release);
    }

    pub(crate) fn dir(&self) -> Option<&Path> {
        self.place.dir()
    }

    pub(crate) fn key(&self, name: &[u8]) -> Key {
        KeyBuilder::new(&self.namespace, VALUE).bytes(name).finish()
    }

    pub(crate) fn slot(&self, name: &[u8]) -> Slot {
        Slot { key: self.key(name), kind: VALUE, name: shown(name) }
    }

    /// Returns what all values of one kind in this namespace pass, or those of them whose names begin with `name`.
    pub(crate) fn filter(&self, kind: &str, name: Option<&str>) -> ListFilter {
        ListFilter {
            namespace: Some(self.namespace.clone()),
            kind: Some(kind.to_owned()),
            name_prefix: name.map(str::to_owned),
        }
    }

    /// Returns a value in bytes as it is stored.
    pub(crate) fn encode<V: Serialize + DeserializeOwned>(&self, value: &V) -> Result<Bytes> {
        Ok(encoding::pack(encoding::encode(value)?, self.compression)?.into())
    }

    /// Returns a value that was found and what it is good for, but for one that was made from other files.
    pub(crate) fn judge<V: DeserializeOwned>(&self, found: &Found, terms: &Terms) -> Option<(Standing, V)> {
        let standing = terms.judge(found.meta(), self.clock.now());
        if standing == Standing::Changed {
            return None;
        }
        Some((standing, encoding::decode(found.bytes())?))
    }

    /// Returns the facts about a value that is to be stored; nothing if nothing is stored here.
    pub(crate) fn facts(
        &self,
        slot: &Slot,
        bytes: &Bytes,
        terms: &Terms,
        made: Made,
    ) -> Result<Option<EntryMeta>> {
        if self.read_only {
            return Ok(None);
        }
        let size = bytes.len() as u64;
        if size > MAX_VALUE_BYTES {
            let what = format!("the value of `{}`", slot.name);
            return Err(cache_core::Error::TooLarge { what, size, limit: MAX_VALUE_BYTES }.into());
        }
        let mut meta = EntryMeta {
            namespace: self.namespace.clone(),
            kind: slot.kind.to_owned(),
            name: slot.name.clone(),
            created: self.clock.now(),
            writer: WRITER.to_owned(),
            cost_ms: u64::try_from(made.cost.as_millis()).unwrap_or(u64::MAX),
            ..EntryMeta::default()
        };
        meta.dependencies.files = made.files;
        terms.limit(&mut meta, self.default_ttl);
        Ok(Some(meta))
    }
}

/// Returns a key as lists show it.
pub(crate) fn shown(name: &[u8]) -> String {
    let name = String::from_utf8_lossy(name);
    // So many bytes are no more characters.
    if name.len() <= MAX_NAME { name.into_owned() } else { name.chars().take(MAX_NAME).collect() }
}

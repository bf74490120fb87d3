//! `Layout::Segments`: entries and blobs as records of the segment log.

mod blobs;
mod care;
mod claims;
mod entries;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use cache_core::{Clock, Digest, Error, Event, HashFunction, Key, Observers, Policy, Priority, Result};

use crate::files::NAME;
use crate::options::Options;
use crate::place::Place;
use crate::report::Usage;
use crate::segments::{Handle, Kind, LAYOUT, Log, Pins, SegmentStats, Settings, VERSION, Worth, check_limit};
use crate::{disk, marker};

pub(crate) use blobs::BlobWriter;

/// A store in the segments layout.
#[derive(Debug)]
pub(crate) struct Logged {
    dir: PathBuf,
    log: Handle,
    policy: Policy,
    clock: Arc<dyn Clock>,
    observers: Observers,
    read_only: bool,
    protect: Duration,
    claims: claims::Claims,
}

impl Logged {
    /// Opens the store; nothing if it is only read and there is none.
    pub(crate) fn open(place: &Place, options: Options) -> Result<Option<Self>> {
        let root = place.dir.join(crate::segments::ROOT);
        let settings = Settings {
            max_bytes: place.policy.max_bytes,
            max_records: place.policy.max_entries,
            free_space_floor: place.policy.free_space_floor,
            read_only: options.read_only,
            durability: options.durability,
            proof: options.proof,
            clock: Arc::clone(&options.clock),
            ..Settings::default()
        };
        check_limit(place.policy.max_bytes)?;
        let there = marker::is_there(&root, LAYOUT, VERSION)?;
        let fail = |e| Error::io("cannot open the cache at", &place.dir, e);
        let log = if options.read_only {
            if !there {
                return Ok(None);
            }
            Log::open(&root, settings.clone()).map_err(fail)?.map(Arc::new)
        } else {
            let log = Log::open_or_create(&root, settings.clone()).map_err(fail)?;
            if !there {
                marker::write(&root, LAYOUT, VERSION)?;
            }
            Some(log)
        };
        Ok(log.map(|log| Self {
            dir: place.dir.clone(),
            log: Handle::new(log, root, settings),
            policy: place.policy.clone(),
            clock: options.clock,
            observers: options.observers,
            read_only: options.read_only,
            protect: options.protect,
            claims: claims::Claims::default(),
        }))
    }

    pub(crate) fn usage(&self) -> Usage {
        let count = self.log().count().unwrap_or_default();
        Usage {
            bytes: self.log().bytes(),
            entries: count.entries,
            blobs: count.blobs,
            max_bytes: self.policy.max_bytes,
            free: disk::space(&self.dir).map(|space| space.free),
        }
    }

    pub(crate) fn stats(&self) -> Result<SegmentStats> {
        self.log().stats().map_err(|e| self.read_error(e))
    }

    /// Refuses to change a store that was opened for reading.
    fn writable(&self) -> Result<()> {
        if self.read_only {
            let store = format!("the cache at {}", self.dir.display());
            return Err(Error::Unsupported { store, operation: "change: it was opened for reading only" });
        }
        Ok(())
    }

    fn log(&self) -> Arc<Log> {
        self.log.log()
    }

    fn read_error(&self, source: std::io::Error) -> Error {
        Error::io("cannot read the cache at", &self.dir, source)
    }

    fn change_error(&self, source: std::io::Error) -> Error {
        self.log.heal(&source);
        Error::io("cannot change the cache at", &self.dir, source)
    }

    fn put_error(&self, source: std::io::Error) -> Error {
        self.log.heal(&source);
        self.log().put_error(source)
    }

    fn emit<'a>(&self, event: impl FnOnce() -> Event<'a>) {
        self.observers.emit(NAME, event);
    }

    pub(crate) fn pins(&self) -> Result<Pins> {
        self.writable()?;
        self.log().pins().map_err(|e| self.change_error(e))
    }

    /// Adds entries and blobs to what is kept.
    pub(crate) fn pin(&self, pins: &mut Pins, keys: &[Key], digests: &[Digest]) -> Result<()> {
        let entries = keys.iter().map(|key| (Kind::Entry, *key.as_bytes()));
        let blobs = digests.iter().map(address).map(|(kind, key)| (kind, *key));
        pins.add(entries.chain(blobs)).map_err(|e| self.change_error(e))
    }

    /// Tells of what had to go since the last call.
    fn tell_evicted(&self) {
        if let Some((items, bytes)) = self.log().take_evicted() {
            self.emit(|| Event::Evicted { items, bytes });
        }
    }

    /// Returns the time in milliseconds since 1970 before which what was stored may be collected.
    fn unprotected_before(&self) -> u64 {
        self.clock.now().as_millis().saturating_sub(self.protect.as_millis() as u64)
    }
}

/// Returns the kind and the key of a blob's record.
fn address(digest: &Digest) -> (Kind, &[u8; 32]) {
    let kind = match digest.function() {
        HashFunction::Sha256 => Kind::Sha256,
        _ => Kind::Blake3,
    };
    (kind, digest.as_bytes())
}

fn worth(priority: Priority) -> Worth {
    match priority {
        Priority::Low => Worth::Low,
        Priority::Normal => Worth::Normal,
        Priority::High => Worth::High,
    }
}

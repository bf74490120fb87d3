//! The peers of one run, with what was measured of them.

use std::fs;
use std::path::{Path, PathBuf};

use crate::measure::Million;
use crate::peers::{FILES, Kind, Peer, ROOMY, Result};
use bench::samples::Samples;

#[derive(Default)]
pub(crate) struct Results {
    pub(crate) put: Samples,
    pub(crate) get: Samples,
    pub(crate) miss: Samples,
    pub(crate) duplicate: Samples,
    pub(crate) blob_put: Samples,
    pub(crate) blob_get: Samples,
    pub(crate) thousand: Opens,
    pub(crate) full: Opens,
    pub(crate) million: Opens,
    /// Thousands of operations a second of all processes, one per round.
    pub(crate) mixed: Vec<f64>,
    /// Bytes on disk with all values stored.
    pub(crate) disk: Option<u64>,
    /// Bytes on disk and bytes written for values that are there already.
    pub(crate) duplicates_disk: Option<i64>,
    pub(crate) duplicates_written: Option<u64>,
    /// Of our own store.
    pub(crate) filled: Option<Million>,
}

/// Open and first get.
#[derive(Default)]
pub(crate) struct Opens {
    /// In a process that did not do it before.
    pub(crate) process: Samples,
    /// A second time, in the same process.
    pub(crate) handle: Samples,
    /// Memory of that process with the store open, in bytes.
    pub(crate) memory: Vec<u64>,
}

pub(crate) struct Contender {
    pub(crate) kind: &'static Kind,
    pub(crate) results: Results,
    /// Of the store that most phases share.
    pub(crate) dir: PathBuf,
    /// Where a phase may put a store of its own.
    pub(crate) scratch: PathBuf,
    peer: Option<Box<dyn Peer>>,
    failed: bool,
    notes: Vec<String>,
}

impl Contender {
    pub(crate) fn peer(&mut self) -> Result<&mut dyn Peer> {
        let peer = match self.peer.take() {
            Some(peer) => peer,
            None => (self.kind.open)(&self.dir, ROOMY)?,
        };
        Ok(self.peer.insert(peer).as_mut())
    }

    pub(crate) fn close(&mut self) -> Result {
        match self.peer.take() {
            Some(mut peer) => peer.settle(),
            None => Ok(()),
        }
    }

    pub(crate) fn note(&mut self, note: &str) {
        self.notes.push(format!("{}: {note}", self.kind.name));
    }
}

pub(crate) struct Contenders {
    all: Vec<Contender>,
}

impl Contenders {
    pub(crate) fn new(kinds: Vec<&'static Kind>, scratch: &Path) -> Result<Self> {
        let contender = |kind: &'static Kind| {
            let scratch = scratch.join(kind.name);
            let dir = scratch.join("store");
            fs::create_dir_all(&dir)?;
            let results = Results::default();
            Ok(Contender { kind, results, dir, scratch, peer: None, failed: false, notes: Vec::new() })
        };
        Ok(Self { all: kinds.into_iter().map(contender).collect::<Result<_>>()? })
    }

    /// Gives each peer that has not failed a turn. Another one begins in each round.
    pub(crate) fn turn(&mut self, what: &str, round: u64, mut run: impl FnMut(&mut Contender) -> Result) {
        let count = self.all.len();
        for at in 0..count {
            let contender = &mut self.all[(at + round as usize) % count];
            if contender.failed {
                continue;
            }
            if let Err(error) = run(contender) {
                contender.failed = true;
                contender.peer = None;
                let note = format!("left out from `{what}` on: {error}");
                eprintln!("{}: {note}", contender.kind.name);
                contender.note(&note);
            }
        }
    }

    /// Closes all stores, and waits until what they wrote is on the disk. Otherwise the kernel
    /// does that while another peer is measured.
    pub(crate) fn close(&mut self, what: &str) {
        self.turn(what, 0, Contender::close);
        rustix::fs::sync();
    }

    pub(crate) fn remove_stores(&mut self) -> Result {
        self.close("close");
        self.all.iter().try_for_each(|contender| Ok(fs::remove_dir_all(&contender.dir)?))
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Contender> {
        self.all.iter()
    }

    pub(crate) fn get(&self, name: &str) -> Option<&Results> {
        self.all.iter().find(|contender| contender.kind.name == name).map(|contender| &contender.results)
    }

    /// Returns the results that the ratios are relative to.
    pub(crate) fn baseline(&self) -> Option<&Results> {
        self.get(FILES)
    }

    pub(crate) fn has(&self, name: &str) -> bool {
        self.get(name).is_some()
    }

    pub(crate) fn any_failed(&self) -> bool {
        self.all.iter().any(|contender| contender.failed)
    }

    pub(crate) fn notes(&self) -> impl Iterator<Item = &String> {
        self.all.iter().flat_map(|contender| &contender.notes)
    }
}

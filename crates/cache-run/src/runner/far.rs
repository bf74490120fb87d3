//! The part of a run that the remote cache plays.

use cache_core::{Key, PutMode};

use super::{Attempt, Cached};
use crate::entries::Entries;
use crate::explain;
use crate::journal::Outcome;
use crate::lookup::{self, Found, sound_sets};
use crate::remote::{Arrival, Far, Remote, Seen, Traffic};
use crate::report::{Reason, Report};
use crate::salt;
use crate::value::{self, DepSet, Index, KIND_INDEX};

/// Exit codes from here on mean that a signal ended the command: whoever sent it does not want to wait.
const SIGNALLED: i32 = 128;

/// What a run knows of the remote cache.
#[derive(Default)]
pub(super) struct Shared {
    pub(super) traffic: Traffic,
    /// Other results of the command that are known there. They must not get lost when the index is sent.
    pub(super) sets: Vec<DepSet>,
}

impl Cached<'_> {
    /// Looks the run up in the remote cache, and restores it if it is there.
    pub(super) fn look_up_far(&mut self) -> Attempt {
        let spec = self.run.spec;
        let Some(remote) = self.run.session.remote.filter(|remote| remote.reads()) else {
            return Attempt::Miss(None);
        };
        let far = Far::new(remote);
        let entries = Entries { far: Some(&far), ..self.entries() };
        let found = lookup::find(entries, spec, &mut self.plan);
        let unknown = *far.unknown.borrow();
        let arrivals = far.seen.into_inner();
        self.learn(&arrivals);
        let (hit, outcome) = match found {
            Found::Fresh(hit) => (hit, Outcome::Hit),
            Found::Stale(hit) => (hit, Outcome::Stale),
            Found::Miss(reason) => {
                self.shared.traffic.looked = Some(if unknown { Seen::Unknown } else { Seen::Miss });
                return Attempt::Miss(reason.map(|reason| Reason::Remote(Box::new(reason))));
            }
        };
        if !spec.dry_run
            && let Err(why) = self.take_in(remote, arrivals)
        {
            self.shared.traffic.looked = Some(Seen::Unknown);
            return Attempt::Miss(Some(Reason::Remote(Box::new(Reason::Unknown(why)))));
        }
        self.shared.traffic.looked = Some(Seen::Hit);
        if spec.mode.writes() && !spec.dry_run {
            // Of equal keys the parts are equal as well, so the next miss here can be explained.
            let manifest = self.plan.manifest(&salt::load(&self.side));
            self.manifest = explain::keep(self.store, spec, &self.plan.key, &manifest);
        }
        let attempt = self.use_hit(hit, outcome);
        self.shared.traffic.hit = matches!(attempt, Attempt::Done(_));
        attempt
    }

    /// Learns which other results are known there, if an index is about to be sent and nobody has looked.
    pub(super) fn look_for_others(&mut self) {
        let spec = self.run.spec;
        let Some(remote) = self.run.session.remote.filter(|remote| remote.writes()) else { return };
        if self.shared.traffic.looked.is_some() || spec.depfile.is_none() || !spec.mode.writes() {
            return;
        }
        let far = Far::new(remote);
        // What cannot be had is not there.
        let _ = Entries { far: Some(&far), ..self.entries() }.get(&self.plan.key);
        self.learn(&far.seen.into_inner());
    }

    fn learn(&mut self, arrivals: &[Arrival]) {
        for arrival in arrivals.iter().filter(|arrival| arrival.entry.meta.kind == KIND_INDEX) {
            let index = value::decode::<Index>(&arrival.entry.value).unwrap_or_default();
            self.shared.sets = sound_sets(&self.plan, index);
        }
    }

    /// Copies what was found into the local cache: blobs, results, and at last what leads to them.
    fn take_in(&mut self, remote: &dyn Remote, arrivals: Vec<Arrival>) -> Result<(), String> {
        let text = |error: cache_core::Error| error.to_string();
        let (indexes, results): (Vec<_>, Vec<_>) =
            arrivals.into_iter().partition(|arrival| arrival.entry.meta.kind == KIND_INDEX);
        for Arrival { address, entry, .. } in results {
            let fetched = remote.bring(&entry)?;
            self.shared.traffic.fetched_bytes += fetched + entry.value.len() as u64;
            let _ = self.store.put(&address, &entry, PutMode::Overwrite).map_err(text)?;
        }
        for Arrival { key, mut entry, .. } in indexes {
            let mut index = self.local_index(&key);
            let mut sets = self.shared.sets.clone();
            sets.append(&mut index.sets);
            let mut all = Index::default();
            all.merge(&sets);
            entry.value = value::encode(&all).ok_or("it cannot be encoded")?.into();
            entry.signature = None;
            self.entries().put(&key, entry).map_err(text)?;
        }
        Ok(())
    }

    fn local_index(&self, key: &Key) -> Index {
        match self.entries().get(key) {
            Ok(cache_fs::Lookup::Hit(old)) if old.meta.kind == KIND_INDEX => {
                value::decode(&old.value).unwrap_or_default()
            }
            _ => Index::default(),
        }
    }

    /// Lets the remote cache end its work, and says how it went.
    pub(super) fn finish(&mut self, report: Option<&mut Report>) {
        let Some(remote) = self.run.session.remote else { return };
        let wait = !self.run.spec.dry_run && report.as_ref().is_some_and(|report| report.code < SIGNALLED);
        let finish = remote.finish(wait);
        let Some(report) = report else { return };
        let mut traffic = std::mem::take(&mut self.shared.traffic);
        (traffic.uploaded, traffic.left, traffic.trouble) = (finish.uploaded, finish.left, finish.trouble);
        report.warnings.extend(finish.warnings);
        report.remote = Some(traffic);
        report.wall = self.run.started.elapsed();
    }
}

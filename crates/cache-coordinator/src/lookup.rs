//! Entries on their way to a caller.

use std::collections::HashSet;
use std::sync::Arc;

use cache_core::{Digest, Entry, Error, Key, Result};

use crate::chain::{BATCH, Chain};
use crate::event::{Absence, TierEvent};
use crate::link::{Call, count};
use crate::slots::Hold;
use crate::turns::Urgency;

/// What a look-up in several tiers found.
#[derive(Clone, Debug, Default)]
pub(crate) struct Looked {
    pub(crate) entry: Option<Entry>,
    /// What a tier that could not answer said. A miss is certain only without it.
    trouble: Option<Arc<str>>,
    /// Why there is nothing, if there is nothing.
    reason: Absence,
}

/// What one tier says.
pub(crate) enum Answer {
    /// In a box, as it is handed through many futures, each of which would copy its 400 bytes.
    Found(Box<Entry>),
    /// It has nothing, or nothing that counts.
    Nothing(Absence),
    Unknown(Error),
}

impl Looked {
    fn doubt(&mut self, error: &Error) {
        self.trouble.get_or_insert_with(|| error.to_string().into());
        self.reason = Absence::Failed;
    }

    /// Takes notice of why one more tier has nothing.
    fn without(&mut self, reason: Absence) {
        self.reason = self.reason.max(reason);
    }
}

impl Chain {
    /// Returns the entry under `key` from the fastest tier that has it.
    ///
    /// The first tier is asked by each caller if it is local: it is faster than waiting for each other. In the others
    /// one looks for all.
    pub(crate) async fn look_up(self: &Arc<Self>, key: &Key, urgency: Urgency) -> Result<Option<Box<Entry>>> {
        self.ensure_open()?;
        let mut looked = Looked::default();
        let direct = self.links.first().is_some_and(|first| first.store().capabilities().local);
        let rest = usize::from(direct);
        if direct {
            match self.ask(0, key, urgency).await {
                Answer::Found(entry) => {
                    count(&self.counters.hits);
                    self.revalidate(key, &entry, 0);
                    return Ok(Some(entry));
                }
                Answer::Nothing(reason) => looked.without(reason),
                Answer::Unknown(error) => looked.doubt(&error),
            }
        }
        if !self.readable().any(|(index, _)| index >= rest) {
            return self.conclude(key, looked);
        }
        // In a box of its own, so that the future of a hit in the first tier is small.
        Box::pin(self.look_further(rest, key, urgency, looked)).await
    }

    /// Looks in the tiers from `rest` on, once for all who ask for the key.
    async fn look_further(
        self: &Arc<Self>,
        rest: usize,
        key: &Key,
        urgency: Urgency,
        mut looked: Looked,
    ) -> Result<Option<Box<Entry>>> {
        if self.absent.contains(key) {
            count(&self.counters.remembered);
            looked.without(Absence::Remembered);
            return self.conclude(key, looked);
        }
        let certain = looked.trouble.is_none();
        let (found, led) = self.flights.join(key, self.search(rest, key, urgency, certain)).await;
        if !led {
            count(&self.counters.joined);
        }
        let reason = looked.reason.max(found.reason);
        if found.entry.is_some() || looked.trouble.is_none() {
            looked = found;
        }
        looked.reason = reason;
        self.conclude(key, looked)
    }

    fn conclude(&self, key: &Key, looked: Looked) -> Result<Option<Box<Entry>>> {
        if let Some(entry) = looked.entry {
            count(&self.counters.hits);
            return Ok(Some(Box::new(entry)));
        }
        count(&self.counters.misses);
        let (certain, reason) = (looked.trouble.is_none(), looked.reason);
        self.listener.tell(|| TierEvent::Miss { key, certain, reason });
        match looked.trouble {
            Some(why) if self.strict => Err(self.doubtful(&why)),
            _ => Ok(None),
        }
    }

    pub(crate) fn doubtful(&self, why: &str) -> Error {
        Error::Unavailable { store: self.name.clone(), why: why.to_owned() }
    }

    /// Looks in the tiers from `first` on, and has what it finds copied into faster ones.
    async fn search(self: &Arc<Self>, first: usize, key: &Key, urgency: Urgency, certain: bool) -> Looked {
        // Before any tier is asked, so that no write goes unnoticed.
        let (hold, writes) = self.watch(key);
        let mut looked = Looked::default();
        for index in first..self.links.len() {
            match self.ask(index, key, urgency).await {
                Answer::Found(entry) => {
                    self.promote_entry(key, &entry, index, hold, writes);
                    self.revalidate(key, &entry, index);
                    return Looked { entry: Some(*entry), ..Looked::default() };
                }
                Answer::Nothing(reason) => looked.without(reason),
                Answer::Unknown(error) => looked.doubt(&error),
            }
        }
        if certain && looked.trouble.is_none() && hold.writes() == writes {
            self.absent.insert(key);
        }
        looked
    }

    /// Asks one tier.
    pub(crate) async fn ask(&self, index: usize, key: &Key, urgency: Urgency) -> Answer {
        let link = self.link(index);
        if !link.tier.read {
            return Answer::Nothing(Absence::Absent);
        }
        // Uploads ask as well, and are nobody's hits.
        let counted = urgency != Urgency::Upload;
        let pass = |reason| {
            if counted {
                self.listener.tell(|| TierEvent::Passed { tier: link.name(), key, reason });
            }
            Answer::Nothing(reason)
        };
        if link.shadow.contains(key) {
            return pass(Absence::Outdated);
        }
        let get = async { Ok(link.store().get(key).await?.map(Box::new)) };
        let entry = match link.call(Call::new("get", urgency), get).await {
            Ok(Some(entry)) if entry.meta.expires.is_none_or(|end| end > self.clock.now()) => entry,
            Ok(found) => {
                if counted {
                    count(&link.counters.misses);
                }
                return pass(if found.is_some() { Absence::Expired } else { Absence::Absent });
            }
            Err(error) => {
                let _ = pass(Absence::Failed);
                return Answer::Unknown(error);
            }
        };
        if link.tier.verify {
            let blobs = entry.blobs().map(|(digest, _)| *digest).collect();
            if let Some(digest) = Box::pin(self.nowhere(blobs, urgency)).await {
                self.incomplete(index, key, &digest);
                return pass(Absence::Incomplete);
            }
        }
        if counted {
            self.hit(index, key, &entry);
        }
        Answer::Found(entry)
    }

    fn hit(&self, index: usize, key: &Key, entry: &Entry) {
        let link = self.link(index);
        link.kinds.hit(&entry.meta.kind);
        self.listener.tell(|| TierEvent::Hit { tier: link.name(), key, kind: &entry.meta.kind });
    }

    fn incomplete(&self, index: usize, key: &Key, digest: &Digest) {
        let link = self.link(index);
        count(&link.counters.incomplete);
        self.listener.tell(|| TierEvent::Incomplete { tier: link.name(), key, digest });
    }

    /// Returns what [`look_up`](Self::look_up) returns for each of `keys`, with one call per tier and [`BATCH`] keys.
    pub(crate) async fn look_up_many(
        self: &Arc<Self>,
        keys: &[Key],
        urgency: Urgency,
    ) -> Result<Vec<Option<Entry>>> {
        let found = self.look_up_located(keys, urgency).await?;
        Ok(found.into_iter().map(|found| found.map(|(_, entry)| entry)).collect())
    }

    /// As [`look_up_many`](Self::look_up_many), each entry with the tier that it was found in.
    pub(crate) async fn look_up_located(
        self: &Arc<Self>,
        keys: &[Key],
        urgency: Urgency,
    ) -> Result<Vec<Option<(usize, Entry)>>> {
        self.ensure_open()?;
        let mut tiers = vec![0; keys.len()];
        let (found, reasons) = (vec![None; keys.len()], vec![Absence::Absent; keys.len()]);
        let mut batch = Batch { keys, found, reasons, trouble: None };
        let mut holds: Vec<Option<(Hold, u64)>> = Vec::new();
        let direct = self.links.first().is_some_and(|first| first.store().capabilities().local);
        for (index, _) in self.readable() {
            if index > 0 || !direct {
                if holds.is_empty() {
                    let open = keys.iter().zip(&batch.found);
                    holds = open.map(|(key, found)| found.is_none().then(|| self.watch(key))).collect();
                }
                for (place, key) in keys.iter().enumerate() {
                    if holds[place].is_some() && self.absent.contains(key) {
                        count(&self.counters.remembered);
                        holds[place] = None;
                        batch.without(place, Absence::Remembered);
                    }
                }
            }
            let open = |place: &usize| {
                batch.found[*place].is_none() && (holds.is_empty() || holds[*place].is_some())
            };
            let places: Vec<usize> = (0..keys.len()).filter(open).collect();
            for hit in self.ask_many(index, &mut batch, &places, urgency).await {
                let Some(entry) = &batch.found[hit] else { continue };
                tiers[hit] = index;
                self.revalidate(&keys[hit], entry, index);
                if let Some((hold, writes)) = holds.get_mut(hit).and_then(Option::take) {
                    self.promote_entry(&keys[hit], entry, index, hold, writes);
                }
            }
        }
        for (place, hold) in holds.iter().enumerate() {
            if let Some((hold, writes)) = hold
                && batch.trouble.is_none()
                && hold.writes() == *writes
            {
                self.absent.insert(&keys[place]);
            }
        }
        let Batch { found, reasons, trouble, .. } = batch;
        let mut missed = false;
        for ((key, found), reason) in keys.iter().zip(&found).zip(reasons) {
            if found.is_some() {
                count(&self.counters.hits);
            } else {
                missed = true;
                count(&self.counters.misses);
                let certain = trouble.is_none();
                self.listener.tell(|| TierEvent::Miss { key, certain, reason });
            }
        }
        match trouble {
            Some(why) if self.strict && missed => Err(self.doubtful(&why)),
            _ => Ok(tiers.into_iter().zip(found).map(|(tier, found)| Some((tier, found?))).collect()),
        }
    }

    /// Returns for each of `keys` the entry, and the fastest tier that has it; and whether every tier could answer. Nothing is
    /// copied.
    pub(crate) async fn locate_many(
        &self,
        keys: &[Key],
        urgency: Urgency,
    ) -> (Vec<Option<(usize, Entry)>>, bool) {
        let (found, reasons) = (vec![None; keys.len()], vec![Absence::Absent; keys.len()]);
        let mut batch = Batch { keys, found, reasons, trouble: None };
        let mut tiers = vec![0; keys.len()];
        for (index, _) in self.readable() {
            let places: Vec<usize> = (0..keys.len()).filter(|place| batch.found[*place].is_none()).collect();
            for hit in self.ask_many(index, &mut batch, &places, urgency).await {
                tiers[hit] = index;
            }
        }
        let found = batch.found.into_iter().zip(tiers).map(|(entry, tier)| Some((tier, entry?)));
        (found.collect(), batch.trouble.is_none())
    }

    /// Returns a hold on the slot of `key`, and how many writes it shows.
    pub(crate) fn watch(&self, key: &Key) -> (Hold, u64) {
        let hold = self.slots.hold(key);
        let writes = hold.writes();
        (hold, writes)
    }

    /// Asks one tier for the keys at `places`, and returns those places where it had something.
    async fn ask_many(
        &self,
        index: usize,
        batch: &mut Batch<'_>,
        places: &[usize],
        urgency: Urgency,
    ) -> Vec<usize> {
        let link = self.link(index);
        let (outdated, places): (Vec<usize>, Vec<usize>) =
            places.iter().partition(|place| link.shadow.contains(&batch.keys[**place]));
        self.pass(index, batch, &outdated, Absence::Outdated);
        let mut hits = Vec::new();
        for some in places.chunks(BATCH) {
            let asked: Vec<Key> = some.iter().map(|place| batch.keys[*place]).collect();
            let answers = match link.call(Call::new("get_many", urgency), link.store().get_many(&asked)).await
            {
                Ok(answers) if answers.len() == asked.len() => answers,
                Ok(answers) => {
                    let why = format!("it gave {} answers to {} questions", answers.len(), asked.len());
                    let error = Error::Unavailable { store: link.name().to_owned(), why };
                    self.blame(index, "get_many", &error);
                    batch.doubt(&error);
                    self.pass(index, batch, some, Absence::Failed);
                    continue;
                }
                Err(error) => {
                    batch.doubt(&error);
                    self.pass(index, batch, some, Absence::Failed);
                    continue;
                }
            };
            let now = self.clock.now();
            for (place, entry) in some.iter().zip(answers) {
                let reason = if entry.is_some() { Absence::Expired } else { Absence::Absent };
                batch.found[*place] = entry.filter(|entry| !entry.meta.is_expired(now));
                if batch.found[*place].is_some() {
                    hits.push(*place);
                } else {
                    count(&link.counters.misses);
                    self.pass(index, batch, &[*place], reason);
                }
            }
        }
        if link.tier.verify {
            self.drop_incomplete(index, batch, &mut hits, urgency).await;
        }
        for hit in &hits {
            if let Some(entry) = &batch.found[*hit] {
                self.hit(index, &batch.keys[*hit], entry);
            }
        }
        hits
    }

    /// Takes notice that a tier did not give what is at `places`.
    fn pass(&self, index: usize, batch: &mut Batch<'_>, places: &[usize], reason: Absence) {
        for place in places {
            batch.without(*place, reason);
            let key = &batch.keys[*place];
            self.listener.tell(|| TierEvent::Passed { tier: self.link(index).name(), key, reason });
        }
    }

    /// Takes back those of `hits` that name a blob which is in no tier.
    async fn drop_incomplete(
        &self,
        index: usize,
        batch: &mut Batch<'_>,
        hits: &mut Vec<usize>,
        urgency: Urgency,
    ) {
        let entries = hits.iter().filter_map(|hit| batch.found[*hit].as_ref());
        let wanted: HashSet<Digest> =
            entries.flat_map(|entry| entry.blobs().map(|(digest, _)| *digest)).collect();
        let mut missing: Vec<Digest> = wanted.into_iter().collect();
        for (other, _) in self.readable() {
            if missing.is_empty() {
                return;
            }
            missing = self.missing_in(other, missing, urgency).await.0;
        }
        let missing: HashSet<Digest> = missing.into_iter().collect();
        let mut lost = Vec::new();
        hits.retain(|hit| {
            let entry = batch.found[*hit].as_ref();
            let gone = entry
                .and_then(|entry| entry.blobs().find(|(digest, _)| missing.contains(digest)))
                .map(|(digest, _)| *digest);
            if let Some(digest) = gone {
                self.incomplete(index, &batch.keys[*hit], &digest);
                batch.found[*hit] = None;
                lost.push(*hit);
            }
            gone.is_none()
        });
        self.pass(index, batch, &lost, Absence::Incomplete);
    }
}

/// Questions, and the answers so far.
struct Batch<'a> {
    keys: &'a [Key],
    found: Vec<Option<Entry>>,
    /// Why there is nothing at a place, if there is nothing.
    reasons: Vec<Absence>,
    /// What a tier that could not answer said. A miss is certain only without it.
    trouble: Option<Arc<str>>,
}

impl Batch<'_> {
    fn doubt(&mut self, error: &Error) {
        self.trouble.get_or_insert_with(|| error.to_string().into());
    }

    fn without(&mut self, place: usize, reason: Absence) {
        self.reasons[place] = self.reasons[place].max(reason);
    }
}

//! Entries on their way into the tiers, and out of them for good.

use std::sync::Arc;

use cache_core::{Entry, Error, Key, PutMode, PutOutcome, Result};

use crate::chain::Chain;
use crate::event::TierEvent;
use crate::link::{Call, count, is_answer};
use crate::lookup::Answer;
use crate::push::Errand;
use crate::turns::Urgency;

/// What is under way in a put, and what is to be believed of the tiers when it ends, however it ends.
struct Put<'a> {
    chain: &'a Chain,
    key: &'a Key,
    /// Tiers not written through that were not skipped for the key before this put.
    skipped_now: Vec<usize>,
    /// Tiers written through that have not been asked yet, or could not answer.
    unsettled: Vec<usize>,
    /// Whether the new entry is, or may be, in any tier.
    visible: bool,
}

impl Put<'_> {
    /// Begins: from now on, tiers that do not get the entry at once are not read for its key.
    fn begin<'a>(chain: &'a Chain, key: &'a Key) -> Put<'a> {
        let others = chain
            .links
            .iter()
            .enumerate()
            .filter(|(_, link)| link.background || link.tier.read && !link.writes_through());
        let skipped_now = others
            .filter(|(index, link)| chain.pushes.outdate(*index, link, key))
            .map(|(index, _)| index)
            .collect();
        let unsettled = chain.written_through().map(|(index, _)| index).collect();
        Put { chain, key, skipped_now, unsettled, visible: false }
    }

    fn settle(&mut self, index: usize) {
        self.unsettled.retain(|other| *other != index);
    }
}

impl Drop for Put<'_> {
    fn drop(&mut self) {
        if self.visible {
            // Some tier has the new entry, so no other one may show an old one.
            for index in &self.unsettled {
                self.chain.link(*index).shadow.insert(self.key);
            }
        } else {
            for index in &self.skipped_now {
                self.chain.link(*index).shadow.remove(self.key);
            }
        }
        self.chain.refresh(self.key);
    }
}

impl Chain {
    pub(crate) async fn put_entry(
        self: &Arc<Self>,
        key: &Key,
        entry: &Entry,
        mode: PutMode,
    ) -> Result<PutOutcome> {
        self.ensure_open()?;
        let hold = self.slots.hold(key);
        let _writing = hold.write().await;
        if mode == PutMode::IfAbsent && self.is_present(key).await? {
            return Ok(PutOutcome::Present);
        }
        let mut put = Put::begin(self, key);
        let (mut stored, mut refusal, mut trouble) = (false, None, None);
        for (index, link) in self.written_through() {
            if !put.visible {
                // From here on the first tier may have it, even if it never answers.
                put.settle(index);
                put.visible = true;
            }
            // What the tier has under a key for which it is skipped is not there any more.
            let mode = if link.shadow.contains(key) { PutMode::Overwrite } else { mode };
            match self.put_into(index, key, entry, mode).await {
                Ok(PutOutcome::Stored) => {
                    stored = true;
                    put.settle(index);
                    link.shadow.remove(key);
                    self.tell_stored(index, key, entry);
                }
                Ok(PutOutcome::Present) if !stored && trouble.is_none() => {
                    put.visible = false;
                    return Ok(PutOutcome::Present);
                }
                // Somebody else was faster here, and slower before.
                Ok(PutOutcome::Present) => {
                    link.shadow.insert(key);
                }
                Err(error) if is_answer(&error) => {
                    // Nothing has changed there: if nobody else takes it, the old entry counts on.
                    put.visible = stored || trouble.is_some();
                    if !put.unsettled.contains(&index) {
                        put.unsettled.push(index);
                    }
                    refusal = refusal.or(Some(error));
                }
                Err(error) => {
                    link.shadow.insert(key);
                    trouble = Some(error);
                }
            }
        }
        let let_go = !self.strict
            && match &refusal {
                None => true,
                Some(Error::Incomplete { .. }) => self.unstored.has_any_of(entry),
                Some(_) => false,
            };
        // What is stored and evicted at once replaces the old entry as well.
        put.visible = stored || trouble.is_some() || let_go;
        if stored {
            self.kinds.stored(&entry.meta.kind);
            if let Some(checked) = &self.checked {
                checked.insert(key);
            }
            self.push_entry(key, entry, mode, &put.skipped_now);
        }
        drop(put);
        match (stored, trouble, refusal) {
            (_, Some(error), _) if self.strict => Err(error),
            (true, ..) => Ok(PutOutcome::Stored),
            (false, None, Some(error)) if !let_go => Err(error),
            (false, None, None) if self.strict => Err(self.doubtful("none of its tiers is written")),
            (false, ..) => Ok(self.let_go(key)),
        }
    }

    /// An entry that no tier could take was evicted at once, as far as the caller is concerned.
    fn let_go(&self, key: &Key) -> PutOutcome {
        count(&self.counters.unstored);
        self.listener.tell(|| TierEvent::Unstored { key });
        PutOutcome::Stored
    }

    fn tell_stored(&self, index: usize, key: &Key, entry: &Entry) {
        let (link, kind) = (self.link(index), &*entry.meta.kind);
        link.kinds.stored(kind);
        self.listener.tell(|| TierEvent::Stored { tier: link.name(), key, kind, bytes: entry.size() });
    }

    /// Returns whether any tier has an entry under `key`.
    async fn is_present(&self, key: &Key) -> Result<bool> {
        let mut trouble = None;
        let remembered = self.absent.contains(key);
        let direct = self.links.first().is_some_and(|first| first.store().capabilities().local);
        for index in 0..self.links.len() {
            if remembered && (index > 0 || !direct) {
                break;
            }
            match self.ask(index, key, Urgency::Urgent).await {
                Answer::Found(_) => return Ok(true),
                Answer::Nothing(_) => {}
                // It gets the entry later, and only where it has none.
                Answer::Unknown(_) if self.link(index).background => {}
                Answer::Unknown(error) => trouble = Some(error),
            }
        }
        match trouble {
            Some(error) if self.strict => Err(error),
            _ => Ok(false),
        }
    }

    /// Puts the entry into one tier, with blobs from other tiers if it lacks some.
    async fn put_into(
        self: &Arc<Self>,
        index: usize,
        key: &Key,
        entry: &Entry,
        mode: PutMode,
    ) -> Result<PutOutcome> {
        let link = self.link(index);
        let call = Call::new("put", Urgency::Urgent);
        match link.call(call, link.store().put(key, entry, mode)).await {
            Err(Error::Incomplete { digest }) => {
                // `missing` tells callers to leave out what any tier has.
                if self.complete(index, entry, Urgency::Urgent).await? {
                    link.call(call, link.store().put(key, entry, mode)).await
                } else {
                    Err(Error::Incomplete { digest })
                }
            }
            done => done,
        }
    }

    pub(crate) async fn remove_entry(self: &Arc<Self>, key: &Key) -> Result<bool> {
        self.ensure_open()?;
        let hold = self.slots.hold(key);
        let _writing = hold.write().await;
        let _refresh = Refresh(self, key);
        let (mut existed, mut trouble) = (false, None);
        for (index, link) in self.links.iter().enumerate() {
            let was_seen = link.tier.read && !link.shadow.contains(key);
            if !link.tier.write {
                if was_seen {
                    existed |=
                        !existed && matches!(self.ask(index, key, Urgency::Urgent).await, Answer::Found(_));
                    link.shadow.insert(key);
                }
                continue;
            }
            self.pushes.outdate(index, link, key);
            // What is on its way there cannot be stopped, so the removal follows it.
            if link.background && self.pushes.cancel(index, key, &self.listener) {
                self.pushes.add(&self.listener, index, link.name(), key, Errand::Remove, 0);
                continue;
            }
            let call = Call::new("remove", Urgency::Urgent);
            match link.call(call, link.store().remove(key)).await {
                Ok(removed) => {
                    existed |= removed && was_seen;
                    link.shadow.remove(key);
                    if removed {
                        self.listener.tell(|| TierEvent::Removed { tier: link.name(), key });
                    }
                }
                Err(_) if link.background => {
                    self.pushes.add(&self.listener, index, link.name(), key, Errand::Remove, 0);
                }
                Err(error) => trouble = Some(error),
            }
        }
        match trouble {
            Some(error) if self.strict => Err(error),
            _ => Ok(existed),
        }
    }
}

/// Makes later look-ups see a removal, also one that was dropped half way.
struct Refresh<'a>(&'a Chain, &'a Key);

impl Drop for Refresh<'_> {
    fn drop(&mut self) {
        self.0.refresh(self.1);
    }
}

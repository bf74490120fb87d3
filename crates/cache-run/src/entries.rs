//! The entries of a cache as a run sees them: signed and checked, if the user wants that.

use std::time::Duration;

use cache_core::signing::{Keyring, Unsigned};
use cache_core::{Entry, Key, MissReason, PutMode, Result, Timestamp};
use cache_fs::{FsStore, Lookup};

use crate::remote::Far;

/// How long a signed result is good unless the run says otherwise. It bounds for how long somebody who can write to the
/// cache can put an old result back in the place of a newer one.
const LIFETIME: Duration = Duration::from_hours(30 * 24);

/// Whose results count.
#[derive(Clone, Debug)]
pub struct Signing {
    /// The keys: results are signed with the first, and good if they are signed with any.
    pub ring: Keyring,
    /// Whether results without a signature are good as well.
    pub unsigned: Unsigned,
}

/// The entries of a store, each at the [place](cache_core::signing::Place) of its signer.
#[derive(Clone, Copy)]
pub(crate) struct Entries<'a> {
    pub(crate) store: &'a FsStore,
    pub(crate) signing: Option<&'a Signing>,
    /// The remote cache, if entries are looked for there, and not in the store.
    pub(crate) far: Option<&'a Far<'a>>,
}

impl Entries<'_> {
    /// Returns the best entry under `key`, or why there is none.
    pub(crate) fn get(&self, key: &Key) -> Result<Lookup> {
        let Some(signing) = self.signing else { return self.look(key) };
        let mut why = MissReason::Absent;
        for place in signing.ring.places(key, signing.unsigned) {
            let reason = match self.look(&place.address)? {
                Lookup::Miss(reason) => reason,
                Lookup::Hit(entry) => match signing.ring.flaw(key, &place, &entry) {
                    None => {
                        self.note(key, &place.address, &entry);
                        return Ok(Lookup::Hit(entry));
                    }
                    Some(flaw) => {
                        self.put_aside(&place.address, flaw);
                        flaw
                    }
                },
            };
            if why == MissReason::Absent {
                why = reason;
            }
        }
        // For the explanation only: there may be a result from before results were signed. It is not worth a round trip.
        let is_unsigned = |lookup| matches!(lookup, Lookup::Hit(entry) if entry.signature.is_none());
        if why == MissReason::Absent && self.far.is_none() && self.store.get(key).is_ok_and(is_unsigned) {
            why = MissReason::Unsigned;
        }
        Ok(Lookup::Miss(why))
    }

    /// Returns what is at `address`, or why there is nothing.
    fn look(&self, address: &Key) -> Result<Lookup> {
        let Some(far) = self.far else { return self.store.get(address) };
        let Some(entry) = far.get(address) else { return Ok(Lookup::Miss(MissReason::Absent)) };
        let now = Timestamp::from(std::time::SystemTime::now());
        if let Some(at) = entry.meta.expires.filter(|_| entry.meta.is_expired(now)) {
            return Ok(Lookup::Miss(MissReason::Expired { at }));
        }
        if self.signing.is_none() {
            self.note(address, address, &entry);
        }
        Ok(Lookup::Hit(entry))
    }

    fn note(&self, key: &Key, address: &Key, entry: &Entry) {
        if let Some(far) = self.far {
            far.note(key, address, entry);
        }
    }

    /// Returns the best entry under `key`, also if its time is over; nothing of a remote cache, which removes those.
    pub(crate) fn get_stale(&self, key: &Key) -> Result<Option<Entry>> {
        if self.far.is_some() {
            return Ok(None);
        }
        let Some(signing) = self.signing else { return self.store.get_stale(key) };
        for place in signing.ring.places(key, signing.unsigned) {
            if let Some(entry) = self.store.get_stale(&place.address)?
                && signing.ring.flaw(key, &place, &entry).is_none()
            {
                return Ok(Some(entry));
            }
        }
        Ok(None)
    }

    /// Stores `entry` under `key`, in the place of all that was there, and returns it as it is stored, with its address.
    pub(crate) fn put(&self, key: &Key, mut entry: Entry) -> Result<(Key, Entry)> {
        let Some(signing) = self.signing else {
            let _ = self.store.put(key, &entry, PutMode::Overwrite)?;
            return Ok((*key, entry));
        };
        let created = Timestamp::from(std::time::SystemTime::now());
        entry.meta.expires.get_or_insert_with(|| created.plus(LIFETIME));
        signing.ring.sign(key, &mut entry)?;
        let mut places = signing.ring.places(key, signing.unsigned);
        let own = places.next().map_or(*key, |own| own.address);
        let _ = self.store.put(&own, &entry, PutMode::Overwrite)?;
        // What was replaced must not come back when the new one ends.
        places.try_for_each(|place| self.store.remove(&place.address).map(drop))?;
        Ok((own, entry))
    }

    /// Returns whether the key of this name counts.
    pub(crate) fn knows(&self, signer: &str) -> bool {
        self.signing.is_some_and(|signing| signing.ring.ids().any(|id| id.to_string() == signer))
    }

    /// Removes what is forged, and leaves alone what may be right for somebody else.
    fn put_aside(&self, address: &Key, flaw: MissReason) {
        if flaw == MissReason::Forged && self.far.is_none() {
            // In a cache that is only read it stays, and is found forged again.
            let _ = self.store.remove(address);
        }
    }
}

//! Who vouches for what is on a disk.

use cache_core::signing::{Keyring, Place, Unsigned};
use cache_core::{Entry, Event, Key, Listed, MissReason, Observers};

use crate::Result;

/// Signs what is stored and refuses what nobody of the ring has signed, if there is a ring.
///
/// Each signer has addresses of its own, as in a chain of tiers that signs: two programs with different keys do not replace
/// each other's entries, and a chain finds what is stored here.
#[derive(Clone, Debug, Default)]
pub(crate) struct Seal {
    pub(crate) ring: Option<Keyring>,
    pub(crate) observers: Observers,
}

impl Seal {
    /// Returns where the entry under `key` may be: first where it is put.
    pub(crate) fn places(&self, key: &Key) -> impl Iterator<Item = Place> {
        let plain = self.ring.is_none().then(|| Place::plain(key));
        plain.into_iter().chain(self.ring.iter().flat_map(|ring| ring.places(key, Unsigned::Refuse)))
    }

    /// Signs an entry that will be stored under `key` and not change any more.
    pub(crate) fn sign(&self, key: &Key, entry: &mut Entry) -> Result<()> {
        match &self.ring {
            Some(ring) => Ok(ring.sign(key, entry)?),
            None => Ok(()),
        }
    }

    /// Returns why the entry under `key`, found at `place`, is a miss, and tells that.
    pub(crate) fn flaw(&self, key: &Key, place: &Place, entry: &Entry) -> Option<MissReason> {
        let reason = self.ring.as_ref()?.flaw(key, place, entry)?;
        self.observers.emit("fs", || Event::Miss { key, reason });
        Some(reason)
    }

    /// Returns whether an entry is one of ours, by what it says.
    pub(crate) fn is_ours(&self, item: &Listed) -> bool {
        match &self.ring {
            Some(ring) => ring.ids().any(|id| item.signer == Some(id)),
            None => true,
        }
    }
}

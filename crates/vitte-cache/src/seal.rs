//! Who vouches for what is on a disk.

use cache_core::signing::{KeyId, Keyring, Standing};
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

/// Where an entry may be, and who must have signed it.
#[derive(Clone, Copy)]
pub(crate) struct Address {
    pub(crate) key: Key,
    signer: Option<KeyId>,
}

impl Seal {
    /// Returns where the entry under `key` may be: first where it is put.
    pub(crate) fn addresses(&self, key: &Key) -> impl Iterator<Item = Address> {
        let plain = self.ring.is_none().then_some(Address { key: *key, signer: None });
        let signed = self.ring.iter().flat_map(Keyring::ids);
        plain.into_iter().chain(signed.map(|id| Address { key: id.address(key), signer: Some(id) }))
    }

    /// Signs an entry that will be stored under `key` and not change any more.
    pub(crate) fn sign(&self, key: &Key, entry: &mut Entry) -> Result<()> {
        match &self.ring {
            Some(ring) => Ok(ring.sign(key, entry)?),
            None => Ok(()),
        }
    }

    /// Returns why the entry under `key`, found at `address`, is a miss, and tells that.
    pub(crate) fn flaw(&self, key: &Key, address: Address, entry: &Entry) -> Option<MissReason> {
        let reason = match self.ring.as_ref()?.standing(key, entry) {
            Standing::Valid if entry.signer() == address.signer => return None,
            Standing::Valid | Standing::Forged => MissReason::Forged,
            Standing::Unsigned => MissReason::Unsigned,
            Standing::UnknownSigner => MissReason::UnknownSigner,
        };
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

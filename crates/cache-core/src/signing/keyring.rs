//! The keys that count at the same time.

use crate::{Entry, Key, MissReason, Result};

use super::{KeyId, SigningKey, Standing, Unsigned};

/// One key to sign with, and further ones whose signatures are accepted: while a key is replaced by another, both count.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Keyring {
    current: SigningKey,
    accepted: Vec<SigningKey>,
}

/// Where an entry may be, and who must have signed what is there.
///
/// Two workspaces derive equal keys from equal inputs. Under one address they could not read each other's entries and would
/// replace them by turns, so the entries of each signing key are at [addresses of their own](KeyId::address).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// What a store knows it by.
    pub address: Key,
    /// Whose entries are there; anybody's if nothing.
    pub signer: Option<KeyId>,
}

impl Place {
    /// Returns the place of entries that nobody has to sign: the key as it is.
    pub const fn plain(key: &Key) -> Self {
        Self { address: *key, signer: None }
    }
}

impl Keyring {
    /// Returns a ring that signs with `current` and accepts no other.
    pub const fn new(current: SigningKey) -> Self {
        Self { current, accepted: Vec::new() }
    }

    /// Returns the ring with `key` accepted as well.
    #[must_use]
    pub fn accepting(mut self, key: SigningKey) -> Self {
        if self.keys().all(|known| known.id() != key.id()) {
            self.accepted.push(key);
        }
        self
    }

    /// Returns the key that it signs with.
    pub const fn current(&self) -> &SigningKey {
        &self.current
    }

    /// Returns the names of all keys whose signatures count, the one that it signs with first.
    pub fn ids(&self) -> impl Iterator<Item = KeyId> {
        self.keys().map(SigningKey::id)
    }

    fn keys(&self) -> impl Iterator<Item = &SigningKey> {
        std::iter::once(&self.current).chain(&self.accepted)
    }

    /// Signs `entry`, to be stored under `key`, instead of whoever signed it before. Any change to it afterwards makes it
    /// [`Standing::Forged`].
    ///
    /// # Errors
    /// If the metadata of the entry is too large to be stored. It is unchanged then.
    pub fn sign(&self, key: &Key, entry: &mut Entry) -> Result<()> {
        entry.signature = Some(self.current.sign(key, entry)?);
        Ok(())
    }

    /// Returns where the entry under `key` may be, the best place first, which is also where it is put: those of all keys of the
    /// ring, and then the key as it is, if `unsigned` entries are accepted.
    pub fn places(&self, key: &Key, unsigned: Unsigned) -> impl Iterator<Item = Place> {
        let plain = (unsigned == Unsigned::Accept).then_some(Place::plain(key));
        self.ids().map(|id| Place { address: id.address(key), signer: Some(id) }).chain(plain)
    }

    /// Returns why the entry under `key`, found at `place`, is a miss; nothing if it counts. In the place of one signer, an
    /// entry of another is one that somebody moved.
    pub fn flaw(&self, key: &Key, place: &Place, entry: &Entry) -> Option<MissReason> {
        match self.standing(key, entry) {
            Standing::Valid if place.signer.is_none() || place.signer == entry.signer() => None,
            Standing::Unsigned if place.signer.is_none() => None,
            Standing::Unsigned => Some(MissReason::Unsigned),
            Standing::UnknownSigner => Some(MissReason::UnknownSigner),
            Standing::Valid | Standing::Forged => Some(MissReason::Forged),
        }
    }

    /// Returns what the signature of `entry`, found under `key`, is worth. Costs a hash of the facts and the value.
    pub fn standing(&self, key: &Key, entry: &Entry) -> Standing {
        let Some(signature) = &entry.signature else { return Standing::Unsigned };
        match self.keys().find(|known| known.id() == signature.key) {
            None => Standing::UnknownSigner,
            Some(known) if known.verifies(key, entry, signature) => Standing::Valid,
            Some(_) => Standing::Forged,
        }
    }
}

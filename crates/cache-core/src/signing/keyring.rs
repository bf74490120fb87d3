//! The keys that count at the same time.

use crate::{Entry, Key, Result};

use super::{KeyId, SigningKey, Standing};

/// One key to sign with, and further ones whose signatures are accepted: while a key is replaced by another, both count.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Keyring {
    current: SigningKey,
    accepted: Vec<SigningKey>,
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

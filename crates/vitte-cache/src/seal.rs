//! Who vouches for what is on a disk or further away.

use std::sync::Arc;

use cache_core::signing::{Keyring, Standing};
use cache_core::{Entry, Key};

use crate::Result;

/// Signs what is stored and refuses what nobody of the ring has signed, if there is a ring.
#[derive(Clone, Debug, Default)]
pub(crate) struct Seal(pub(crate) Option<Arc<Keyring>>);

impl Seal {
    /// Signs an entry that will not change any more.
    pub(crate) fn sign(&self, key: &Key, entry: &mut Entry) -> Result<()> {
        match &self.0 {
            Some(ring) => Ok(ring.sign(key, entry)?),
            None => Ok(()),
        }
    }

    /// Returns whether an entry may be believed.
    pub(crate) fn vouches(&self, key: &Key, entry: &Entry) -> bool {
        self.0.as_ref().is_none_or(|ring| ring.standing(key, entry) == Standing::Valid)
    }
}

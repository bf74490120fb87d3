//! Signatures: which entries come from somebody who may be trusted.
//!
//! A checksum finds damage, and a signature finds a lie: whoever can write to a store, as many can to a shared one, can put
//! an entry with a right checksum there. Signed entries are of use only to those who have the [`SigningKey`], and each
//! [`Signature`] binds what is in the entry to the key that it is found under, so that a right entry in the wrong place
//! is refused as well. Blobs need none, because an entry names them by the digest of their content.
//!
//! What a signature cannot tell is whether there has been a newer entry under the same key: who can write to the store can
//! put an old one back. That is why signed entries have an end.
//!
//! ```
//! use cache_core::signing::{Keyring, SigningKey, Standing};
//! use cache_core::{Entry, Key};
//!
//! let ring = Keyring::new(SigningKey::generate()?);
//! let (key, other) = (Key::from_bytes([1; 32]), Key::from_bytes([2; 32]));
//! let mut entry = Entry { value: "42".into(), ..Entry::default() };
//! ring.sign(&key, &mut entry)?;
//! assert_eq!(ring.standing(&key, &entry), Standing::Valid);
//! assert_eq!(ring.standing(&other, &entry), Standing::Forged);
//! # Ok::<(), cache_core::Error>(())
//! ```

mod key;
mod keyring;
mod source;

pub use key::{KeyId, ParseSigningKeyError, SigningKey};
pub use keyring::{Keyring, Place};
pub use source::ParseKeyringError;

use std::fmt;

/// Who vouches for an [`Entry`](crate::Entry), and the proof.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Signature {
    /// Which key it was made with.
    pub key: KeyId,
    /// The keyed hash.
    pub mac: [u8; 32],
}

impl fmt::Debug for Signature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Signature").field("key", &self.key).finish_non_exhaustive()
    }
}

/// What the signature of an entry is worth to the owner of a [`Keyring`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Standing {
    /// It is right, and made with a key of the ring.
    Valid,
    /// There is none.
    Unsigned,
    /// It is made with a key that the ring does not have. It may well be right for somebody else.
    UnknownSigner,
    /// It says that it is made with a key of the ring, and it is not right: the entry was changed, or moved from another
    /// key.
    Forged,
}

/// What becomes of entries without a signature.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Unsigned {
    /// They are as good as signed ones: for a store that was filled before its entries were signed, and that only those who
    /// are trusted can write to.
    Accept,
    /// They are misses.
    #[default]
    Refuse,
}

#[cfg(test)]
mod tests;

//! The secret that entries are signed with, and its public name.

use std::fmt;
use std::str::FromStr;

use crate::{Entry, Error, Key, Result, hex};

use super::Signature;
use crate::envelope::encode_signed_facts;

/// BLAKE3 `derive_key` context of the name of a key.
const ID_CONTEXT: &str = "vitte-cache 2026-11 signing key id v1";
/// BLAKE3 `derive_key` context of the key of the hash. What is hashed may only change with it, so that a signature of one
/// encoding is never one of another.
const MAC_CONTEXT: &str = "vitte-cache 2026-11 entry signature v1";
/// BLAKE3 `derive_key` context of the mask of an address.
const ADDRESS_CONTEXT: &str = "vitte-cache 2026-11 signed entry address v1";

/// The public name of a [`SigningKey`]: it says which key a signature was made with and gives nothing of it away.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct KeyId([u8; 8]);

impl KeyId {
    /// Returns the name with these bytes.
    pub const fn from_bytes(bytes: [u8; 8]) -> Self {
        Self(bytes)
    }

    /// Returns the bytes of the name.
    pub const fn as_bytes(&self) -> &[u8; 8] {
        &self.0
    }

    /// Returns the address of the entry that is signed with this key and belongs under `key`: in one store, each signer has
    /// a place of its own for every key. Applied to such an address, it returns `key`.
    ///
    /// The address is the key with a mask on it. The mask comes from the name and not from the secret: it keeps signers out
    /// of each other's way, and it is the signature that says which entry is right.
    #[must_use]
    pub fn address(&self, key: &Key) -> Key {
        let mask = blake3::derive_key(ADDRESS_CONTEXT, &self.0);
        Key::from_bytes(std::array::from_fn(|at| key.as_bytes()[at] ^ mask[at]))
    }
}

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "KeyId({self})")
    }
}

/// A secret of 32 bytes. Who has it can sign entries, and check them: there is no public half.
///
/// Its text form is 64 lower-case hexadecimal digits. Neither `Debug` nor an error shows it.
#[derive(Clone)]
pub struct SigningKey {
    id: KeyId,
    /// The secret itself, for its text form.
    secret: [u8; 32],
    /// What is derived from it for the hash.
    mac: [u8; 32],
}

impl SigningKey {
    /// Returns the key with these bytes, which must be random.
    pub fn from_bytes(secret: [u8; 32]) -> Self {
        let id = blake3::derive_key(ID_CONTEXT, &secret);
        let id = KeyId(std::array::from_fn(|at| id[at]));
        Self { id, secret, mac: blake3::derive_key(MAC_CONTEXT, &secret) }
    }

    /// Returns a new key, from the random numbers of the system.
    ///
    /// # Errors
    /// If the system has none to give.
    pub fn generate() -> Result<Self> {
        let mut secret = [0; 32];
        getrandom::fill(&mut secret).map_err(|error| Error::Io {
            what: "cannot make a signing key from the random numbers of the system".to_owned(),
            source: std::io::Error::other(error),
        })?;
        Ok(Self::from_bytes(secret))
    }

    /// Returns the public name of the key.
    pub const fn id(&self) -> KeyId {
        self.id
    }

    /// Returns the 64 digits of the secret, to be kept where only its owner can read it.
    pub fn to_hex(&self) -> String {
        hex::encode(&self.secret)
    }

    /// Returns the signature of `entry` under `key`. A signature that the entry already has is no part of it.
    ///
    /// # Errors
    /// If the metadata of the entry is too large to be stored.
    pub fn sign(&self, key: &Key, entry: &Entry) -> Result<Signature> {
        Ok(Signature { key: self.id, mac: *self.mac(key, entry)?.as_bytes() })
    }

    /// Returns whether `signature` is one of this key, for `entry` under `key`. What can not be signed has no signature.
    pub(super) fn verifies(&self, key: &Key, entry: &Entry, signature: &Signature) -> bool {
        // `blake3::Hash` is compared in constant time, so that nobody finds out a right signature byte by byte.
        signature.key == self.id && self.mac(key, entry).is_ok_and(|mac| mac == signature.mac)
    }

    /// Returns the keyed hash of everything that makes the entry what it is: where it belongs, its facts and outputs as
    /// they are encoded, and its value; each with its length in front, so that nothing can move from one to the other.
    fn mac(&self, key: &Key, entry: &Entry) -> Result<blake3::Hash> {
        let facts = encode_signed_facts(key, entry)
            .map_err(|error| Error::Invalid(format!("the entry cannot be signed: {error}")))?;
        let mut hasher = blake3::Hasher::new_keyed(&self.mac);
        for part in [&facts[..], &entry.value[..]] {
            hasher.update(&(part.len() as u64).to_le_bytes()).update(part);
        }
        Ok(hasher.finalize())
    }
}

impl PartialEq for SigningKey {
    fn eq(&self, other: &Self) -> bool {
        blake3::Hash::from_bytes(self.secret) == blake3::Hash::from_bytes(other.secret)
    }
}

impl Eq for SigningKey {}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SigningKey({})", self.id)
    }
}

/// Says that a text is not the 64 lower-case hexadecimal digits of a signing key. It does not repeat the text, which may be
/// a secret with a typing error.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a signing key has 64 digits of 0-9 a-f, and this text is none")]
pub struct ParseSigningKeyError;

impl FromStr for SigningKey {
    type Err = ParseSigningKeyError;
    fn from_str(text: &str) -> Result<Self, ParseSigningKeyError> {
        hex::decode(text).map(Self::from_bytes).ok_or(ParseSigningKeyError)
    }
}

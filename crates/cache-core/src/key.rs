//! Keys: where an entry is found.

use std::fmt;
use std::str::FromStr;
use std::sync::LazyLock;

use blake3::hazmat::{ContextKey, HasherExt, hash_derive_key_context};
use serde::{Deserialize, Serialize};

use crate::{Digest, Namespace, hex};

/// BLAKE3 `derive_key` context. A change of the encoding below gets a new one, and so no old key is ever met again.
const CONTEXT: &str = "vitte-cache 2026-11 entry key v1";
/// What `derive_key` makes of the context first, each time the same.
static CONTEXT_KEY: LazyLock<ContextKey> = LazyLock::new(|| hash_derive_key_context(CONTEXT));
/// Bytes of parts that are held back, to be hashed at once: most keys have fewer.
const HELD: usize = 4 << 10;
/// Bytes of parts that there is room for from the start.
const USUAL: usize = 256;

/// The address of an [`Entry`](crate::Entry): 32 bytes derived from its parts by a [`KeyBuilder`].
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Key([u8; 32]);

/// Says that a text is not the 64 lower-case hexadecimal digits of a key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no key: a key has 64 digits of 0-9 a-f")]
pub struct ParseKeyError(String);

impl Key {
    /// Returns the key with these bytes.
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// Returns the bytes of the key.
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// Returns the 64 lower-case digits of the key.
    pub fn to_hex(&self) -> String {
        hex::encode(&self.0)
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.to_hex())
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Key({})", self.to_hex())
    }
}

impl FromStr for Key {
    type Err = ParseKeyError;
    fn from_str(text: &str) -> Result<Self, ParseKeyError> {
        hex::decode(text).map(Self).ok_or_else(|| ParseKeyError(text.chars().take(80).collect()))
    }
}

impl Serialize for Key {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if serializer.is_human_readable() {
            serializer.serialize_str(&self.to_hex())
        } else {
            self.0.serialize(serializer)
        }
    }
}

impl<'de> Deserialize<'de> for Key {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        if deserializer.is_human_readable() {
            String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
        } else {
            <[u8; 32]>::deserialize(deserializer).map(Self)
        }
    }
}

/// Derives a [`Key`] from a namespace, a kind and the caller's parts.
///
/// Every part is written as a type byte, its length and its bytes, and a list as a type byte, its count and its
/// parts. So no two different sequences of parts ever feed the same bytes to the hash: `"ab", "c"` and `"a", "bc"`
/// differ, and so do the text `1` and the number 1, and an absent part and an empty one.
#[derive(Clone)]
pub struct KeyBuilder {
    /// The end of what was added, not hashed yet.
    held: Vec<u8>,
    /// What came before, if that is more than is held back. It is large, and a builder is moved with every part.
    hasher: Option<Box<blake3::Hasher>>,
}

/// Type bytes. They are part of the format: never renumber.
mod tag {
    pub(super) const BYTES: u8 = 1;
    pub(super) const TEXT: u8 = 2;
    pub(super) const NUMBER: u8 = 3;
    pub(super) const DIGEST: u8 = 4;
    pub(super) const LIST: u8 = 5;
    pub(super) const ABSENT: u8 = 6;
    pub(super) const KEY: u8 = 7;
}

impl KeyBuilder {
    /// Returns a builder for keys of one `kind` of entry in `namespace`.
    pub fn new(namespace: &Namespace, kind: &str) -> Self {
        Self { held: Vec::with_capacity(USUAL), hasher: None }.text(namespace.as_str()).text(kind)
    }

    /// Adds bytes.
    #[must_use]
    pub fn bytes(self, bytes: &[u8]) -> Self {
        self.part(tag::BYTES, bytes)
    }

    /// Adds a text.
    #[must_use]
    pub fn text(self, text: &str) -> Self {
        self.part(tag::TEXT, text.as_bytes())
    }

    /// Adds a number.
    #[must_use]
    pub fn number(self, number: u64) -> Self {
        self.part(tag::NUMBER, &number.to_le_bytes())
    }

    /// Adds the address of a content. The function is part of it.
    #[must_use]
    pub fn digest(mut self, digest: &Digest) -> Self {
        self.add(&[tag::DIGEST, digest.function().id()]);
        self.add(digest.as_bytes());
        self
    }

    /// Adds another key.
    #[must_use]
    pub fn key(self, key: &Key) -> Self {
        self.part(tag::KEY, key.as_bytes())
    }

    /// Adds something that is not there, which differs from everything that is.
    #[must_use]
    pub fn absent(mut self) -> Self {
        self.add(&[tag::ABSENT]);
        self
    }

    /// Adds a list: its count, then what `add` adds for each item, in the order given.
    #[must_use]
    pub fn list<T>(mut self, items: &[T], add: impl Fn(Self, &T) -> Self) -> Self {
        self.add(&[tag::LIST]);
        self.add(&(items.len() as u64).to_le_bytes());
        items.iter().fold(self, add)
    }

    /// Returns the key of all that was added.
    pub fn finish(&self) -> Key {
        let hash = match &self.hasher {
            Some(hasher) => hasher.clone().update(&self.held).finalize(),
            None => new_hasher().update(&self.held).finalize(),
        };
        Key(*hash.as_bytes())
    }

    fn part(mut self, tag: u8, bytes: &[u8]) -> Self {
        self.add(&[tag]);
        self.add(&(bytes.len() as u64).to_le_bytes());
        self.add(bytes);
        self
    }

    fn add(&mut self, bytes: &[u8]) {
        if self.held.len() + bytes.len() > HELD {
            self.hasher.get_or_insert_with(|| Box::new(new_hasher())).update(&self.held).update(bytes);
            self.held.clear();
        } else {
            self.held.extend_from_slice(bytes);
        }
    }
}

fn new_hasher() -> blake3::Hasher {
    blake3::Hasher::new_from_context_key(&CONTEXT_KEY)
}

impl fmt::Debug for KeyBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("KeyBuilder").field(&self.finish()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[derive(Debug, Clone, PartialEq)]
    enum Part {
        Bytes(Vec<u8>),
        Text(String),
        Number(u64),
        Absent,
        List(Vec<String>),
    }

    fn part() -> impl Strategy<Value = Part> {
        // Small alphabets, so that near-collisions are common.
        prop_oneof![
            proptest::collection::vec(0_u8..8, 0..12).prop_map(Part::Bytes),
            "[ab]{0,4}".prop_map(Part::Text),
            (0_u64..4).prop_map(Part::Number),
            Just(Part::Absent),
            proptest::collection::vec("[ab]{0,2}", 0..3).prop_map(Part::List),
        ]
    }

    fn key(parts: &[Part]) -> Key {
        parts
            .iter()
            .fold(KeyBuilder::new(&Namespace::default(), "test"), |builder, part| match part {
                Part::Bytes(b) => builder.bytes(b),
                Part::Text(t) => builder.text(t),
                Part::Number(n) => builder.number(*n),
                Part::Absent => builder.absent(),
                Part::List(l) => builder.list(l, |b, t| b.text(t)),
            })
            .finish()
    }

    proptest! {
        #[test]
        fn different_parts_have_different_keys(
            a in proptest::collection::vec(part(), 0..4),
            b in proptest::collection::vec(part(), 0..4),
        ) {
            // A list followed by its would-be items may not look like a longer list, and so on.
            prop_assert_eq!(a == b, key(&a) == key(&b));
        }
    }

    #[test]
    fn the_derivation_is_fixed() {
        // A change here makes every stored entry unreachable: it needs a new CONTEXT and a line in the changelog.
        let key = KeyBuilder::new(&Namespace::default(), "compile")
            .text("cc")
            .bytes(b"\0")
            .number(7)
            .digest(&Digest::blake3(b"x"))
            .absent()
            .list(&["a", "b"], |b, t| b.text(t))
            .finish();
        assert_eq!(key.to_hex(), "f4710ce9d7a46200de6c38be82dec413d61af69fa4b60b931260bb493eabc6dd");
        assert_eq!(key.to_hex().parse(), Ok(key));
    }

    #[test]
    fn how_much_is_held_back_makes_no_difference() {
        let parts = [0, 1, HELD - 40, HELD - 1, HELD, HELD + 1, 3 * HELD].map(|len| vec![7; len]);
        for part in &parts {
            for other in &parts {
                let mut hasher = blake3::Hasher::new_derive_key(CONTEXT);
                for (tag, bytes) in [
                    (tag::TEXT, Namespace::default().as_str().as_bytes()),
                    (tag::TEXT, &b"test"[..]),
                    (tag::BYTES, part),
                    (tag::BYTES, other),
                ] {
                    hasher.update(&[tag]).update(&(bytes.len() as u64).to_le_bytes()).update(bytes);
                }
                let key = KeyBuilder::new(&Namespace::default(), "test").bytes(part).bytes(other).finish();
                assert_eq!(
                    key.as_bytes(),
                    hasher.finalize().as_bytes(),
                    "{} and {}",
                    part.len(),
                    other.len()
                );
            }
        }
    }

    #[test]
    fn namespaces_and_kinds_isolate() {
        let other = Namespace::new("other").unwrap();
        let keys = [
            KeyBuilder::new(&Namespace::default(), "a").finish(),
            KeyBuilder::new(&Namespace::default(), "b").finish(),
            KeyBuilder::new(&other, "a").finish(),
        ];
        assert!(keys[0] != keys[1] && keys[0] != keys[2] && keys[1] != keys[2]);
    }
}

//! The JSON form of proto3 (`protobuf.dev/programming-guides/json`): 64-bit numbers are strings, bytes are base64, a field that
//! is absent or null has its default, names are accepted in both spellings, and unknown names are ignored.

use std::fmt;
use std::marker::PhantomData;

use prost::Message as _;
use serde::de::{DeserializeOwned, Error, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};

use super::message::ActionResult;
use super::scan::{Kind, Scan};

/// Largest result in bytes that is converted, in either form. It is in memory while that happens; a result that went through
/// gRPC has no more than this either.
pub(super) const MAX: usize = 4 << 20;
/// Most outputs of one kind in a result that is converted: a few bytes can stand for an output that takes a hundred in memory.
const MAX_ITEMS: usize = 64 << 10;

/// Returns the JSON of a result in protobuf, or nothing if it is none.
pub(super) fn from_protobuf(bytes: &[u8]) -> Option<String> {
    let mut scan = Scan::new(Kind::Result, bytes.len() as u64);
    for piece in bytes.chunks(4 << 10) {
        // What it names is asked for elsewhere.
        scan.feed(piece, &mut Vec::new()).ok()?;
    }
    if !scan.is_whole() || scan.fields() > MAX_ITEMS {
        return None;
    }
    let result = ActionResult::decode(bytes).ok()?;
    serde_json::to_string(&result).ok()
}

/// Returns the protobuf of a result in JSON.
pub(super) fn to_protobuf(json: &[u8]) -> serde_json::Result<Vec<u8>> {
    // A list would be taken for the fields in their order.
    if json.trim_ascii_start().first() != Some(&b'{') {
        return Err(serde_json::Error::custom("it is no object"));
    }
    Ok(serde_json::from_slice::<ActionResult>(json)?.encode_to_vec())
}

pub(super) fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

/// Reads a value, or null for its default.
pub(super) fn or_default<'de, T: Default + Deserialize<'de>, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<T, D::Error> {
    Option::deserialize(deserializer).map(Option::unwrap_or_default)
}

/// Reads a list that is not too long, or null for none.
pub(super) fn list<'de, T: DeserializeOwned, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Vec<T>, D::Error> {
    struct Items<T>(PhantomData<T>);

    impl<'de, T: DeserializeOwned> Visitor<'de> for Items<T> {
        type Value = Vec<T>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a list")
        }

        fn visit_unit<E: Error>(self) -> Result<Vec<T>, E> {
            Ok(Vec::new())
        }

        fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Vec<T>, A::Error> {
            let mut list = Vec::new();
            while let Some(item) = items.next_element()? {
                if list.len() == MAX_ITEMS {
                    return Err(Error::invalid_length(MAX_ITEMS + 1, &"a shorter list"));
                }
                list.push(item);
            }
            Ok(list)
        }
    }

    deserializer.deserialize_any(Items(PhantomData))
}

/// A number, which may be written as text.
#[derive(Deserialize)]
#[serde(untagged)]
enum Number {
    Number(i64),
    Text(String),
}

fn number<'de, D: Deserializer<'de>>(deserializer: D) -> Result<i64, D::Error> {
    match Option::deserialize(deserializer)? {
        None => Ok(0),
        Some(Number::Number(number)) => Ok(number),
        Some(Number::Text(text)) => text.parse().map_err(D::Error::custom),
    }
}

/// 64-bit numbers: text, because a number of JavaScript has fewer digits.
pub(super) mod long {
    use serde::{Deserializer, Serializer};

    #[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes references")]
    pub(in super::super) fn serialize<S: Serializer>(value: &i64, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(value)
    }

    pub(in super::super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<i64, D::Error> {
        super::number(deserializer)
    }
}

/// 32-bit numbers.
pub(super) mod int {
    use serde::de::Error;
    use serde::{Deserializer, Serializer};

    #[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes references")]
    pub(in super::super) fn serialize<S: Serializer>(value: &i32, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_i32(*value)
    }

    pub(in super::super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<i32, D::Error> {
        super::number(deserializer)?.try_into().map_err(D::Error::custom)
    }
}

/// Numbers in a message of their own, of which JSON has only the number.
pub(super) mod wrapped {
    use serde::de::Error;
    use serde::{Deserialize, Deserializer, Serializer};

    use super::super::message::UInt32Value;
    use super::Number;

    #[expect(clippy::ref_option, clippy::trivially_copy_pass_by_ref, reason = "serde passes references")]
    pub(in super::super) fn serialize<S: Serializer>(
        value: &Option<UInt32Value>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        match value {
            Some(UInt32Value { value }) => serializer.serialize_u32(*value),
            None => serializer.serialize_none(),
        }
    }

    pub(in super::super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<UInt32Value>, D::Error> {
        let value = match Option::deserialize(deserializer)? {
            None => return Ok(None),
            Some(Number::Number(number)) => number.try_into().map_err(D::Error::custom)?,
            Some(Number::Text(text)) => text.parse().map_err(D::Error::custom)?,
        };
        Ok(Some(UInt32Value { value }))
    }
}

/// Bytes: base64 in the usual alphabet; that for URLs is accepted, padded or not.
pub(super) mod base64 {
    use ::base64::Engine as _;
    use ::base64::alphabet::STANDARD as ALPHABET;
    use ::base64::engine::general_purpose::STANDARD;
    use ::base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
    use bytes::Bytes;
    use serde::de::Error;
    use serde::{Deserialize, Deserializer, Serializer};

    const TOLERANT: GeneralPurpose = GeneralPurpose::new(
        &ALPHABET,
        GeneralPurposeConfig::new()
            .with_decode_padding_mode(DecodePaddingMode::Indifferent)
            .with_decode_allow_trailing_bits(true),
    );

    pub(in super::super) fn serialize<S: Serializer>(
        value: &Bytes,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&STANDARD.encode(value))
    }

    pub(in super::super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Bytes, D::Error> {
        let Some(text) = Option::<String>::deserialize(deserializer)? else { return Ok(Bytes::new()) };
        let digits = text.replace('-', "+").replace('_', "/");
        TOLERANT.decode(digits).map(Bytes::from).map_err(D::Error::custom)
    }
}

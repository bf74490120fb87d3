//! Why a value cannot be turned into bytes, or bytes into a value.

use std::fmt;

/// Says why values of a type cannot be cached.
#[derive(Debug, thiserror::Error)]
#[error("a value of the type `{type_name}` cannot be cached: {problem}")]
pub(crate) struct EncodeError {
    pub(super) type_name: &'static str,
    pub(super) problem: Problem,
}

/// What stops an encoder or a decoder.
#[derive(Debug)]
pub(super) enum Problem {
    /// The type's own code says so.
    Custom(String),
    /// A field is left out on some condition, and nothing in the bytes would say so.
    SkippedField(&'static str),
    /// The type asks what comes next instead of saying what it needs.
    AsksWhatIsNext(&'static str),
    /// Written in one way, read in another.
    Asymmetric,
    /// Values in values in values.
    TooDeep,
    /// The bytes are no value of the type.
    Malformed,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Custom(message) => f.write_str(message),
            Self::SkippedField(field) => write!(
                f,
                "it leaves out the field `{field}`; remove `#[serde(skip_serializing_if)]` or convert it to a type \
                 without"
            ),
            Self::AsksWhatIsNext(how) => write!(
                f,
                "it is read through `{how}`, as with `#[serde(flatten)]`, `#[serde(untagged)]` and `#[serde(tag)]`; \
                 convert it to a type without them"
            ),
            Self::Asymmetric | Self::Malformed => f.write_str(
                "it is written in one way and read in another, as with `#[serde(alias)]` or an attribute for one \
                 direction only; convert it to a type that is read as it is written",
            ),
            Self::TooDeep => write!(f, "it is nested more than {} levels deep", super::MAX_DEPTH),
        }
    }
}

impl std::error::Error for Problem {}

impl serde::ser::Error for Problem {
    fn custom<T: fmt::Display>(message: T) -> Self {
        Self::Custom(message.to_string())
    }
}

impl serde::de::Error for Problem {
    fn custom<T: fmt::Display>(message: T) -> Self {
        Self::Custom(message.to_string())
    }
}

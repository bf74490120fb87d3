//! Namespaces keep the entries of different users of one store apart.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Longest namespace in bytes; it appears in file names, URLs and metric labels.
const MAX_LEN: usize = 100;

/// A name that isolates entries: the same parts in two namespaces give two [`Key`](crate::Key)s.
///
/// 1 to 100 characters of `A-Z a-z 0-9 . _ -`, not starting with a dot or a dash.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Namespace(String);

/// Says why a text is no namespace.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no namespace: use 1 to 100 characters of A-Z a-z 0-9 . _ - that do not start with . or -")]
pub struct NamespaceError(String);

impl Namespace {
    /// Returns the namespace called `name`.
    ///
    /// # Errors
    /// If `name` is empty, too long, or has a character that is not allowed.
    pub fn new(name: impl Into<String>) -> Result<Self, NamespaceError> {
        let name = name.into();
        let allowed = |c: u8| c.is_ascii_alphanumeric() || matches!(c, b'.' | b'_' | b'-');
        let starts_well = name.as_bytes().first().is_some_and(|c| !matches!(c, b'.' | b'-'));
        if starts_well && name.len() <= MAX_LEN && name.bytes().all(allowed) {
            Ok(Self(name))
        } else {
            Err(NamespaceError(name.chars().take(MAX_LEN).collect()))
        }
    }

    /// Returns the name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Default for Namespace {
    /// Returns the namespace `default`.
    fn default() -> Self {
        Self("default".to_owned())
    }
}

impl FromStr for Namespace {
    type Err = NamespaceError;
    fn from_str(name: &str) -> Result<Self, NamespaceError> {
        Self::new(name)
    }
}

impl TryFrom<String> for Namespace {
    type Error = NamespaceError;
    fn try_from(name: String) -> Result<Self, NamespaceError> {
        Self::new(name)
    }
}

impl From<Namespace> for String {
    fn from(namespace: Namespace) -> Self {
        namespace.0
    }
}

impl fmt::Display for Namespace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Namespace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Namespace({})", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_a_namespace() {
        for good in ["default", "a", "team-1.web_app", &"x".repeat(100)] {
            assert_eq!(Namespace::new(good).unwrap().as_str(), good);
        }
        for bad in ["", ".", "..", "-n", "a/b", "a b", "é", "a\0", &"x".repeat(101)] {
            assert!(Namespace::new(bad).is_err(), "{bad:?}");
        }
    }
}

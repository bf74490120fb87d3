//! What an action does.

use std::fmt;
use std::str::FromStr;

use super::id::ActionIdError;

/// Longest name of a kind of the caller's own, in bytes; it appears in metric labels.
const MAX_NAME: usize = 100;
/// What the text form of such a kind starts with, so that `custom:compile` is not `compile`.
const CUSTOM: &str = "custom:";

/// What an action does. Equal inputs of two kinds are two actions.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum ActionKind {
    /// Source to object.
    Compile,
    /// Objects to a program or library.
    Link,
    /// A description to source.
    Codegen,
    /// Running tests.
    Test,
    /// Files to an archive or image.
    Package,
    /// Any other file to file.
    Transform,
    /// Looking for flaws.
    Lint,
    /// Checking types, without output that would run.
    TypeCheck,
    /// A kind of the caller's own.
    Custom(CustomKind),
}

/// The name of an [`ActionKind::Custom`]: 1 to 100 characters of `A-Z a-z 0-9 . _ -`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct CustomKind(String);

impl ActionKind {
    /// The kinds that have a name of their own.
    pub const BUILT_IN: [Self; 8] = [
        Self::Compile,
        Self::Link,
        Self::Codegen,
        Self::Test,
        Self::Package,
        Self::Transform,
        Self::Lint,
        Self::TypeCheck,
    ];

    /// Returns the caller's own kind called `name`. It differs from a built-in one of the same name.
    ///
    /// # Errors
    /// If `name` is empty, too long, or has a character that is not allowed.
    pub fn custom(name: impl Into<String>) -> Result<Self, ActionIdError> {
        let name = name.into();
        let allowed = |c: u8| c.is_ascii_alphanumeric() || matches!(c, b'.' | b'_' | b'-');
        if name.is_empty() || name.len() > MAX_NAME || !name.bytes().all(allowed) {
            return Err(ActionIdError::kind(&name));
        }
        Ok(Self::Custom(CustomKind(name)))
    }

    /// Returns the name, without what the text form of a custom kind starts with.
    pub fn name(&self) -> &str {
        match self {
            Self::Compile => "compile",
            Self::Link => "link",
            Self::Codegen => "codegen",
            Self::Test => "test",
            Self::Package => "package",
            Self::Transform => "transform",
            Self::Lint => "lint",
            Self::TypeCheck => "type-check",
            Self::Custom(CustomKind(name)) => name,
        }
    }
}

impl fmt::Display for ActionKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if matches!(self, Self::Custom(_)) {
            f.write_str(CUSTOM)?;
        }
        f.write_str(self.name())
    }
}

impl FromStr for ActionKind {
    type Err = ActionIdError;
    fn from_str(text: &str) -> Result<Self, ActionIdError> {
        if let Some(name) = text.strip_prefix(CUSTOM) {
            return Self::custom(name);
        }
        let found = Self::BUILT_IN.into_iter().find(|kind| kind.name() == text);
        found.ok_or_else(|| ActionIdError::kind(text))
    }
}

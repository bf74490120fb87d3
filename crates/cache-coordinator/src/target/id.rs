//! The identity of a target, and what it is made from.

use std::fmt;

use cache_core::Digest;

use crate::action::ActionIdError;
use crate::action::{Escaped, checked};

/// The name of a target, or of one unit of it: a module, a function.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TargetId {
    name: String,
    sub_id: Option<String>,
}

/// A target that another one is made from.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TargetDep {
    /// Which one.
    pub target: TargetId,
    /// The digest of its outputs, from [`Hit::digest`](crate::action::Hit::digest) or
    /// [`Recording::outputs`](crate::action::Recording::outputs). A target that was made again with equal outputs is no
    /// reason to make again what is made from it.
    pub outputs: Digest,
}

impl TargetId {
    /// Returns the id of the target called `name`.
    ///
    /// # Errors
    /// If `name` is empty or longer than 4096 bytes.
    pub fn new(name: impl Into<String>) -> Result<Self, ActionIdError> {
        Ok(Self { name: checked("target", name.into())?, sub_id: None })
    }

    /// Returns the id of one unit of the target.
    ///
    /// # Errors
    /// If `sub_id` is empty or longer than 4096 bytes.
    pub fn with_sub_id(self, sub_id: impl Into<String>) -> Result<Self, ActionIdError> {
        Ok(Self { sub_id: Some(checked("sub-id", sub_id.into())?), ..self })
    }

    /// Returns the name of the target.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Returns the unit of the target, if it is one.
    pub fn sub_id(&self) -> Option<&str> {
        self.sub_id.as_deref()
    }
}

impl fmt::Display for TargetId {
    /// Writes `name` or `name,sub-id`, with commas, `%`, white space and control characters as `%2c` and so on.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", Escaped(&self.name))?;
        self.sub_id.as_ref().map_or(Ok(()), |sub_id| write!(f, ",{}", Escaped(sub_id)))
    }
}

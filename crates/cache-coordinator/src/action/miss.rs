//! Why something has to be done again.

use std::fmt;

use cache_core::TreePath;

/// Why an action or a target is not cached. Each reason has a [`name`](Self::name) for metrics, and a sentence for people.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Miss {
    /// Nothing was recorded, or it was evicted.
    Absent,
    /// The last execution failed.
    Failed,
    /// What was recorded is damaged, or of another version.
    Unreadable,
    /// What was recorded is not signed, and only what is signed counts. A chain of tiers tells; another store has nothing then.
    Unsigned,
    /// What was recorded is signed with a key that is not known here. A chain tells, as above.
    UnknownSigner,
    /// What was recorded has a wrong signature; it was removed. A chain tells, as above.
    Forged,
    /// An input has another content, or may be executed where it could not, or the reverse.
    InputChanged {
        /// Which one.
        path: TreePath,
    },
    /// There is an input that was not there, or was none.
    InputAdded {
        /// Which one.
        path: TreePath,
    },
    /// An input is not there any more, or is none.
    InputRemoved {
        /// Which one.
        path: TreePath,
    },
    /// It cannot be told what an input contains.
    InputUnreadable {
        /// Which one.
        path: TreePath,
        /// Why.
        why: String,
    },
    /// A target that this one is made from has other outputs, or is a new or former dependency.
    DependencyChanged {
        /// Its name.
        target: String,
    },
    /// The flags are others.
    FlagsChanged,
    /// An environment variable has another value, or is a new or former part of the metadata.
    EnvironmentChanged {
        /// Its name.
        name: String,
    },
    /// The tool is another one.
    ToolChanged,
    /// An output is not in the tree as it was made, and its content is not in the store.
    OutputLost {
        /// Which one.
        path: TreePath,
    },
    /// Everything is as it was, but the outputs cannot be put into the tree.
    NotRestored {
        /// Why.
        why: String,
    },
    /// The store could not tell.
    StoreFailed {
        /// What it said.
        why: String,
    },
}

impl Miss {
    /// Returns the name of the reason, the same for all files and targets.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Absent => "absent",
            Self::Failed => "failed",
            Self::Unreadable => "unreadable",
            Self::Unsigned => "unsigned",
            Self::UnknownSigner => "unknown-signer",
            Self::Forged => "forged",
            Self::InputChanged { .. } => "input-changed",
            Self::InputAdded { .. } => "input-added",
            Self::InputRemoved { .. } => "input-removed",
            Self::InputUnreadable { .. } => "input-unreadable",
            Self::DependencyChanged { .. } => "dependency-changed",
            Self::FlagsChanged => "flags-changed",
            Self::EnvironmentChanged { .. } => "environment-changed",
            Self::ToolChanged => "tool-changed",
            Self::OutputLost { .. } => "output-lost",
            Self::NotRestored { .. } => "not-restored",
            Self::StoreFailed { .. } => "store-failed",
        }
    }
}

impl fmt::Display for Miss {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Absent => f.write_str("nothing is recorded"),
            Self::Failed => f.write_str("the last execution failed"),
            Self::Unreadable => f.write_str("what was recorded is damaged or of another version"),
            Self::Unsigned => f.write_str("what was recorded is not signed"),
            Self::UnknownSigner => {
                f.write_str("what was recorded is signed with a key that is not known here")
            }
            Self::Forged => f.write_str("what was recorded has a wrong signature and was removed"),
            Self::InputChanged { path } => write!(f, "{path} has changed"),
            Self::InputAdded { path } => write!(f, "{path} is new"),
            Self::InputRemoved { path } => write!(f, "{path} is gone"),
            Self::InputUnreadable { path, why } => write!(f, "{path} cannot be checked: {why}"),
            Self::DependencyChanged { target } => write!(f, "its dependency {target} has changed"),
            Self::FlagsChanged => f.write_str("the flags have changed"),
            Self::EnvironmentChanged { name } => write!(f, "the environment variable {name} has changed"),
            Self::ToolChanged => f.write_str("the tool has changed"),
            Self::OutputLost { path } => {
                write!(f, "the output {path} is not as it was made, and its content is not in the cache")
            }
            Self::NotRestored { why } => write!(f, "its outputs cannot be put into the tree: {why}"),
            Self::StoreFailed { why } => write!(f, "the cache cannot tell: {why}"),
        }
    }
}

impl std::error::Error for Miss {}

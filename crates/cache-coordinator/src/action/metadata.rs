//! What an action runs with besides its input files.

use cache_core::{Digest, EntryMeta, EnvDependency, HashFunction, KeyBuilder, Namespace};

use super::miss::Miss;

/// Flags, environment and tool of an action: with others, its result may be another.
///
/// Only digests are stored, as flags and variables may hold secrets.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ActionMetadata {
    /// The flags, in their order.
    pub flags: Vec<String>,
    /// The environment variables that count, each with its value or nothing if it is unset, in any order.
    pub env: Vec<(String, Option<String>)>,
    /// What the tool is: the digest of the program, or of what it says about its version.
    pub tool: Option<Digest>,
}

/// [`ActionMetadata`] as it is stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Recorded {
    pub(crate) flags: Digest,
    pub(crate) env: Vec<EnvDependency>,
    pub(crate) tool: Option<Digest>,
}

impl ActionMetadata {
    /// Returns what is stored of it.
    pub(crate) fn recorded(&self) -> Recorded {
        let flags =
            KeyBuilder::new(&Namespace::default(), "flags").list(&self.flags, |key, flag| key.text(flag));
        let mut env: Vec<EnvDependency> = self
            .env
            .iter()
            .map(|(name, value)| EnvDependency {
                name: name.clone(),
                value: value.as_ref().map(|value| Digest::blake3(value.as_bytes())),
            })
            .collect();
        env.sort_by(|a, b| a.name.cmp(&b.name).then_with(|| a.value.cmp(&b.value)));
        env.dedup();
        Recorded {
            flags: Digest::new(HashFunction::Blake3, *flags.finish().as_bytes()),
            env,
            tool: self.tool,
        }
    }
}

impl Recorded {
    /// Returns what differs from what was stored: `flags` in the value of the entry, and the rest in `meta`.
    pub(crate) fn differs(&self, flags: &Digest, meta: &EntryMeta) -> Option<Miss> {
        let stored = &meta.dependencies;
        if self.tool != stored.tool {
            return Some(Miss::ToolChanged);
        }
        if self.flags != *flags {
            return Some(Miss::FlagsChanged);
        }
        let other = self.env.iter().find(|now| !stored.env.contains(now));
        let gone = || stored.env.iter().find(|then| !self.env.contains(then));
        other.or_else(gone).map(|env| Miss::EnvironmentChanged { name: env.name.clone() })
    }
}

//! Executions that do not always come out the same.

use std::cmp::Reverse;

use cache_core::{Key, ListFilter, Result};

use super::ledger::Ledger;
use super::record::{History, Record};
use super::trim::PAGE;

/// How many are reported: more than anybody reads, less than a megabyte.
const MAX_REPORTED: usize = 1000;
/// Tag of a record: how many different outputs there were, if there was more than one.
pub(crate) const VARIANTS_TAG: &str = "variants";

/// Something that had different outputs although nothing that went in was different.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Nondeterministic {
    /// The text form of its [`ActionId`](super::ActionId) or [`TargetId`](crate::target::TargetId).
    pub name: String,
    /// How often it was executed, and what came out.
    pub history: History,
}

impl Ledger {
    /// Returns what is recorded with different outputs of equal executions; of more than 1000, those with most variants.
    pub(crate) async fn nondeterministic(&self) -> Result<Vec<Nondeterministic>> {
        let filter = ListFilter {
            namespace: Some(self.namespace.clone()),
            kind: Some(self.kind.to_owned()),
            name_prefix: None,
        };
        let mut found: Vec<(Reverse<usize>, String, Key)> = Vec::new();
        let mut after = None;
        loop {
            let page = self.store.list(&filter, after.as_deref(), PAGE).await?;
            for item in page.items {
                let variants = item.meta.tags.get(VARIANTS_TAG).and_then(|text| text.parse().ok());
                found.extend(variants.map(|variants| (Reverse(variants), item.meta.name, item.key)));
            }
            found.sort_unstable();
            found.truncate(MAX_REPORTED);
            after = page.next;
            if after.is_none() {
                break;
            }
        }
        let keys: Vec<Key> = found.iter().map(|(_, _, key)| *key).collect();
        let entries = self.store.get_many(&keys).await?;
        let mut all: Vec<Nondeterministic> = Vec::new();
        for ((_, name, _), entry) in found.into_iter().zip(entries) {
            let record = entry.and_then(|entry| Record::decode(&entry, self.kind, &name));
            let history = record.map(|record| record.history).filter(|history| !history.is_deterministic());
            all.extend(history.map(|history| Nondeterministic { name, history }));
        }
        // The last state of a target is recorded twice.
        all.sort_by(|a, b| {
            let variants = |it: &Nondeterministic| it.history.variants().len();
            variants(b).cmp(&variants(a)).then_with(|| a.name.cmp(&b.name))
        });
        all.dedup();
        Ok(all)
    }
}

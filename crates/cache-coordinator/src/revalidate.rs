//! Entries that are served while somebody looks whether there is a newer one.

use cache_core::{Entry, Key};

use crate::chain::Chain;
use crate::lookup::Answer;
use crate::turns::Urgency;

impl Chain {
    /// Has an entry that was found in the tier `from` compared with slower tiers, if that is wanted and nobody did it
    /// lately. The caller does not wait.
    pub(crate) fn revalidate(&self, key: &Key, entry: &Entry, from: usize) {
        let Some(checked) = &self.checked else { return };
        if checked.contains(key) {
            return;
        }
        // Also when it comes from the slowest tier: that is as new as it gets.
        checked.insert(key);
        if self.readable().any(|(index, _)| index > from) && self.promotion_targets(from + 1).next().is_some()
        {
            self.check_entry(key, entry, from, self.watch(key));
        }
    }

    /// Returns the entry that the first slower tier has, and which tier that is, if it was made later than `entry`.
    ///
    /// Another one that was made earlier is what this chain, or an earlier process, wanted to replace and could not.
    pub(crate) async fn newer(&self, key: &Key, entry: &Entry, from: usize) -> Option<(Box<Entry>, usize)> {
        for index in from + 1..self.links.len() {
            if let Answer::Found(other) = self.ask(index, key, Urgency::Prefetch).await {
                return (other.meta.created > entry.meta.created).then_some((other, index));
            }
        }
        None
    }
}

//! All keys of a log, and what is known of each whatever the policy.

use std::collections::HashMap;

/// Gives keys small numbers, so that policies can keep their state in arrays.
#[derive(Default)]
pub(super) struct Catalog {
    ids: HashMap<u64, u32>,
    known: Vec<Known>,
}

#[derive(Clone, Copy)]
struct Known {
    /// Bytes of the entry, as last told.
    size: Option<u64>,
    /// Gets before any size was told.
    waiting: u32,
}

impl Catalog {
    /// Returns the number of `key`; nothing if it is new and there are `max` others.
    pub(super) fn id(&mut self, key: u64, max: usize) -> Option<u32> {
        if let Some(id) = self.ids.get(&key) {
            return Some(*id);
        }
        if self.known.len() >= max {
            return None;
        }
        let id = u32::try_from(self.known.len()).ok()?;
        self.ids.insert(key, id);
        self.known.push(Known { size: None, waiting: 0 });
        Some(id)
    }

    /// Notes the size of an entry and returns how many gets have waited for it.
    pub(super) fn learn(&mut self, id: u32, bytes: u64) -> u64 {
        let known = &mut self.known[id as usize];
        known.size = Some(bytes);
        std::mem::take(&mut known.waiting).into()
    }

    /// Returns the bytes that a get asks for: 0 for now if nobody has told them yet.
    pub(super) fn size_for_get(&mut self, id: u32) -> u64 {
        let known = &mut self.known[id as usize];
        if known.size.is_none() {
            known.waiting = known.waiting.saturating_add(1);
        }
        known.size.unwrap_or(0)
    }

    /// Returns how many keys there are.
    pub(super) fn len(&self) -> usize {
        self.known.len()
    }

    /// Returns the bytes of all entries.
    pub(super) fn bytes(&self) -> u64 {
        self.known.iter().filter_map(|known| known.size).fold(0, u64::saturating_add)
    }
}

//! The layout of one file per item, about: what was not used for longest goes first.

use super::policy::{Policy, slot};

/// Space on disk is given out in blocks of this many bytes.
const BLOCK: u64 = 4096;
/// What a file takes besides: its name in the directory.
const NAME: u64 = 160;
/// No entry.
const NONE: u32 = u32::MAX;

/// An LRU cache: a list of entries, doubly linked through an array.
pub(super) struct Files {
    limit: u64,
    used: u64,
    nodes: Vec<Node>,
    newest: u32,
    oldest: u32,
}

#[derive(Clone)]
struct Node {
    newer: u32,
    older: u32,
    /// Bytes on disk; 0 if it is not there.
    cost: u64,
}

impl Default for Node {
    fn default() -> Self {
        Self { newer: NONE, older: NONE, cost: 0 }
    }
}

impl Files {
    /// Returns an empty cache of `limit` bytes.
    pub(super) fn new(limit: u64) -> Self {
        Self { limit, used: 0, nodes: Vec::new(), newest: NONE, oldest: NONE }
    }

    fn is_there(&self, id: u32) -> bool {
        self.nodes.get(id as usize).is_some_and(|node| node.cost > 0)
    }

    /// Returns where the link is kept that leads from `id`, or from the end if there is none, to an older one.
    fn link_to_older(&mut self, id: u32) -> &mut u32 {
        if id == NONE { &mut self.newest } else { &mut self.nodes[id as usize].older }
    }

    fn link_to_newer(&mut self, id: u32) -> &mut u32 {
        if id == NONE { &mut self.oldest } else { &mut self.nodes[id as usize].newer }
    }

    fn unlink(&mut self, id: u32) {
        let Node { newer, older, cost } = self.nodes[id as usize].clone();
        *self.link_to_older(newer) = older;
        *self.link_to_newer(older) = newer;
        self.nodes[id as usize] = Node::default();
        self.used -= cost;
    }

    /// Adds an entry that is not there as the newest.
    fn push(&mut self, id: u32, cost: u64) {
        let older = self.newest;
        *slot(&mut self.nodes, id) = Node { newer: NONE, older, cost };
        *self.link_to_newer(older) = id;
        self.newest = id;
        self.used += cost;
    }
}

/// Returns what an entry of so many bytes takes; never 0.
fn cost(bytes: u64) -> u64 {
    bytes.checked_next_multiple_of(BLOCK).unwrap_or(u64::MAX).saturating_add(NAME)
}

impl Policy for Files {
    fn get(&mut self, id: u32) -> bool {
        if !self.is_there(id) {
            return false;
        }
        let cost = self.nodes[id as usize].cost;
        self.unlink(id);
        self.push(id, cost);
        true
    }

    fn put(&mut self, id: u32, bytes: u64) {
        self.remove(id);
        let cost = cost(bytes);
        if cost > self.limit {
            return;
        }
        while self.used > self.limit - cost {
            self.unlink(self.oldest);
        }
        self.push(id, cost);
    }

    fn remove(&mut self, id: u32) {
        if self.is_there(id) {
            self.unlink(id);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Bytes of an entry that takes one block.
    const ONE: u64 = BLOCK;
    const COST: u64 = BLOCK + NAME;

    fn there(cache: &Files) -> Vec<u32> {
        (0..10).filter(|id| cache.is_there(*id)).collect()
    }

    #[test]
    fn what_was_not_used_for_longest_goes() {
        let mut cache = Files::new(3 * COST);
        for id in [1, 2, 3] {
            cache.put(id, ONE);
        }
        assert!(cache.get(1) && !cache.get(4));
        cache.put(4, ONE);
        assert_eq!(there(&cache), [1, 3, 4]);
        // The oldest are 3, 1, 4: the new one takes two blocks, which are those of 3 and 1.
        cache.put(5, 2 * ONE - NAME);
        assert_eq!(there(&cache), [4, 5]);
        cache.remove(4);
        cache.remove(4);
        assert_eq!((there(&cache), cache.used), (vec![5], 2 * BLOCK + NAME));
        cache.put(5, 0);
        assert_eq!(cache.used, NAME);
    }

    #[test]
    fn what_is_larger_than_the_cache_is_not_there_and_costs_nobody() {
        let mut cache = Files::new(3 * COST);
        cache.put(1, ONE);
        cache.put(2, ONE);
        cache.put(2, u64::MAX);
        assert_eq!((there(&cache), cache.used), (vec![1], COST));
        let mut none = Files::new(0);
        none.put(1, 0);
        assert!(!none.get(1));
    }
}

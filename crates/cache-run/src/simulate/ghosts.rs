//! Ghosts: what had to go lately. That it is wanted again shows that it went too early.

use std::collections::VecDeque;

use super::policy::slot;

/// Bytes that a ghost counts for at least, so that their number is bounded.
const MIN_BYTES: u64 = 128;

/// Keys without entries, first in, first out.
pub(super) struct Ghosts {
    /// Bytes that all ghosts had as entries, at most.
    limit: u64,
    bytes: u64,
    queue: VecDeque<(u32, u64)>,
    /// How often an entry is in the queue; only the last time counts, and not if it was taken.
    state: Vec<State>,
}

#[derive(Clone, Copy, Default)]
struct State {
    queued: u32,
    alive: bool,
}

impl Ghosts {
    pub(super) fn new(limit: u64) -> Self {
        Self { limit, bytes: 0, queue: VecDeque::new(), state: Vec::new() }
    }

    /// Adds an entry that went.
    pub(super) fn add(&mut self, id: u32, bytes: u64) {
        let bytes = bytes.max(MIN_BYTES);
        let state = slot(&mut self.state, id);
        state.queued += 1;
        state.alive = true;
        self.queue.push_back((id, bytes));
        self.bytes = self.bytes.saturating_add(bytes);
        while self.bytes > self.limit
            && let Some((id, bytes)) = self.queue.pop_front()
        {
            self.bytes -= bytes;
            let state = &mut self.state[id as usize];
            state.queued -= 1;
            state.alive &= state.queued > 0;
        }
    }

    /// Returns whether there is a ghost of an entry, which is gone then.
    pub(super) fn take(&mut self, id: u32) -> bool {
        self.state.get_mut(id as usize).is_some_and(|state| std::mem::take(&mut state.alive))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_go_first_and_each_is_met_once() {
        let mut ghosts = Ghosts::new(1000);
        for id in [1, 2, 3] {
            ghosts.add(id, 400);
        }
        assert!(!ghosts.take(1) && ghosts.take(2) && !ghosts.take(2) && !ghosts.take(9));
        // 2 is in the queue twice now; that its older place goes is no end of it.
        ghosts.add(2, 400);
        assert!(ghosts.take(3) && ghosts.take(2));
        ghosts.add(4, 5000);
        assert!(!ghosts.take(4) && ghosts.queue.is_empty() && ghosts.bytes == 0);
    }
}

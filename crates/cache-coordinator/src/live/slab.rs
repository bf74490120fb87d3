//! Things with small numbers for names.

/// No thing.
pub(super) const NONE: u32 = u32::MAX;

/// A vector whose free places are used again. An id is four bytes where a reference or a copied key takes eight or more.
#[derive(Debug)]
pub(super) struct Slab<T> {
    items: Vec<T>,
    free: Vec<u32>,
}

impl<T> Slab<T> {
    pub(super) const fn new() -> Self {
        Self { items: Vec::new(), free: Vec::new() }
    }

    /// Puts `item` into a free place and returns its id.
    pub(super) fn insert(&mut self, item: T) -> u32 {
        if let Some(id) = self.free.pop() {
            self.items[id as usize] = item;
            return id;
        }
        // Limits far below keep it from coming to that: `Graph::has_room`.
        let id = u32::try_from(self.items.len()).unwrap_or(NONE);
        assert!(id != NONE, "more than 4 billion things are linked");
        self.items.push(item);
        id
    }

    /// Makes the place free. What was in it stays there until it is used again.
    pub(super) fn release(&mut self, id: u32) {
        self.free.push(id);
    }

    pub(super) fn get(&self, id: u32) -> &T {
        &self.items[id as usize]
    }

    pub(super) fn get_mut(&mut self, id: u32) -> &mut T {
        &mut self.items[id as usize]
    }

    /// Returns how many places there are, free ones among them: one more than the largest id.
    pub(super) fn places(&self) -> usize {
        self.items.len()
    }

    /// Returns how many things there are.
    pub(super) fn len(&self) -> usize {
        self.items.len() - self.free.len()
    }

    /// Returns how many bytes of memory the places take, unused capacity among them.
    pub(super) fn bytes(&self) -> usize {
        self.items.capacity() * size_of::<T>() + self.free.capacity() * size_of::<u32>()
    }
}

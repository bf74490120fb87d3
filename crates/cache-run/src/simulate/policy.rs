//! What a cache does that has to forget.

/// A cache of a certain size under a certain policy. Entries have the small numbers of a
/// [`Catalog`](super::catalog::Catalog).
pub(super) trait Policy {
    /// Looks an entry up, which counts as a use, and returns whether it is there.
    fn get(&mut self, id: u32) -> bool;

    /// Stores an entry of so many bytes. One that is there in the same size stays as it is.
    fn put(&mut self, id: u32, bytes: u64);

    /// Removes an entry.
    fn remove(&mut self, id: u32);
}

/// Returns the element of `list` with this number, after making it long enough.
pub(super) fn slot<T: Clone + Default>(list: &mut Vec<T>, id: u32) -> &mut T {
    let at = id as usize;
    if at >= list.len() {
        list.resize(at + 1, T::default());
    }
    &mut list[at]
}

/// Forgets nothing: the bound that no policy can exceed.
#[derive(Default)]
pub(super) struct Unlimited(Vec<bool>);

impl Policy for Unlimited {
    fn get(&mut self, id: u32) -> bool {
        *slot(&mut self.0, id)
    }

    fn put(&mut self, id: u32, _: u64) {
        *slot(&mut self.0, id) = true;
    }

    fn remove(&mut self, id: u32) {
        *slot(&mut self.0, id) = false;
    }
}

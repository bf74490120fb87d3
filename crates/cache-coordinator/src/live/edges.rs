//! Edges that are found from both of their ends.

use super::slab::{NONE, Slab};

/// Edges from one kind of thing to another, or the same, each with something written on it.
///
/// An edge is in two lists: that of the edges that leave its start, and that of those that reach its end. The second is
/// linked both ways, so that taking an entry out of the list of a header that a million others include costs the same as
/// out of any other list.
#[derive(Debug)]
pub(super) struct Edges<P> {
    all: Slab<Edge<P>>,
    /// First edge that leaves, by the id of the start.
    leaving: Vec<u32>,
    /// First edge that reaches, by the id of the end.
    reaching: Vec<u32>,
}

#[derive(Debug)]
struct Edge<P> {
    from: u32,
    to: u32,
    next_leaving: u32,
    next_reaching: u32,
    previous_reaching: u32,
    payload: P,
}

impl<P> Edges<P> {
    pub(super) const fn new() -> Self {
        Self { all: Slab::new(), leaving: Vec::new(), reaching: Vec::new() }
    }

    /// Adds an edge.
    pub(super) fn link(&mut self, from: u32, to: u32, payload: P) {
        let (next_leaving, next_reaching) = (head(&self.leaving, from), head(&self.reaching, to));
        let edge = Edge { from, to, next_leaving, next_reaching, previous_reaching: NONE, payload };
        let id = self.all.insert(edge);
        if next_reaching != NONE {
            self.all.get_mut(next_reaching).previous_reaching = id;
        }
        set_head(&mut self.leaving, from, id);
        set_head(&mut self.reaching, to, id);
    }

    /// Takes the first of the edges away that leave `from`, and returns where it led to.
    pub(super) fn cut(&mut self, from: u32) -> Option<u32> {
        let id = head(&self.leaving, from);
        if id == NONE {
            return None;
        }
        let &Edge { to, next_leaving, next_reaching, previous_reaching, .. } = self.all.get(id);
        set_head(&mut self.leaving, from, next_leaving);
        if next_reaching != NONE {
            self.all.get_mut(next_reaching).previous_reaching = previous_reaching;
        }
        if previous_reaching == NONE {
            set_head(&mut self.reaching, to, next_reaching);
        } else {
            self.all.get_mut(previous_reaching).next_reaching = next_reaching;
        }
        self.all.release(id);
        Some(to)
    }

    /// Returns where the edges lead to that leave `from`, with what is written on them.
    pub(super) fn leaving(&self, from: u32) -> impl Iterator<Item = (u32, &P)> {
        let mut next = head(&self.leaving, from);
        std::iter::from_fn(move || {
            let edge = (next != NONE).then(|| self.all.get(next))?;
            next = edge.next_leaving;
            Some((edge.to, &edge.payload))
        })
    }

    /// Returns where the edges come from that reach `to`.
    pub(super) fn reaching(&self, to: u32) -> impl Iterator<Item = u32> {
        let mut next = head(&self.reaching, to);
        std::iter::from_fn(move || {
            let edge = (next != NONE).then(|| self.all.get(next))?;
            next = edge.next_reaching;
            Some(edge.from)
        })
    }

    /// Returns whether any edge reaches `to`.
    pub(super) fn is_reached(&self, to: u32) -> bool {
        head(&self.reaching, to) != NONE
    }

    /// Returns how many bytes of memory this takes.
    pub(super) fn bytes(&self) -> usize {
        self.all.bytes() + (self.leaving.capacity() + self.reaching.capacity()) * size_of::<u32>()
    }
}

fn head(heads: &[u32], of: u32) -> u32 {
    heads.get(of as usize).copied().unwrap_or(NONE)
}

fn set_head(heads: &mut Vec<u32>, of: u32, edge: u32) {
    let at = of as usize;
    if at >= heads.len() {
        heads.resize(at + 1, NONE);
    }
    heads[at] = edge;
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn both_ends_know_the_same_edges(steps in proptest::collection::vec((0_u32..6, 0_u32..6, any::<bool>()), 0..200)) {
            let mut edges = Edges::new();
            let mut model: Vec<(u32, u32)> = Vec::new();
            for (from, to, cut) in steps {
                if cut {
                    let end = edges.cut(from);
                    let last = model.iter().rposition(|edge| edge.0 == from);
                    prop_assert_eq!(end, last.map(|at| model.remove(at).1));
                } else {
                    edges.link(from, to, (from, to));
                    model.push((from, to));
                }
                for node in 0..6 {
                    let mut reaching: Vec<u32> = edges.reaching(node).collect();
                    let mut expected: Vec<u32> = model.iter().filter(|e| e.1 == node).map(|e| e.0).collect();
                    reaching.sort_unstable();
                    expected.sort_unstable();
                    prop_assert_eq!(edges.is_reached(node), !expected.is_empty());
                    prop_assert_eq!(reaching, expected);
                    let leaving: Vec<u32> = edges.leaving(node).map(|(to, _)| to).collect();
                    let expected: Vec<u32> = model.iter().rev().filter(|e| e.0 == node).map(|e| e.1).collect();
                    prop_assert_eq!(leaving, expected);
                    prop_assert!(edges.leaving(node).all(|(to, written)| *written == (node, to)));
                }
            }
            prop_assert_eq!(edges.all.len(), model.len());
        }
    }
}

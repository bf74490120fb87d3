//! Paths as numbers: a tree of names.

use std::hash::{BuildHasher, RandomState};

use cache_core::{Anchor, RelPath, TreePath};
use hashbrown::HashTable;

use super::slab::{NONE, Slab};

/// Id of the base directory.
pub(super) const BASE: u32 = 0;
/// Id of the root of the file system.
pub(super) const ROOT: u32 = 1;

/// The paths that entries name, and the directories above them. A directory finds what is below it in as many steps as
/// there is, and each name is kept once however many paths go through it.
#[derive(Debug)]
pub(super) struct Paths {
    places: Slab<Place>,
    index: HashTable<u32>,
    hasher: RandomState,
    names: usize,
}

#[derive(Debug)]
struct Place {
    parent: u32,
    first_child: u32,
    next: u32,
    previous: u32,
    name: Box<[u8]>,
}

impl Paths {
    pub(super) fn new() -> Self {
        let mut places = Slab::new();
        for _ in [BASE, ROOT] {
            places.insert(Place {
                parent: NONE,
                first_child: NONE,
                next: NONE,
                previous: NONE,
                name: Box::default(),
            });
        }
        Self { places, index: HashTable::new(), hasher: RandomState::new(), names: 0 }
    }

    /// Returns the id of `path`, which gets one if it has none.
    pub(super) fn intern(&mut self, path: &TreePath) -> u32 {
        path.path.components().fold(anchor(path.anchor), |above, name| {
            self.child(above, name).unwrap_or_else(|| self.add(above, name))
        })
    }

    /// Returns the id of `path` if it, or something below it, is named.
    pub(super) fn find(&self, path: &TreePath) -> Option<u32> {
        path.path.components().try_fold(anchor(path.anchor), |above, name| self.child(above, name))
    }

    /// Returns the path with this id; nothing for the anchors.
    pub(super) fn path(&self, id: u32) -> Option<TreePath> {
        let mut names: Vec<&[u8]> = Vec::new();
        let mut at = id;
        while self.places.get(at).parent != NONE {
            names.push(&self.places.get(at).name);
            at = self.places.get(at).parent;
        }
        names.reverse();
        let anchor = if at == BASE { Anchor::Base } else { Anchor::Root };
        Some(TreePath { anchor, path: RelPath::new(names.join(&b'/')).ok()? })
    }

    /// Calls `visit` with `top` and everything below it.
    pub(super) fn walk(&self, top: u32, mut visit: impl FnMut(u32)) {
        let mut at = top;
        visit(at);
        loop {
            let place = self.places.get(at);
            if place.first_child == NONE {
                while at != top && self.places.get(at).next == NONE {
                    at = self.places.get(at).parent;
                }
                if at == top {
                    return;
                }
                at = self.places.get(at).next;
            } else {
                at = place.first_child;
            }
            visit(at);
        }
    }

    /// Forgets the path with this id, and the directories above it, as far as nothing is below and nobody `is_named`.
    pub(super) fn prune(&mut self, id: u32, is_named: impl Fn(u32) -> bool) {
        let mut at = id;
        loop {
            let &Place { parent, first_child, next, previous, .. } = self.places.get(at);
            if parent == NONE || first_child != NONE || is_named(at) {
                return;
            }
            let hash = self.hash(parent, &self.places.get(at).name);
            if let Ok(found) = self.index.find_entry(hash, |&other| other == at) {
                found.remove();
            }
            if next != NONE {
                self.places.get_mut(next).previous = previous;
            }
            if previous == NONE {
                self.places.get_mut(parent).first_child = next;
            } else {
                self.places.get_mut(previous).next = next;
            }
            self.names -= std::mem::take(&mut self.places.get_mut(at).name).len();
            self.places.release(at);
            at = parent;
        }
    }

    /// Returns how many bytes of memory this takes.
    pub(super) fn bytes(&self) -> usize {
        self.places.bytes() + self.index.allocation_size() + self.names
    }

    fn child(&self, above: u32, name: &[u8]) -> Option<u32> {
        let is_it = |&id: &u32| {
            let place = self.places.get(id);
            place.parent == above && *place.name == *name
        };
        self.index.find(self.hash(above, name), is_it).copied()
    }

    fn add(&mut self, above: u32, name: &[u8]) -> u32 {
        let next = self.places.get(above).first_child;
        let place = Place { parent: above, first_child: NONE, next, previous: NONE, name: name.into() };
        let id = self.places.insert(place);
        if next != NONE {
            self.places.get_mut(next).previous = id;
        }
        self.places.get_mut(above).first_child = id;
        self.names += name.len();
        let hash = self.hash(above, name);
        let (places, hasher) = (&self.places, &self.hasher);
        self.index.insert_unique(hash, id, |&other| {
            let place = places.get(other);
            hasher.hash_one((place.parent, &*place.name))
        });
        id
    }

    fn hash(&self, above: u32, name: &[u8]) -> u64 {
        self.hasher.hash_one((above, name))
    }
}

fn anchor(anchor: Anchor) -> u32 {
    match anchor {
        Anchor::Base => BASE,
        Anchor::Root => ROOT,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(anchor: Anchor, text: &str) -> TreePath {
        TreePath { anchor, path: RelPath::new(text).unwrap() }
    }

    fn below(paths: &Paths, top: u32) -> Vec<String> {
        let mut found = Vec::new();
        paths.walk(top, |id| found.extend(paths.path(id).map(|path| path.path.to_string())));
        found.sort();
        found
    }

    #[test]
    fn a_path_is_found_and_named_as_it_was_given() {
        let mut paths = Paths::new();
        let given = [
            path(Anchor::Base, "a/b/c"),
            path(Anchor::Root, "a/b/c"),
            path(Anchor::Base, "a/b"),
            path(Anchor::Base, "ab"),
        ];
        let ids: Vec<u32> = given.iter().map(|path| paths.intern(path)).collect();
        for (path, id) in given.iter().zip(&ids) {
            assert_eq!(paths.find(path), Some(*id));
            assert_eq!(paths.intern(path), *id);
            assert_eq!(paths.path(*id).as_ref(), Some(path));
        }
        assert_eq!(paths.find(&path(Anchor::Base, "a/c")), None);
        assert_eq!((paths.path(BASE), paths.places.len()), (None, 2 + 7));
        assert_eq!(below(&paths, BASE), ["a", "a/b", "a/b/c", "ab"]);
        assert_eq!(below(&paths, ids[2]), ["a/b", "a/b/c"]);
        assert_eq!(below(&paths, ids[0]), ["a/b/c"]);
    }

    #[test]
    fn what_nobody_names_is_forgotten_with_the_directories_above() {
        let mut paths = Paths::new();
        let names = ["d/x", "d/y", "d/z", "d/y/deep"];
        let ids = names.map(|name| paths.intern(&path(Anchor::Base, name)));
        paths.prune(ids[1], |_| false);
        assert_eq!(below(&paths, BASE), ["d", "d/x", "d/y", "d/y/deep", "d/z"], "something is below");
        paths.prune(ids[3], |id| id == ids[1]);
        assert_eq!(below(&paths, BASE), ["d", "d/x", "d/y", "d/z"], "somebody names it");
        paths.prune(ids[1], |_| false);
        assert_eq!(below(&paths, BASE), ["d", "d/x", "d/z"]);
        paths.prune(ids[0], |_| false);
        paths.prune(ids[2], |_| false);
        assert_eq!((below(&paths, BASE).len(), paths.places.len(), paths.names), (0, 2, 0));
        assert_eq!(paths.find(&path(Anchor::Base, "d")), None);
        assert_eq!(below(&paths, BASE).len(), 0);
    }
}

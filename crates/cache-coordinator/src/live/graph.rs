//! Which entry was computed from which files and which other entries, and what of that is in doubt.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::hash::{BuildHasher, RandomState};

use cache_core::{FileDependency, FileState, Fingerprint, Key, StatFingerprint};
use hashbrown::HashTable;

use super::edges::Edges;
use super::paths::Paths;
use super::slab::Slab;
use super::trace::{Durability, Mark, Trace, Upstream, Validation};

/// The entries that are known, without their bytes.
///
/// # When an entry is fresh
/// Everything that happens is numbered by a revision. An entry is fresh if it was found valid at a revision at or after the
/// last at which it was in doubt, and its class of durability was. **All entries upstream of a fresh one are fresh, and
/// have the results that it was computed from.** So who puts an entry in doubt puts all in doubt that depend on it; where
/// that meets one that is in doubt already, it goes no further.
#[derive(Debug)]
pub(super) struct Graph {
    nodes: Slab<Node>,
    index: HashTable<u32>,
    hasher: RandomState,
    kinds: Kinds,
    pub(super) paths: Paths,
    files: Edges<Claim>,
    upstreams: Edges<Mark>,
    known: usize,
    revision: u64,
    /// The last revision at which a class, or one that is more durable, was in doubt as a whole.
    doubted: [u64; Durability::ALL.len()],
    /// How many watchers there are that do not see everything: nothing is fresh then.
    blind: usize,
    /// Where the search for room goes on.
    hand: u32,
    /// How many edges were followed to put entries in doubt or to drop them.
    pub(super) visited: u64,
}

#[derive(Clone, Copy, Debug)]
struct Node {
    key: Key,
    result: Mark,
    /// Tells the trace from others of the same entry.
    trace: u64,
    touched: u64,
    verified: u64,
    kind: u16,
    validation: Validation,
    /// Of its own files.
    own: Durability,
    /// Of all that it was computed from.
    durability: Durability,
    /// Whether there is such an entry; if not, others were computed from it.
    is_known: bool,
    /// Whether it is in doubt for nothing but an entry upstream.
    is_cascaded: bool,
    /// Whether it was used since the search for room came by.
    is_used: bool,
}

/// What a file must be like.
#[derive(Clone, Copy, Debug)]
struct Claim {
    state: FileState,
    /// Bytes, as an aligned number would make each edge larger.
    stat: Option<[u8; 16]>,
}

/// The names of kinds, and how many entries each has.
#[derive(Debug, Default)]
struct Kinds {
    names: Vec<(String, u64)>,
    ids: HashMap<String, u16>,
}

impl Kinds {
    fn id(&mut self, name: &str) -> Option<u16> {
        if let Some(&id) = self.ids.get(name) {
            return Some(id);
        }
        let unused = self.names.iter().position(|(_, count)| *count == 0);
        let id = u16::try_from(unused.unwrap_or(self.names.len())).ok()?;
        match unused {
            Some(at) => {
                let former = std::mem::replace(&mut self.names[at].0, name.to_owned());
                self.ids.remove(&former);
            }
            None => self.names.push((name.to_owned(), 0)),
        }
        self.ids.insert(name.to_owned(), id);
        Some(id)
    }
}

impl Graph {
    pub(super) fn new() -> Self {
        Self {
            nodes: Slab::new(),
            index: HashTable::new(),
            hasher: RandomState::new(),
            kinds: Kinds::default(),
            paths: Paths::new(),
            files: Edges::new(),
            upstreams: Edges::new(),
            known: 0,
            revision: 1,
            doubted: [0; Durability::ALL.len()],
            blind: 0,
            hand: 0,
            visited: 0,
        }
    }

    /// Returns the id of the entry under `key`, if there is one or others were computed from it.
    pub(super) fn find(&self, key: &Key) -> Option<u32> {
        self.index.find(self.hasher.hash_one(key), |&id| self.nodes.get(id).key == *key).copied()
    }

    /// Returns the id of the entry under `key` if there is one.
    pub(super) fn find_known(&self, key: &Key) -> Option<u32> {
        self.find(key).filter(|&id| self.is_known(id))
    }

    pub(super) fn is_known(&self, id: u32) -> bool {
        self.nodes.get(id).is_known
    }

    pub(super) fn key(&self, id: u32) -> Key {
        self.nodes.get(id).key
    }

    pub(super) fn result(&self, id: u32) -> Mark {
        self.nodes.get(id).result
    }

    pub(super) fn validation(&self, id: u32) -> Validation {
        self.nodes.get(id).validation
    }

    pub(super) fn durability(&self, id: u32) -> Durability {
        self.nodes.get(id).durability
    }

    pub(super) fn revision(&self) -> u64 {
        self.revision
    }

    pub(super) fn known(&self) -> usize {
        self.known
    }

    pub(super) fn kinds(&self) -> BTreeSet<String> {
        self.kinds.names.iter().filter(|(_, count)| *count > 0).map(|(name, _)| name.clone()).collect()
    }

    /// Returns how many entries there are, and others that entries name, together.
    pub(super) fn len(&self) -> usize {
        self.nodes.len()
    }

    /// Returns how many bytes of memory this takes.
    pub(super) fn bytes(&self) -> usize {
        self.nodes.bytes()
            + self.index.allocation_size()
            + self.paths.bytes()
            + self.files.bytes()
            + self.upstreams.bytes()
    }

    /// Returns what the files of an entry must be like.
    pub(super) fn files(&self, id: u32) -> impl Iterator<Item = FileDependency> {
        self.files.leaving(id).filter_map(|(path, claim)| {
            let stat = claim.stat.map(|bytes| StatFingerprint(Fingerprint::from_bytes(bytes)));
            Some(FileDependency { path: self.paths.path(path)?, state: claim.state, stat })
        })
    }

    /// Returns the entries that an entry was computed from, and the results that were used.
    pub(super) fn upstreams(&self, id: u32) -> impl Iterator<Item = (u32, Mark)> {
        self.upstreams.leaving(id).map(|(upstream, seen)| (upstream, *seen))
    }

    /// Returns the entries that were computed from an entry.
    pub(super) fn dependants(&self, id: u32) -> impl Iterator<Item = u32> {
        self.upstreams.reaching(id)
    }

    /// Returns whether what is known is that which `trace` says.
    pub(super) fn has_trace(&self, id: u32, trace: u64) -> bool {
        self.is_known(id) && self.nodes.get(id).trace == trace
    }

    /// Returns whether nothing has put the entry in doubt since it was found valid.
    pub(super) fn is_fresh(&self, id: u32) -> bool {
        let node = self.nodes.get(id);
        let doubted = self.doubted[node.durability as usize];
        node.is_known && self.blind == 0 && node.verified >= node.touched && node.verified >= doubted
    }

    /// Returns whether anything put the entry in doubt, or replaced it, after `revision`.
    pub(super) fn is_touched_since(&self, id: u32, revision: u64) -> bool {
        self.nodes.get(id).touched > revision
    }

    /// Takes notice that an entry was used.
    pub(super) fn used(&mut self, id: u32) {
        self.nodes.get_mut(id).is_used = true;
    }

    /// Begins a new revision.
    fn advance(&mut self) -> u64 {
        self.revision += 1;
        self.revision
    }

    /// Puts all entries in doubt that are as durable as `class` or less.
    pub(super) fn doubt_class(&mut self, class: Durability) {
        let revision = self.advance();
        self.doubted[..=class as usize].fill(revision);
    }

    /// Trusts nobody to say what changes, until [`see_again`](Self::see_again).
    #[cfg(feature = "watch")]
    pub(super) fn go_blind(&mut self) {
        self.blind += 1;
    }

    /// Trusts whoever says what changes, from now on.
    #[cfg(feature = "watch")]
    pub(super) fn see_again(&mut self) {
        self.blind -= 1;
        // While nothing was fresh, no doubt was passed on.
        self.doubt_class(Durability::Toolchain);
    }

    /// Adds the entry under `key`, or gives it another trace. Those computed from it are in doubt unless its result is the
    /// same and it `is_valid`; only if all entries upstream are fresh and as they were used, it is fresh then.
    ///
    /// Returns nothing if there are too many kinds.
    pub(super) fn insert(&mut self, key: Key, trace: &Trace, is_valid: bool) -> Option<u32> {
        let kind = self.kinds.id(&trace.kind)?;
        let id = self.place(key);
        let (was_fresh, before) = (self.is_fresh(id), self.result(id));
        // Forgotten at the end only, as most of them are named again.
        let replaced = self.cut(id);
        for file in &trace.files {
            let path = self.paths.intern(&file.path);
            let claim = Claim { state: file.state, stat: file.stat.map(|stat| stat.0.to_bytes()) };
            self.files.link(id, path, claim);
        }
        let own = if trace.files.is_empty() { Durability::Toolchain } else { trace.durability };
        let mut durability = own;
        for Upstream { key, result } in &trace.upstreams {
            let upstream = self.place(*key);
            self.upstreams.link(id, upstream, *result);
            durability = durability.min(self.durability(upstream));
        }
        self.kinds.names[usize::from(kind)].1 += 1;
        self.known += usize::from(!self.is_known(id));
        let revision = self.advance();
        let node = self.nodes.get_mut(id);
        if node.is_known {
            self.kinds.names[usize::from(node.kind)].1 -= 1;
        }
        let is_lower = durability < node.durability;
        *node = Node {
            key,
            result: trace.result,
            trace: trace.fingerprint(),
            touched: revision,
            verified: 0,
            kind,
            validation: trace.validation,
            own,
            durability,
            is_known: true,
            is_cascaded: false,
            is_used: true,
        };
        self.release(replaced);
        let is_fresh = is_valid && self.upstreams_are_fresh(id);
        if is_fresh {
            self.nodes.get_mut(id).verified = revision;
        }
        // What becomes less durable may no longer be fresh by that alone, so what depends on it must not stay fresh. It has
        // to be put in doubt before, as nobody is found to be fresh afterwards.
        if was_fresh && (is_lower || !is_fresh || before != trace.result) {
            // Later than the insertion: if it comes round to this entry, that is in doubt as well.
            let revision = self.advance();
            self.cascade(vec![id], revision);
        }
        if is_lower {
            self.lower(&[id]);
        }
        Some(id)
    }

    fn upstreams_are_fresh(&self, id: u32) -> bool {
        self.upstreams(id).all(|(upstream, seen)| self.is_fresh(upstream) && self.result(upstream) == seen)
    }

    /// Returns the id of the entry under `key`, which gets one if it has none.
    fn place(&mut self, key: Key) -> u32 {
        if let Some(id) = self.find(&key) {
            return id;
        }
        let id = self.nodes.insert(Node {
            key,
            result: Mark::NONE,
            trace: 0,
            // An id that is used again must not look as if it were what it was.
            touched: self.revision + 1,
            verified: 0,
            kind: 0,
            validation: Validation::Content,
            own: Durability::Workspace,
            durability: Durability::Workspace,
            is_known: false,
            is_cascaded: false,
            is_used: false,
        });
        self.advance();
        let (nodes, hasher) = (&self.nodes, &self.hasher);
        self.index.insert_unique(hasher.hash_one(key), id, |&other| hasher.hash_one(nodes.get(other).key));
        id
    }

    /// Takes the edges away that leave an entry; returns where those to other entries led.
    fn cut(&mut self, id: u32) -> Vec<u32> {
        while let Some(path) = self.files.cut(id) {
            let files = &self.files;
            self.paths.prune(path, |path| files.is_reached(path));
        }
        std::iter::from_fn(|| self.upstreams.cut(id)).collect()
    }

    /// Forgets those of `ids` that are not known and that nobody was computed from.
    fn release(&mut self, ids: Vec<u32>) {
        for id in ids {
            let &Node { key, is_known, .. } = self.nodes.get(id);
            if is_known || self.upstreams.is_reached(id) {
                continue;
            }
            let hash = self.hasher.hash_one(key);
            // One that is named twice is forgotten the first time.
            if let Ok(found) = self.index.find_entry(hash, |&other| other == id) {
                found.remove();
                self.nodes.release(id);
            }
        }
    }

    /// Forgets an entry. Those computed from it are in doubt.
    pub(super) fn remove(&mut self, id: u32) {
        let was_fresh = self.is_fresh(id);
        let revision = self.advance();
        let node = self.nodes.get_mut(id);
        if !node.is_known {
            return;
        }
        self.kinds.names[usize::from(node.kind)].1 -= 1;
        *node = Node { is_known: false, result: Mark::NONE, touched: revision, ..*node };
        self.known -= 1;
        if was_fresh {
            self.cascade(vec![id], revision);
        }
        let mut released = self.cut(id);
        released.push(id);
        self.release(released);
    }

    /// Puts entries in doubt, and all that depend on them.
    pub(super) fn doubt(&mut self, ids: &[u32]) {
        let revision = self.advance();
        let mut fresh = Vec::new();
        for &id in ids {
            let is_fresh = self.is_fresh(id);
            let node = self.nodes.get_mut(id);
            (node.touched, node.is_cascaded) = (revision, false);
            if is_fresh {
                fresh.push(id);
            }
        }
        self.cascade(fresh, revision);
    }

    /// Puts all in doubt that depend on entries which were fresh until now.
    fn cascade(&mut self, mut from: Vec<u32>, revision: u64) {
        while let Some(id) = from.pop() {
            let dependants: Vec<u32> = self.dependants(id).collect();
            self.visited += dependants.len() as u64;
            for dependant in dependants {
                let was_fresh = self.is_fresh(dependant);
                let node = self.nodes.get_mut(dependant);
                // Those in doubt already hear of it too: a check of theirs may be under way.
                node.touched = revision;
                if was_fresh {
                    node.is_cascaded = true;
                    from.push(dependant);
                }
            }
        }
    }

    /// Makes entries fresh that were found valid at `revision`, and returns how many of them were in doubt for nothing but
    /// entries upstream.
    pub(super) fn verified(&mut self, ids: impl Iterator<Item = u32>, revision: u64) -> u64 {
        let mut cut_off = 0;
        for id in ids {
            let node = self.nodes.get_mut(id);
            cut_off += u64::from(node.is_cascaded);
            (node.verified, node.is_cascaded) = (node.verified.max(revision), false);
        }
        cut_off
    }

    /// Makes those that depend on `ids` no more durable than those are.
    fn lower(&mut self, ids: &[u32]) {
        let mut from = ids.to_vec();
        while let Some(id) = from.pop() {
            let durability = self.durability(id);
            let higher: Vec<u32> =
                self.dependants(id).filter(|&id| self.durability(id) > durability).collect();
            for dependant in higher {
                self.nodes.get_mut(dependant).durability = durability;
                from.push(dependant);
            }
        }
    }

    /// Finds out the durability of all entries anew: while they are listed, most are known after those computed from them.
    pub(super) fn settle_durabilities(&mut self) {
        let ids: Vec<u32> = (0..self.nodes.places() as u32).collect();
        for &id in &ids {
            let node = self.nodes.get_mut(id);
            node.durability = if node.is_known { node.own } else { Durability::Workspace };
        }
        for class in [Durability::Workspace, Durability::Vendored] {
            let of_class: Vec<u32> = ids.iter().copied().filter(|&id| self.durability(id) == class).collect();
            self.lower(&of_class);
        }
    }

    /// Returns the entries that name the path with this id, or one below it.
    pub(super) fn naming(&mut self, path: u32) -> Vec<u32> {
        let mut found = HashSet::new();
        let mut visited = 0;
        let files = &self.files;
        self.paths.walk(path, |path| {
            visited += 1;
            for id in files.reaching(path) {
                visited += 1;
                found.insert(id);
            }
        });
        self.visited += visited;
        let mut found: Vec<u32> = found.into_iter().collect();
        found.sort_unstable();
        found
    }

    /// Returns the entries that were computed from `id`, directly or not, each once and nearer ones first. `id` itself is
    /// among them only if it was computed from itself.
    pub(super) fn downstream(&mut self, id: u32) -> Vec<u32> {
        let mut seen = HashSet::new();
        let mut found: Vec<u32> = Vec::new();
        let mut visited = 0;
        let mut next = Some(id);
        let mut at = 0;
        while let Some(id) = next {
            for dependant in self.upstreams.reaching(id) {
                visited += 1;
                if seen.insert(dependant) {
                    found.push(dependant);
                }
            }
            next = found.get(at).copied();
            at += 1;
        }
        self.visited += visited;
        found
    }

    /// Returns an entry that may be forgotten: one that nobody was computed from and that was not used for longest, as far
    /// as `steps` steps show (the CLOCK algorithm, Corbató 1968).
    pub(super) fn expendable(&mut self, steps: usize) -> Option<u32> {
        let places = self.nodes.places() as u32;
        for _ in 0..steps.min(2 * places as usize) {
            let id = self.hand;
            self.hand = (self.hand + 1) % places;
            let node = self.nodes.get_mut(id);
            let was_used = std::mem::take(&mut node.is_used);
            if node.is_known && !was_used && !self.upstreams.is_reached(id) {
                return Some(id);
            }
        }
        None
    }
}

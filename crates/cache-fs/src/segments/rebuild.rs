//! Making the index anew when it was lost: from the seals, the newest segment first, while misses are served.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::index::{Found, Index, Plan, Spot};
use super::record::{Class, Header, Position, State};
use super::seal::Item;
use super::write::CHANGES;
use super::{Log, files, sys};

/// Is there while the index lacks what the segments hold.
const MARKER: &str = "rebuild";
/// What the marker says if nobody can find anything in the index that was there before.
const BLANKED: &[u8] = b"the index is being made anew\n";
/// What it says if the index was deleted: processes that had it open still find in it what it leads to.
const DELETED: &[u8] = b"the index was deleted and is being made anew\n";

/// Puts an empty index into place, to be filled.
pub(super) fn begin(root: &Path, store: u64, plan: Plan) -> io::Result<()> {
    let lock = sys::open(&root.join("locks").join("evict"), true)?;
    let _held = sys::Flock::new(&lock)?;
    Index::lock_from_now_on(root, store)?;
    // Another process may have been faster.
    if Index::open(root, store, true)?.is_some() {
        return Ok(());
    }
    fill_later(root, store, plan)
}

/// Puts an empty index into the place of the one that is there, to be filled.
pub(super) fn replace(root: &Path, store: u64, plan: Plan) -> io::Result<()> {
    let lock = sys::open(&root.join("locks").join("evict"), true)?;
    let _held = sys::Flock::new(&lock)?;
    fill_later(root, store, plan)
}

fn fill_later(root: &Path, store: u64, plan: Plan) -> io::Result<()> {
    let empty = Class::ALL
        .into_iter()
        .all(|class| files::numbers(&root.join("log"), class).is_ok_and(|numbers| numbers.is_empty()));
    let old = sys::open_if_there(&root.join("index"), true)?;
    if !empty {
        mark(root, if old.is_some() { BLANKED } else { DELETED })?;
    }
    // Processes that have it open must not go by what it says of another store.
    if let Some(old) = old {
        sys::blank(&old)?;
    }
    Index::create(root, store, plan)
}

/// Notes that the index was deleted, and that the next one lacks what the segments hold.
pub(super) fn mark_deleted(root: &Path) -> io::Result<()> {
    mark(root, DELETED)
}

fn mark(root: &Path, text: &[u8]) -> io::Result<()> {
    // Whoever has a deleted one open goes on with that, whatever happens to its successors.
    let text = if is_deleted(root) { DELETED } else { text };
    sys::write_at(&sys::create(&root.join(MARKER))?, text, 0)
}

/// Returns whether the index was deleted, and its successor lacks what the segments hold.
pub(super) fn is_deleted(root: &Path) -> bool {
    // One that cannot be read may say so.
    sys::open_if_there(&root.join(MARKER), false)
        .and_then(|marker| {
            let Some(marker) = marker else { return Ok(false) };
            let mut text = [0; DELETED.len()];
            Ok(sys::read_at(&marker, &mut text, 0)? == DELETED.len() && text == DELETED)
        })
        .unwrap_or(true)
}

impl Log {
    /// Returns whether the index lacks what the segments hold.
    pub(crate) fn is_rebuilding(&self) -> bool {
        !self.settings.read_only && self.root.join(MARKER).symlink_metadata().is_ok()
    }

    /// Goes on with an index that is being made anew, in a thread that ends with the last user of the log.
    pub(crate) fn rebuild_in_background(self: &Arc<Self>) {
        if !self.is_rebuilding() {
            return;
        }
        let log = Arc::downgrade(self);
        // Without a thread it goes on with the next process.
        let _ = std::thread::Builder::new().name("vitte-cache-index".to_owned()).spawn(move || {
            let Some(plan) = log.upgrade().and_then(|log| log.segments_newest_first().ok()) else { return };
            for (class, number) in plan {
                let Some(log) = log.upgrade() else { return };
                if log.rebuild_segment(class, number).is_err() {
                    return;
                }
            }
            // What was exchanged meanwhile is filled by who finds that out when it writes.
            if let Some(log) = log.upgrade().filter(|log| log.index.is_exchanged().is_ok_and(|it| !it)) {
                let _ = sys::remove_file(&log.root.join(MARKER));
            }
        });
    }

    /// Goes over to an index that another process has put into place.
    pub(super) fn settle(&self) -> io::Result<()> {
        // What is stored from now on comes after all that the index is still to learn of.
        self.drop_leases();
        self.finish_rebuild()?;
        self.index.settled();
        Ok(())
    }

    /// Fills the successor of a deleted index, at once, after something was stored: who still has the deleted one open finds
    /// what was replaced there, and only who finds that in the new one ends it.
    pub(super) fn end_what_was_replaced(&self) -> io::Result<()> {
        if self.deleted_index.load(Ordering::Relaxed) {
            self.finish_rebuild()?;
            self.deleted_index.store(false, Ordering::Relaxed);
        }
        Ok(())
    }

    /// Fills an index that is being made anew, at once, where something depends on all of it.
    pub(crate) fn finish_rebuild(&self) -> io::Result<()> {
        if !self.is_rebuilding() {
            return Ok(());
        }
        for (class, number) in self.segments_newest_first()? {
            self.rebuild_segment(class, number)?;
        }
        match sys::remove_file(&self.root.join(MARKER)) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => Err(e),
            _ => Ok(()),
        }
    }

    pub(super) fn segments_newest_first(&self) -> io::Result<Vec<(Class, u64)>> {
        let mut segments = Vec::new();
        for class in Class::ALL {
            let numbers = files::numbers(&self.root.join("log"), class)?;
            segments.extend(numbers.into_iter().rev().map(|number| (class, number)));
        }
        Ok(segments)
    }

    fn rebuild_segment(&self, class: Class, number: u64) -> io::Result<()> {
        for item in self.items(class, number)? {
            let byte = number * self.segment() + item.offset;
            self.restore_slot(&item, Position { class, byte })?;
        }
        Ok(())
    }

    /// Lets the index lead to a record again, unless it leads to a better one of the same key.
    fn restore_slot(&self, item: &Item, position: Position) -> io::Result<()> {
        let spot = Spot::of_key(item.kind, &item.key);
        for _ in 0..CHANGES {
            // It may have ended meanwhile, and nobody ends it from here on.
            let Some(this) = self.read_header(position)?.filter(|this| this.state == State::Alive) else {
                return Ok(());
            };
            let own = self.index.find(&spot, |found| {
                let header = self.read_header(found.slot.position())?;
                let same = header.filter(|it| it.kind == item.kind && it.key == item.key);
                Ok(same.map(|header| (found, header)))
            })?;
            let Some((found, there)) = own else {
                let Some(found) = self.insert(&spot, position, item.len)? else { continue };
                return self.end_twins(&spot, &found, &this);
            };
            if there.position == position {
                return Ok(());
            }
            match better(&there, &this) {
                // What lost must not be found by the next rebuild, when what won may be gone.
                Better::First => return self.kill(&this),
                Better::Second => {
                    self.kill(&there)?;
                    if self.index.replace(&spot, &found, position, item.len)?.is_some() {
                        return Ok(());
                    }
                }
                Better::Neither => {
                    self.kill(&there)?;
                    self.kill(&this)?;
                    if self.index.clear(&found)? {
                        return Ok(());
                    }
                }
            }
        }
        Err(super::busy())
    }

    /// Returns the other slots that lead to records of the same key.
    pub(super) fn twins(
        &self,
        spot: &Spot,
        own: &Found,
        header: &Header,
    ) -> io::Result<Vec<(Found, Header)>> {
        let mut twins = Vec::new();
        self.index.find(spot, |found| {
            if found.slot != own.slot
                && let Some(there) = self.read_header(found.slot.position())?
                && there.kind == header.kind
                && there.key == header.key
            {
                twins.push((found, there));
            }
            Ok(None::<()>)
        })?;
        Ok(twins)
    }

    /// Sees to it that no other slot leads to a record of the same key: of two processes that store a new key at once, both
    /// find that it is absent, and maybe two different slots empty.
    pub(super) fn end_twins(&self, spot: &Spot, own: &Found, header: &Header) -> io::Result<()> {
        for (found, there) in self.twins(spot, own, header)? {
            let (first, second) = match better(&there, header) {
                Better::First => (false, true),
                Better::Second => (true, false),
                // That both end is a miss; which of them is the newer one cannot be told.
                Better::Neither => (true, true),
            };
            if first {
                self.kill(&there)?;
                self.index.clear(&found)?;
            }
            if second {
                self.kill(header)?;
                self.index.clear(own)?;
            }
        }
        Ok(())
    }
}

#[derive(Debug, PartialEq, Eq)]
enum Better {
    First,
    Second,
    Neither,
}

/// Returns which of two records of a key counts.
fn better(first: &Header, second: &Header) -> Better {
    match (first.state, second.state) {
        (_, State::Dead) => Better::First,
        (State::Dead, State::Alive) => Better::Second,
        (State::Alive, State::Alive) => {
            let (one, other) = (Position::unpack(first.version), Position::unpack(second.version));
            // A process died before it could end the older one. Positions of two logs do not tell which that is, and
            // what cannot be proved right is a miss.
            if one != other && one.class != other.class {
                return Better::Neither;
            }
            if (one, first.position) >= (other, second.position) { Better::First } else { Better::Second }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::read::{Depth, Payload};
    use super::super::{Kind, Put, Settings, Source, Worth};
    use super::*;

    const KEY: [u8; 32] = [9; 32];

    fn put(log: &Log, value: &[u8], worth: Worth) {
        let payload = Source::Bytes(value);
        let put = Put { kind: Kind::Raw, key: &KEY, meta: &[], payload, worth, expires: 0, if_absent: false };
        log.put(&put).unwrap();
    }

    fn slots(log: &Log) -> Vec<(Found, Header)> {
        let mut all = Vec::new();
        let visit = |found: Found| {
            all.push((found, log.read_header(found.slot.position())?.unwrap()));
            Ok(None::<()>)
        };
        log.index.find(&Spot::of_key(Kind::Raw, &KEY), visit).unwrap();
        all
    }

    fn value(log: &Log) -> Option<Vec<u8>> {
        let mut buffer = Vec::new();
        let sight = log.look_up(Kind::Raw, &KEY, Depth::Bytes, true, &mut buffer).unwrap();
        match sight.into_record().map(|record| record.payload) {
            Some(Payload::Bytes(range)) => Some(buffer[range].to_vec()),
            _ => None,
        }
    }

    #[test]
    fn what_was_replaced_is_not_found_in_a_deleted_index() {
        for writer in 0..2 {
            let dir = tempfile::tempdir().unwrap();
            let old = Log::open_or_create(dir.path(), Settings::default()).unwrap();
            put(&old, b"first", Worth::Normal);
            sys::remove_file(&dir.path().join("index")).unwrap();
            // One makes the index anew, the other finds that begun; by themselves, logs do nothing in the background.
            let new = [(); 2].map(|()| Log::open(dir.path(), Settings::default()).unwrap().unwrap());
            assert!(new[writer].is_rebuilding());
            assert_eq!(value(&old).as_deref(), Some(&b"first"[..]), "nothing was replaced yet");
            put(&new[writer], b"second", Worth::Normal);
            assert_eq!(value(&new[writer]).as_deref(), Some(&b"second"[..]));
            assert_eq!(value(&old), None, "the deleted index leads to what was replaced");
        }
    }

    /// Makes two slots of one key, as two processes may that store it at once: each finds that it is absent.
    fn twins(log: &Log, first: Worth, second: Worth) -> [(Found, Header); 2] {
        put(log, b"first", first);
        let [(found, header)] = slots(log).try_into().unwrap();
        assert!(log.index.clear(&found).unwrap());
        put(log, b"second", second);
        let spot = Spot::of_key(Kind::Raw, &KEY);
        log.insert(&spot, header.position, header.record_len()).unwrap().unwrap();
        let mut both = slots(log);
        both.sort_by_key(|(_, it)| it.fingerprint != header.fingerprint);
        both.try_into().unwrap()
    }

    #[test]
    fn of_two_slots_of_a_key_the_older_ends_and_both_if_that_is_not_known() {
        for (worths, judge, left) in [
            ([Worth::Normal, Worth::Normal], 0, Some("second")),
            ([Worth::Normal, Worth::Normal], 1, Some("second")),
            // In two logs, nothing tells which is the older one.
            ([Worth::Normal, Worth::High], 0, None),
            ([Worth::Normal, Worth::High], 1, None),
        ] {
            let dir = tempfile::tempdir().unwrap();
            let log = Log::open_or_create(dir.path(), Settings::default()).unwrap();
            let both = twins(&log, worths[0], worths[1]);
            let (own, header) = &both[judge];
            log.end_twins(&Spot::of_key(Kind::Raw, &KEY), own, header).unwrap();
            let after: Vec<_> = slots(&log).into_iter().map(|(_, header)| header.fingerprint).collect();
            let right: Vec<_> =
                left.iter().map(|value| cache_core::Fingerprint::of(value.as_bytes())).collect();
            assert_eq!(after, right, "{worths:?} seen by {judge}");
            for (_, header) in both.iter().filter(|(_, header)| !right.contains(&header.fingerprint)) {
                let state = log.read_header(header.position).unwrap().unwrap().state;
                assert_eq!(state, State::Dead, "a rebuild would bring it back");
            }
            put(&log, b"third", Worth::Normal);
            assert_eq!(slots(&log).len(), 1);
        }
    }
}

//! Records what the engine does to its files, and makes directories as a power failure may leave them.
//!
//! The model is that of POSIX, not of one file system: what was not synced may or may not have reached the disk, each
//! sector and each change of a name on its own and in any order. Of a sector, the disk has the state of some moment; of the
//! names of a synced file, nothing is promised until its directory is synced.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, HashMap, HashSet};
use std::fs::{self, File};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// What the disk writes as a whole, in bytes.
const SECTOR: u64 = 512;

/// Number of a file, whatever its names.
type Id = usize;

#[derive(Debug)]
enum Op {
    Write {
        file: Id,
        at: u64,
        bytes: Vec<u8>,
    },
    Resize {
        file: Id,
        len: u64,
    },
    Sync {
        file: Id,
    },
    /// A name leads to a file; one that was renamed loses its name at the same time.
    Name {
        from: Option<PathBuf>,
        path: PathBuf,
        file: Id,
    },
    /// A name, or a directory with all that is in it, goes.
    Remove {
        path: PathBuf,
    },
    SyncNames {
        dir: PathBuf,
    },
}

/// What was done to the files of a store, in order.
#[derive(Debug, Default)]
pub(super) struct Tape {
    ops: Vec<Op>,
    /// The files by inode number: one that is used again is that of the newer file.
    files: HashMap<u64, Id>,
    count: Id,
}

thread_local! {
    static TAPE: RefCell<Option<Tape>> = const { RefCell::new(None) };
    static BOOT: Cell<Option<u64>> = const { Cell::new(None) };
}

/// Begins to record what this thread does.
pub(super) fn start() {
    TAPE.set(Some(Tape::default()));
}

/// Ends the recording.
pub(super) fn stop() -> Tape {
    TAPE.take().unwrap_or_default()
}

/// Returns how much was recorded so far.
pub(super) fn len() -> usize {
    TAPE.with_borrow(|tape| tape.as_ref().map_or(0, |tape| tape.ops.len()))
}

/// Lets this thread believe that it runs in the boot with this number.
pub(super) fn set_boot(boot: u64) {
    BOOT.set(Some(boot));
}

pub(super) fn boot() -> Option<u64> {
    BOOT.get()
}

fn record(op: impl FnOnce(&mut Tape) -> Option<Op>) {
    TAPE.with_borrow_mut(|tape| {
        if let Some(tape) = tape
            && let Some(op) = op(tape)
        {
            tape.ops.push(op);
        }
    });
}

impl Tape {
    fn id(&self, file: &File) -> Option<Id> {
        self.files.get(&file.metadata().ok()?.ino()).copied()
    }

    fn id_at(&self, path: &Path) -> Option<Id> {
        self.files.get(&path.symlink_metadata().ok()?.ino()).copied()
    }
}

pub(super) fn created(path: &Path, file: &File) {
    record(|tape| {
        let id = tape.count;
        tape.count += 1;
        tape.files.insert(file.metadata().ok()?.ino(), id);
        Some(Op::Name { from: None, path: path.to_owned(), file: id })
    });
}

pub(super) fn wrote(file: &File, bytes: &[u8], at: u64) {
    record(|tape| Some(Op::Write { file: tape.id(file)?, at, bytes: bytes.to_vec() }));
}

pub(super) fn resized(file: &File) {
    record(|tape| Some(Op::Resize { file: tape.id(file)?, len: file.metadata().ok()?.len() }));
}

pub(super) fn blanked(file: &File) {
    let len = file.metadata().map_or(0, |meta| meta.len());
    wrote(file, &vec![0; len as usize], 0);
}

pub(super) fn synced(file: &File) {
    record(|tape| Some(Op::Sync { file: tape.id(file)? }));
}

pub(super) fn synced_names(dir: &Path) {
    record(|_| Some(Op::SyncNames { dir: dir.to_owned() }));
}

pub(super) fn renamed(from: &Path, to: &Path) {
    record(|tape| Some(Op::Name { from: Some(from.to_owned()), path: to.to_owned(), file: tape.id_at(to)? }));
}

pub(super) fn linked(_: &Path, to: &Path) {
    record(|tape| Some(Op::Name { from: None, path: to.to_owned(), file: tape.id_at(to)? }));
}

pub(super) fn removed(path: &Path) {
    record(|_| Some(Op::Remove { path: path.to_owned() }));
}

/// A power failure.
#[derive(Clone, Copy, Debug)]
pub(super) struct Cut {
    /// Everything before this operation is on the disk.
    pub(super) flushed: usize,
    /// Nothing from this operation on was done.
    pub(super) end: usize,
    /// Chance that something in between is on the disk, in percent.
    pub(super) chance: u64,
}

/// Chance.
#[derive(Debug)]
pub(super) struct Dice(pub(super) u64);

impl Dice {
    pub(super) fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % end.max(1)
    }

    fn lands(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }
}

impl Tape {
    /// Makes in `to` what `cut` leaves of the directory `from`.
    pub(super) fn develop(&self, from: &Path, to: &Path, cut: Cut, dice: &mut Dice) {
        let ops = &self.ops[..cut.end];
        let names = surviving_names(ops, cut, dice);
        let mut contents = HashMap::new();
        for file in names.values().copied().collect::<HashSet<_>>() {
            contents.insert(file, content(ops, file, cut, dice));
        }
        let mut made: HashMap<Id, PathBuf> = HashMap::new();
        let private = |dir: &Path| fs::DirBuilder::new().recursive(true).mode(0o700).create(dir);
        private(to).expect("a directory can be made");
        for (path, file) in names {
            let path = to.join(path.strip_prefix(from).expect("it is in the store"));
            private(path.parent().expect("it has a parent")).expect("a directory can be made");
            if let Some(other) = made.get(&file) {
                fs::hard_link(other, &path).expect("a link can be made");
                continue;
            }
            let options = File::options().write(true).create_new(true).mode(0o600).clone();
            let mut out = options.open(&path).expect("a file can be made");
            let bytes = &contents[&file];
            // What is not written stays a hole.
            let used = bytes.iter().rposition(|byte| *byte != 0).map_or(0, |at| at + 1);
            std::io::Write::write_all(&mut out, &bytes[..used]).expect("it can be written");
            out.set_len(bytes.len() as u64).expect("it can be made longer");
            made.insert(file, path);
        }
    }
}

/// Returns the names that are there after the cut, and the files that they lead to.
fn surviving_names(ops: &[Op], cut: Cut, dice: &mut Dice) -> BTreeMap<PathBuf, Id> {
    let mut names = BTreeMap::new();
    for (at, op) in ops.iter().enumerate() {
        let (Op::Name { path, .. } | Op::Remove { path }) = op else { continue };
        let synced = || {
            let dir = path.parent().expect("it has a parent");
            ops[at..].iter().any(|op| matches!(op, Op::SyncNames { dir: synced } if synced == dir))
        };
        if at >= cut.flushed && !synced() && !dice.lands(cut.chance) {
            continue;
        }
        match op {
            Op::Name { from, path, file } => {
                if let Some(from) = from {
                    names.remove(from);
                }
                names.insert(path.clone(), *file);
            }
            Op::Remove { path } => names.retain(|name: &PathBuf, _| !name.starts_with(path)),
            _ => {}
        }
    }
    names
}

/// Returns what is in a file after the cut: of each sector and of the length, the state of some moment after the last that
/// is certain.
fn content(ops: &[Op], file: Id, cut: Cut, dice: &mut Dice) -> Vec<u8> {
    let synced = ops.iter().rposition(|op| matches!(op, Op::Sync { file: it } if *it == file));
    let certain = cut.flushed.max(synced.unwrap_or(0));
    let moment = |dice: &mut Dice| {
        if dice.lands(cut.chance) {
            ops.len()
        } else {
            certain + dice.below((ops.len().saturating_sub(certain) + 1) as u64) as usize
        }
    };
    let len_at = moment(dice);
    let mut moments: HashMap<u64, usize> = HashMap::new();
    let mut bytes: Vec<u8> = Vec::new();
    for (at, op) in ops.iter().enumerate() {
        match op {
            Op::Resize { file: it, len } if *it == file && at < len_at => bytes.resize(*len as usize, 0),
            Op::Write { file: it, at: start, bytes: written } if *it == file => {
                let end = start + written.len() as u64;
                if at < len_at && bytes.len() < end as usize {
                    bytes.resize(end as usize, 0);
                }
                let mut from = *start;
                while from < end {
                    let sector = from / SECTOR;
                    let to = ((sector + 1) * SECTOR).min(end).min(bytes.len() as u64);
                    if to <= from {
                        break;
                    }
                    let lands = at < *moments.entry(sector).or_insert_with(|| moment(dice));
                    if lands {
                        let part = (from - start) as usize..(to - start) as usize;
                        bytes[from as usize..to as usize].copy_from_slice(&written[part]);
                    }
                    from = to;
                }
            }
            _ => {}
        }
    }
    bytes
}

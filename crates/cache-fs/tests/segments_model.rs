//! The segment log does what a map would do, except that it may forget.
//!
//! What holds, whatever is done to the files of the store: a value that is found was put under this very key. What holds
//! besides, and is checked here:
//!
//! - Without damage, what was replaced or removed never comes back, through no handle, also not when the index, the control
//!   file or a seal is deleted under open handles; and nothing is missing that was not evicted.
//! - A damaged or exchanged segment, and a damaged index, hide records from those who would end them when their keys are
//!   stored again or removed. So of each key, the value that counted when the damage was done may come back later (when the
//!   index is made anew); one that had ended before may not. Where segments were
//!   exchanged under open handles, this goes for what is put through these handles too: they write to what has become
//!   another file.
//! - The byte that tells whether a record counts is in no checksum. Somebody who writes exactly "alive" there could bring
//!   an ended value of the same key back. Random damage does that once in 255 times that it hits just this byte; it is not
//!   done here.

#![cfg(unix)]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod common;

use std::collections::{HashMap, HashSet};
use std::fs;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use cache_core::{Digest, ManualClock, Timestamp};
use cache_fs::{SegmentOptions, Segments};
use proptest::prelude::*;

const KEYS: u64 = 8;
const HANDLES: usize = 3;
const LIMIT: u64 = 12 << 20;
/// The byte that makes an ended record count again; see above.
const ALIVE: u8 = 0xA5;

/// A value, by what it is made from. Equal ones under several keys are duplicates.
type Value = (u64, usize);

#[derive(Clone, Debug)]
enum Step {
    Put {
        handle: usize,
        key: u64,
        value: Value,
    },
    Get {
        handle: usize,
        key: u64,
    },
    Contains {
        handle: usize,
        key: u64,
    },
    Remove {
        handle: usize,
        key: u64,
    },
    /// Puts of other keys, so many that something has to go.
    Burst {
        handle: usize,
    },
    Reopen {
        handle: usize,
    },
    ReopenAll,
    Clock(i64),
    Delete(Part),
    Corrupt {
        part: Part,
        file: usize,
        at: usize,
        bits: u8,
    },
    Truncate {
        part: Part,
        file: usize,
        at: usize,
    },
    Swap {
        one: usize,
        other: usize,
    },
}

/// What of the store is damaged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    Segment,
    Seal,
    Large,
    Index,
    Control,
}

impl Part {
    fn files(self, root: &Path) -> Vec<PathBuf> {
        let below = |dir: &str| common::files(&root.join(dir));
        let mut files = match self {
            Self::Segment | Self::Seal => below("log"),
            Self::Large => below("large"),
            Self::Index => vec![root.join("index")],
            Self::Control => vec![root.join("control")],
        };
        if matches!(self, Self::Segment | Self::Seal) {
            files.retain(|file| file.extension().is_some() == (self == Self::Seal));
        }
        files.retain(|file| file.exists());
        files.sort();
        files
    }
}

fn step() -> impl Strategy<Value = Step> {
    let handle = || 0..HANDLES;
    let key = || 0..KEYS;
    let len = prop_oneof![
        4 => 0..3000_usize,
        2 => 10_000..60_000_usize,
        1 => 262_100..262_200_usize,
        2 => 262_145..300_000_usize,
    ];
    // Few seeds and lengths rounded now and then, so that there are duplicates.
    let value = (0..4_u64, len, any::<bool>()).prop_map(|(seed, len, round)| {
        if round { (seed, len.next_multiple_of(20_000)) } else { (seed, len) }
    });
    let part = || {
        prop_oneof![
            6 => Just(Part::Segment),
            2 => Just(Part::Seal),
            2 => Just(Part::Large),
            3 => Just(Part::Index),
            2 => Just(Part::Control),
        ]
    };
    let lost = prop_oneof![4 => Just(Part::Index), 2 => Just(Part::Seal), 1 => Just(Part::Control)];
    prop_oneof![
        24 => (handle(), key(), value).prop_map(|(handle, key, value)| Step::Put { handle, key, value }),
        20 => (handle(), key()).prop_map(|(handle, key)| Step::Get { handle, key }),
        3 => (handle(), key()).prop_map(|(handle, key)| Step::Contains { handle, key }),
        5 => (handle(), key()).prop_map(|(handle, key)| Step::Remove { handle, key }),
        1 => handle().prop_map(|handle| Step::Burst { handle }),
        4 => handle().prop_map(|handle| Step::Reopen { handle }),
        2 => Just(Step::ReopenAll),
        2 => (-1_000_000_000..1_000_000_000_i64).prop_map(Step::Clock),
        3 => lost.prop_map(Step::Delete),
        2 => (part(), any::<usize>(), any::<usize>(), 1..=255_u8)
            .prop_map(|(part, file, at, bits)| Step::Corrupt { part, file, at, bits }),
        1 => (part(), any::<usize>(), any::<usize>()).prop_map(|(part, file, at)| Step::Truncate { part, file, at }),
        1 => (any::<usize>(), any::<usize>()).prop_map(|(one, other)| Step::Swap { one, other }),
    ]
}

fn key(number: u64) -> [u8; 32] {
    *Digest::blake3(&number.to_le_bytes()).as_bytes()
}

fn bytes((seed, len): Value) -> Vec<u8> {
    common::content(seed, len)
}

fn open(dir: &Path, clock: &Arc<ManualClock>, mapped: bool) -> Segments {
    let mut options = SegmentOptions::default();
    options.max_bytes = Some(LIMIT);
    options.segment_bytes = Some(1 << 20);
    options.map_index = mapped;
    options.clock = clock.clone();
    let store = Segments::open(dir, options).unwrap();
    // The index is made anew in a thread; misses are fine meanwhile, but not what this test is about.
    while dir.join("segments-v1/rebuild").exists() {
        std::thread::yield_now();
    }
    store
}

#[derive(Default)]
struct Model {
    values: HashMap<u64, Value>,
    /// What counted when something was damaged.
    doubtful: HashMap<u64, HashSet<Value>>,
    /// Something was damaged, so that anything may be missing from now on.
    damaged: bool,
    /// A file was deleted that is made anew when the store is opened.
    lost: bool,
    /// Segments were exchanged under open handles, which from then on do not see the same files.
    swapped: bool,
}

impl Model {
    fn note_damage(&mut self) {
        self.damaged = true;
        for (key, value) in &self.values {
            self.doubtful.entry(*key).or_default().insert(*value);
        }
    }

    fn check(&mut self, store: &Segments, number: u64, buffer: &mut Vec<u8>) -> Result<(), TestCaseError> {
        let found = store.get_into(&key(number), buffer).unwrap();
        let known = self.values.get(&number);
        if let Some(found) = found {
            let doubtful = self.doubtful.get(&number).into_iter().flatten();
            let right = known.into_iter().chain(doubtful).any(|value| bytes(*value) == found);
            prop_assert!(right, "{} bytes of {} in the place of {:?}", found.len(), number, known);
        } else {
            let forgot = self.damaged || self.lost || store.counters().evicted > 0;
            prop_assert!(known.is_none() || forgot, "{} is missing: {:?}", number, known);
        }
        Ok(())
    }
}

#[expect(clippy::too_many_lines, reason = "one arm for each step")]
fn run(steps: Vec<Step>, mapped: bool) -> Result<(), TestCaseError> {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("segments-v1");
    let clock = Arc::new(ManualClock::new(Timestamp::from_millis(1_800_000_000_000)));
    let mut handles: Vec<Segments> = (0..HANDLES).map(|_| open(dir.path(), &clock, mapped)).collect();
    let mut model = Model::default();
    let mut buffer = Vec::new();
    let mut burst = 1000;
    for step in steps {
        match step {
            Step::Put { handle, key: number, value } => {
                match handles[handle].put(&key(number), &bytes(value)) {
                    Ok(()) => {
                        model.values.insert(number, value);
                        if model.swapped {
                            model.note_damage();
                        }
                    }
                    // A store that lost its files under an open handle may say so; nothing has changed then.
                    Err(e) => prop_assert!(model.damaged || model.lost, "{}", e),
                }
                model.check(&handles[handle], number, &mut buffer)?;
            }
            Step::Get { handle, key } => model.check(&handles[handle], key, &mut buffer)?,
            Step::Contains { handle, key: number } => {
                let there = handles[handle].contains(&key(number)).unwrap();
                let may_be = model.values.contains_key(&number) || model.doubtful.contains_key(&number);
                prop_assert!(!there || may_be);
            }
            Step::Remove { handle, key: number } => {
                if handles[handle].remove(&key(number)).is_ok() {
                    model.values.remove(&number);
                }
                model.check(&handles[handle], number, &mut buffer)?;
            }
            Step::Burst { handle } => {
                for _ in 0..60 {
                    burst += 1;
                    let done = handles[handle].put(&key(burst), &bytes((burst, 200_000)));
                    prop_assert!(done.is_ok() || model.damaged || model.lost, "{:?}", done);
                }
            }
            Step::Reopen { handle } => handles[handle] = open(dir.path(), &clock, mapped),
            Step::ReopenAll => {
                handles.clear();
                handles.extend((0..HANDLES).map(|_| open(dir.path(), &clock, mapped)));
                (model.lost, model.swapped) = (false, false);
                for number in 0..KEYS {
                    model.check(&handles[number as usize % HANDLES], number, &mut buffer)?;
                }
            }
            Step::Clock(by) => {
                let now = clock_millis(&clock);
                clock.set(Timestamp::from_millis(now.saturating_add_signed(by)));
            }
            Step::Delete(part) => {
                model.lost = true;
                // A new control file is a new store.
                model.damaged |= part == Part::Control;
                for file in part.files(&root) {
                    fs::remove_file(file).unwrap();
                }
            }
            Step::Corrupt { part, file, at, bits } => {
                let files = part.files(&root);
                if files.is_empty() {
                    continue;
                }
                let file =
                    fs::File::options().read(true).write(true).open(&files[file % files.len()]).unwrap();
                // Where something is, so that it hits.
                let len = written(&file).max(1);
                let (mut byte, at) = ([0], at as u64 % len);
                let _ = file.read_at(&mut byte, at).unwrap();
                model.note_damage();
                if byte[0] ^ bits != ALIVE {
                    file.write_all_at(&[byte[0] ^ bits], at).unwrap();
                }
            }
            Step::Truncate { part, file, at } => {
                let files = part.files(&root);
                if files.is_empty() {
                    continue;
                }
                let file =
                    fs::File::options().read(true).write(true).open(&files[file % files.len()]).unwrap();
                model.note_damage();
                file.set_len(at as u64 % (written(&file) + 1)).unwrap();
            }
            Step::Swap { one, other } => {
                let files = Part::Segment.files(&root);
                if files.is_empty() {
                    continue;
                }
                let (one, other) = (&files[one % files.len()], &files[other % files.len()]);
                model.note_damage();
                model.swapped = true;
                let aside = root.join("aside");
                fs::rename(one, &aside).unwrap();
                if one != other {
                    fs::rename(other, one).unwrap();
                }
                fs::rename(aside, other).unwrap();
            }
        }
    }
    // Whatever was done to it, the store goes on working.
    drop(handles);
    let store = open(dir.path(), &clock, mapped);
    model.lost = false;
    for number in 0..KEYS {
        model.check(&store, number, &mut buffer)?;
    }
    for number in 0..KEYS {
        let value = (number, 5000 + number as usize);
        store.put(&key(number), &bytes(value)).unwrap();
        prop_assert!(
            store.get_into(&key(number), &mut buffer).unwrap() == Some(&bytes(value)[..]),
            "{}",
            number
        );
    }
    Ok(())
}

fn clock_millis(clock: &ManualClock) -> u64 {
    use cache_core::Clock;
    clock.now().as_millis()
}

/// Returns where the last byte of a file is that is not 0.
fn written(file: &fs::File) -> u64 {
    let mut bytes = vec![0; file.metadata().unwrap().len() as usize];
    let read = file.read_at(&mut bytes, 0).unwrap();
    bytes[..read].iter().rposition(|byte| *byte != 0).map_or(0, |at| at as u64 + 1)
}

fn cases(usual: u32) -> ProptestConfig {
    let slow = std::env::var_os("VITTE_CACHE_TEST_SLOW").is_some();
    ProptestConfig { cases: if slow { usual * 100 } else { usual }, ..ProptestConfig::default() }
}

proptest! {
    #![proptest_config(cases(60))]

    #[test]
    fn it_does_what_a_map_does_except_that_it_forgets(
        steps in proptest::collection::vec(step(), 1..80),
        mapped in any::<bool>()
    ) {
        run(steps, mapped)?;
    }

    #[test]
    fn without_damage_nothing_comes_back_and_nothing_is_missing(
        steps in proptest::collection::vec(step(), 1..100),
        mapped in any::<bool>()
    ) {
        let whole = |step: &Step| {
            !matches!(step, Step::Corrupt { .. } | Step::Truncate { .. } | Step::Swap { .. } | Step::Burst { .. })
                && !matches!(step, Step::Delete(Part::Control))
        };
        run(steps.into_iter().filter(whole).collect(), mapped)?;
    }
}

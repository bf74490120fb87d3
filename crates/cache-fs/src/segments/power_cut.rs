//! The power fails at any moment: what is found afterwards was stored, and the store goes on.
//!
//! What holds: without [`Durability::Flush`], a value that is found was put under its key, and what replaced it or removed it
//! had not all reached the disk. With it, what is found is what counted, and what was put is found.

use std::collections::BTreeMap;
use std::path::Path;

use super::tape::{self, Cut, Dice};
use super::{SegmentOptions, Segments};
use crate::options::Durability;

const KEYS: u64 = 6;
const SEGMENT: u64 = 1 << 20;
const LIMIT: u64 = 8 << 20;

/// Something that was done to a key, and when it began and ended, in operations on files.
#[derive(Clone, Copy, Debug)]
struct Event {
    key: u64,
    /// Length and seed; nothing if it was removed.
    value: Option<(u64, usize)>,
    began: usize,
    ended: usize,
}

fn key(number: u64) -> [u8; 32] {
    *cache_core::Digest::blake3(&number.to_le_bytes()).as_bytes()
}

fn bytes((seed, len): (u64, usize)) -> Vec<u8> {
    let mut dice = Dice(seed);
    (0..len).map(|_| dice.below(256) as u8).collect()
}

fn open(dir: &Path, durability: Durability) -> Segments {
    let options = SegmentOptions {
        max_bytes: Some(LIMIT),
        segment_bytes: Some(SEGMENT),
        durability,
        ..SegmentOptions::default()
    };
    let store = Segments::open(dir, options).expect("a store can be opened after a power failure");
    while dir.join("segments-v1/rebuild").exists() {
        std::thread::yield_now();
    }
    store
}

/// Does random things, and returns them.
fn live(dir: &Path, durability: Durability, steps: u64, dice: &mut Dice) -> Vec<Event> {
    let store = open(dir, durability);
    let mut buffer = Vec::new();
    let mut events = Vec::new();
    for step in 0..steps {
        let number = dice.below(KEYS);
        let began = tape::len();
        let value = match dice.below(10) {
            0..2 => {
                store.get_into(&key(number), &mut buffer).expect("it can be read");
                continue;
            }
            2..4 => {
                store.remove(&key(number)).expect("it can be removed");
                None
            }
            _ => {
                let len = match dice.below(8) {
                    0 => 270_000 + dice.below(9000),
                    1..3 => 9000 + dice.below(90_000),
                    _ => dice.below(3000),
                };
                // Now and then one that was there before: a duplicate.
                let value = if dice.below(4) == 0 { (1, 20_000) } else { (step + 2, len as usize) };
                store.put(&key(number), &bytes(value)).expect("it can be put");
                Some(value)
            }
        };
        events.push(Event { key: number, value, began, ended: tape::len() });
    }
    events
}

/// Checks what is left of the events after the cut.
fn check(store: &Segments, events: &[Event], cut: Cut, durability: Durability, evicted: bool) {
    let mut buffer = Vec::new();
    let certain = if durability == Durability::Flush { cut.end } else { cut.flushed };
    for number in 0..KEYS {
        let found = store.get_into(&key(number), &mut buffer).expect("it can be read");
        let mut own: Vec<&Event> =
            events.iter().filter(|event| event.key == number && event.began < cut.end).collect();
        // All before the last that is certain are over.
        let over = own.iter().rposition(|event| event.ended <= certain).unwrap_or(0);
        own.drain(..over);
        let must_be = own.len() == 1 && own[0].value.is_some() && own[0].ended <= certain;
        match found {
            Some(found) => {
                let right = own
                    .iter()
                    .filter_map(|event| event.value)
                    .any(|value| value.1 == found.len() && bytes(value) == found);
                assert!(right, "{} bytes under {number} are none of {own:?}, {cut:?}", found.len());
            }
            None if durability == Durability::Flush && !evicted => {
                assert!(!must_be, "{number} is lost: {own:?}, {cut:?}");
            }
            None => {}
        }
    }
}

/// Checks that the store works, and that nothing older comes back when the index is made anew.
///
/// Where the system does not tell of boots, positions may be used again below records that the index has lost; should it be
/// lost a second time, such a record may come back. That is not checked then.
fn go_on(dir: &Path, store: Segments, new_boot: bool) {
    let mut buffer = Vec::new();
    let values: BTreeMap<u64, _> =
        (0..KEYS).map(|number| (number, (number + 7777, 500 + 300 * number as usize))).collect();
    for (number, value) in &values {
        store.put(&key(*number), &bytes(*value)).expect("it can be put");
        let found = store.get_into(&key(*number), &mut buffer).expect("it can be read");
        assert!(found == Some(&bytes(*value)[..]), "{number} was just put");
    }
    if !new_boot {
        return;
    }
    drop(store);
    std::fs::remove_file(dir.join("segments-v1/index")).expect("it is there");
    let store = open(dir, Durability::Relaxed);
    for (number, value) in &values {
        let found = store.get_into(&key(*number), &mut buffer).expect("it can be read");
        assert!(found.is_none_or(|found| found == bytes(*value)), "{number} is an older one");
    }
}

fn torture(durability: Durability, lives: u64, cuts: u64, new_boot: bool) {
    for life in 0..lives {
        let steps = if life % 2 == 0 { 60 } else { 200 };
        let mut dice = Dice(life * 31 + u64::from(new_boot));
        let temp = tempfile::tempdir().expect("a directory");
        let dir = temp.path().join("store");
        tape::set_boot(7);
        tape::start();
        let events = live(&dir, durability, steps, &mut dice);
        let evicted = open(&dir, durability).counters().evicted > 0;
        let last = tape::len() as u64;
        let tape = tape::stop();
        tape::set_boot(if new_boot { 8 } else { 7 });
        for number in 0..cuts {
            let end = dice.below(last + 1);
            let flushed = match dice.below(3) {
                0 => 0,
                1 => dice.below(end + 1),
                _ => end.saturating_sub(dice.below(30)),
            };
            let chance = [0, 50, 90, 99][dice.below(4) as usize];
            let cut = Cut { flushed: flushed as usize, end: end as usize, chance };
            let left = temp.path().join(format!("cut-{number}"));
            tape.develop(&dir, &left, cut, &mut dice);
            let store = open(&left, durability);
            check(&store, &events, cut, durability, evicted);
            go_on(&left, store, new_boot);
            std::fs::remove_dir_all(&left).expect("it can be removed");
        }
    }
}

fn cuts(usual: u64) -> u64 {
    if std::env::var_os("VITTE_CACHE_TEST_SLOW").is_some() { usual * 40 } else { usual }
}

#[test]
fn what_is_found_after_a_power_failure_was_there_before_it() {
    torture(Durability::Relaxed, 2, cuts(25), true);
}

#[test]
fn what_was_flushed_is_found_after_a_power_failure() {
    torture(Durability::Flush, 1, cuts(25), true);
}

#[test]
fn a_system_that_does_not_tell_of_boots_gives_no_wrong_bytes() {
    torture(Durability::Relaxed, 1, cuts(25), false);
}

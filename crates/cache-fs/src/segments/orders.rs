//! Two processes on one bucket, in every order in which they can meet at its slots, as far as two changes of turn make one.
//!
//! Run by `cargo xtask test --slow`.

use std::sync::Arc;

use loom::thread;

use super::index::{Found, Spot};
use super::record::{Class, Header, State};
use super::*;

const KEY: [u8; 32] = [7; 32];
/// In the same bucket, which the first eight bytes choose.
const OTHER: [u8; 32] = {
    let mut key = [9; 32];
    let mut at = 0;
    while at < 8 {
        key[at] = KEY[at];
        at += 1;
    }
    key
};

fn put(log: &Log, key: &[u8; 32], value: &[u8], worth: Worth) {
    let put = Put {
        kind: Kind::Raw,
        key,
        meta: &[],
        payload: Source::Bytes(value),
        worth,
        expires: 0,
        if_absent: false,
    };
    log.put(&put).unwrap();
}

fn get(log: &Log) -> Option<Vec<u8>> {
    let mut buffer = Vec::new();
    let sight = log.look_up(Kind::Raw, &KEY, Depth::Bytes, true, &mut buffer).unwrap();
    match sight.into_record()?.payload {
        Payload::Bytes(range) => Some(buffer[range].to_vec()),
        _ => None,
    }
}

fn slots(log: &Log, key: &[u8; 32]) -> Vec<(Found, Header)> {
    let mut all = Vec::new();
    let visit = |found: Found| {
        if let Some(header) = log.read_header(found.slot.position())?.filter(|header| header.key == *key) {
            all.push((found, header));
        }
        Ok(None::<()>)
    };
    log.index.find(&Spot::of_key(Kind::Raw, key), visit).unwrap();
    all
}

/// Returns how many records of `KEY` count, by what is in the segments.
fn alive(log: &Log) -> usize {
    let of = |class: Class| log.items(class, 1).unwrap().into_iter().map(move |item| (class, item));
    let all = of(Class::Probation).chain(of(Class::Main)).filter(|(_, item)| item.key == KEY);
    all.filter(|&(class, item)| {
        let position = record::Position { class, byte: log.segment() + item.offset };
        log.read_header(position).unwrap().is_some_and(|header| header.state == State::Alive)
    })
    .count()
}

/// What a process does.
#[derive(Clone, Copy)]
enum Act {
    Put(&'static str, Worth),
    Remove,
    /// Moves what is there to the main log, as the evictor does.
    Keep,
    /// Empties the slot before that of the key, and then stores it: another free slot than before.
    PutBefore(&'static str),
    /// Empties the slot before that of the key.
    RemoveOther,
    Get,
}

/// Returns how many records of the key were stored where there was none.
fn put_new(log: &Log, value: &str) -> usize {
    let payload = Source::Bytes(value.as_bytes());
    let worth = Worth::Normal;
    let put = Put { kind: Kind::Raw, key: &KEY, meta: &[], payload, worth, expires: 0, if_absent: true };
    usize::from(matches!(log.put(&put).unwrap(), Outcome::Stored { .. }))
}

fn act(log: &Log, act: Act) {
    match act {
        Act::Put(value, worth) => put(log, &KEY, value.as_bytes(), worth),
        Act::Remove => drop(log.remove(Kind::Raw, &KEY).unwrap()),
        Act::RemoveOther => drop(log.remove(Kind::Raw, &OTHER).unwrap()),
        Act::PutBefore(value) => {
            log.remove(Kind::Raw, &OTHER).unwrap();
            put(log, &KEY, value.as_bytes(), Worth::Normal);
        }
        Act::Get => drop(get(log)),
        Act::Keep => {
            for (found, header) in slots(log, &KEY) {
                let spot = Spot::of_key(Kind::Raw, &KEY);
                log.keep(&header, &found, &spot, &mut Vec::new()).unwrap();
            }
        }
    }
}

fn explore(model: impl Fn() + Send + Sync + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(4);
    builder.check(model);
}

/// Lets two processes act at once in all orders, on a store in which `there` was stored; what is found afterwards is one of
/// `allowed`, and nothing else is left that a later rebuild could find.
fn try_all(there: Option<&'static str>, acts: [Act; 2], allowed: &'static [Option<&'static str>]) {
    explore(move || {
        map::begin();
        // In memory: a store is made for each of many thousand orders.
        let dir = tempfile::tempdir_in("/dev/shm").unwrap();
        let open = || Log::open_or_create(dir.path(), Settings::default()).unwrap();
        let logs: [Arc<Log>; 2] = [open(), open()];
        put(&logs[0], &OTHER, b"other", Worth::Normal);
        if let Some(there) = there {
            put(&logs[0], &KEY, there.as_bytes(), Worth::Normal);
        }
        // Words that a thread sees first, it would have to make.
        let _ = get(&logs[0]);
        let [first, second] = logs.clone();
        let other = thread::spawn(move || act(&second, acts[1]));
        act(&first, acts[0]);
        other.join().unwrap();
        let found = get(&logs[0]);
        let is_allowed = allowed.iter().any(|value| value.map(str::as_bytes) == found.as_deref());
        assert!(is_allowed, "{found:?}");
        assert_eq!(get(&logs[1]), found, "both see the same");
        assert_eq!(alive(&logs[0]), usize::from(found.is_some()), "what counts has a slot");
        act(&logs[0], Act::Remove);
        assert_eq!((get(&logs[1]), alive(&logs[0])), (None, 0), "nothing is left");
    });
}

const A: Act = Act::Put("a", Worth::Normal);
const B: Act = Act::Put("b", Worth::Normal);

#[test]
fn of_two_puts_if_absent_one_stores() {
    explore(|| {
        map::begin();
        let dir = tempfile::tempdir_in("/dev/shm").unwrap();
        let open = || Log::open_or_create(dir.path(), Settings::default()).unwrap();
        let logs: [Arc<Log>; 2] = [open(), open()];
        put(&logs[0], &OTHER, b"other", Worth::Normal);
        let _ = get(&logs[0]);
        let [first, second] = logs.clone();
        let other = thread::spawn(move || {
            act(&second, Act::RemoveOther);
            put_new(&second, "b")
        });
        let stored = put_new(&first, "a") + other.join().unwrap();
        assert_eq!((stored, alive(&logs[0])), (1, 1));
    });
}

#[test]
fn two_puts_of_a_new_key() {
    try_all(None, [A, B], &[Some("a"), Some("b")]);
}

#[test]
fn two_puts_of_a_new_key_into_two_slots() {
    try_all(None, [A, Act::PutBefore("b")], &[Some("a"), Some("b")]);
}

#[test]
fn two_puts_of_a_new_key_into_two_logs() {
    try_all(None, [A, Act::Put("b", Worth::High)], &[Some("a"), Some("b"), None]);
}

#[test]
fn two_puts_of_a_key_that_is_there() {
    try_all(Some("old"), [A, B], &[Some("a"), Some("b")]);
}

#[test]
fn a_put_and_a_removal() {
    try_all(Some("old"), [A, Act::Remove], &[Some("a"), None]);
}

#[test]
fn a_put_of_a_new_key_while_a_slot_before_it_is_freed() {
    try_all(None, [A, Act::RemoveOther], &[Some("a")]);
}

#[test]
fn a_put_and_a_move_to_the_main_log() {
    try_all(Some("old"), [A, Act::Keep], &[Some("a")]);
}

#[test]
fn a_removal_and_a_move_to_the_main_log() {
    try_all(Some("old"), [Act::Remove, Act::Keep], &[None]);
}

#[test]
fn two_removals() {
    try_all(Some("old"), [Act::Remove, Act::Remove], &[None]);
}

#[test]
fn a_look_up_while_it_is_replaced() {
    try_all(Some("old"), [A, Act::Get], &[Some("a")]);
}

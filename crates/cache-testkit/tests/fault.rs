//! The faulty store does what its script says, when it says it, and nothing else.

#![expect(clippy::unwrap_used, reason = "helpers of tests")]

use std::sync::Arc;

use bytes::Bytes;
use cache_core::{Body, Digest, Entry, Error, Key, PutMode, PutOutcome, Store};
use cache_testkit::{
    Fault, FaultStore, Gate, MemoryStore, Operation, block_on, content, in_pieces, poll_at_most,
};

const LEN: usize = 10_000;

fn store_with_blob() -> (FaultStore<MemoryStore>, Digest, Bytes) {
    let (store, content) = (FaultStore::new(MemoryStore::new()), content(1, LEN));
    let digest = Digest::blake3(&content);
    block_on(store.inner().write(&digest, LEN as u64, content.clone().into())).unwrap();
    (store, digest, content)
}

fn read(store: &impl Store, digest: &Digest) -> Bytes {
    let body = block_on(store.read(digest, None)).unwrap().unwrap();
    block_on(body.into_bytes(u64::MAX)).unwrap()
}

#[test]
fn a_byte_is_flipped_and_only_in_the_call_that_is_meant() {
    let (store, digest, content) = store_with_blob();
    store.inject(Operation::Read, 1..2, Fault::Flip(5000));
    assert_eq!(read(&store, &digest), content);
    let spoiled = read(&store, &digest);
    let different: Vec<usize> = (0..LEN).filter(|at| spoiled[*at] != content[*at]).collect();
    assert_eq!((spoiled.len(), different), (LEN, vec![5000]));
    assert_eq!(read(&store, &digest), content);
}

#[test]
fn content_is_cut_off() {
    let (store, digest, content) = store_with_blob();
    for len in [0, 1, LEN as u64 - 1, LEN as u64, LEN as u64 + 1] {
        store.inject(Operation::Read, .., Fault::Truncate(len));
        assert_eq!(read(&store, &digest), content[..LEN.min(len as usize)]);
    }
    store.heal();
    assert_eq!(read(&store, &digest), content);
}

#[test]
fn a_store_notices_a_spoiled_write() {
    let store = FaultStore::new(MemoryStore::new());
    let content = content(1, LEN);
    let digest = Digest::blake3(&content);
    let write = |body: Body| block_on(store.write(&digest, LEN as u64, body));
    store.inject(Operation::Write, 0..1, Fault::Flip(9999));
    store.inject(Operation::Write, 1..2, Fault::Truncate(9999));
    store.inject(Operation::Write, 2..3, Fault::Drop);
    assert!(matches!(write(in_pieces(&content, 1000)), Err(Error::DigestMismatch { .. })));
    assert!(matches!(write(in_pieces(&content, 1000)), Err(Error::LengthMismatch { .. })));
    write(content.clone().into()).unwrap();
    assert_eq!(block_on(store.missing(&[digest])).unwrap(), [digest], "the write was dropped");
    write(content.clone().into()).unwrap();
    assert_eq!(read(&store, &digest), content);
    assert_eq!(store.calls(Operation::Write), 4);
}

#[test]
fn an_answer_gets_lost_after_the_work_was_done() {
    let store = FaultStore::new(MemoryStore::new());
    let key = Key::from_bytes([1; 32]);
    let lost = Arc::new(|| Error::Unavailable { store: "x".to_owned(), why: "y".to_owned() });
    store.inject(Operation::Put, 0..1, Fault::FailAfter(lost));
    assert!(block_on(store.put(&key, &Entry::default(), PutMode::IfAbsent)).unwrap_err().is_retryable());
    let again = block_on(store.put(&key, &Entry::default(), PutMode::IfAbsent)).unwrap();
    assert_eq!(again, PutOutcome::Present);
}

#[test]
fn operations_wait_at_the_gate() {
    let (store, digest, content) = store_with_blob();
    let gate = Gate::new();
    store.inject(Operation::Read, .., Fault::Wait(gate.clone()));
    assert!(block_on(poll_at_most(100, store.missing(&[digest]))).is_some(), "other operations pass");
    let store = Arc::new(store);
    let readers: Vec<_> = (0..3)
        .map(|_| {
            let store = Arc::clone(&store);
            std::thread::spawn(move || read(&*store, &digest))
        })
        .collect();
    block_on(gate.arrived(3));
    assert!(readers.iter().all(|reader| !reader.is_finished()));
    gate.open();
    for reader in readers {
        assert_eq!(reader.join().unwrap(), content);
    }
}

#[test]
fn values_of_entries_are_spoiled_too() {
    let store = FaultStore::new(MemoryStore::new());
    let key = Key::from_bytes([1; 32]);
    let entry = Entry { value: Bytes::from_static(b"value"), ..Entry::default() };
    let _ = block_on(store.put(&key, &entry, PutMode::Overwrite)).unwrap();
    store.inject(Operation::Get, 0..1, Fault::Flip(0));
    store.inject(Operation::GetMany, .., Fault::Truncate(2));
    assert_eq!(block_on(store.get(&key)).unwrap().unwrap().value, "walue");
    assert_eq!(block_on(store.get_many(&[key])).unwrap()[0].as_ref().unwrap().value, "va");
    assert_eq!(block_on(store.get(&key)).unwrap(), Some(entry));
}

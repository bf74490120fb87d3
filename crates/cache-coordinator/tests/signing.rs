//! What is not signed as it has to be is a miss, and nobody else's entry takes harm.

#![expect(clippy::unwrap_used, reason = "helpers of tests")]

use std::sync::{Arc, Mutex};
use std::time::Duration;

use cache_coordinator::action::{
    ActionCache, ActionId, ActionKind, ActionMetadata, ActionRun, FileStates, Miss,
};
use cache_coordinator::{ChainObserver, Coordinator, Signed, Tier, TierEvent, Unsigned};
use cache_core::signing::{Keyring, SigningKey, Standing};
use cache_core::{
    Clock, Digest, Entry, EntryMeta, Event, Key, ListFilter, ManualClock, MissReason, Namespace, Observer,
    PutMode, PutOutcome, Store, SystemClock, Timestamp,
};
use cache_testkit::conformance::{self, Suite};
use cache_testkit::{Fault, FaultStore, MemoryStore, Operation, block_on};

fn secret(n: u8) -> SigningKey {
    SigningKey::from_bytes([n; 32])
}

fn ring(n: u8) -> Keyring {
    Keyring::new(secret(n))
}

fn key(n: u8) -> Key {
    Key::from_bytes([n; 32])
}

fn entry(text: &str) -> Entry {
    let meta = EntryMeta { name: text.to_owned(), ..EntryMeta::default() };
    Entry { meta, value: text.to_owned().into(), ..Entry::default() }
}

/// Two or more owners of keys on one store.
struct World {
    below: Arc<dyn Store>,
    clock: Arc<ManualClock>,
}

impl World {
    fn new() -> Self {
        let clock = Arc::new(ManualClock::new(Timestamp::from_millis(1_000)));
        Self { below: Arc::new(MemoryStore::with_clock(clock.clone())), clock }
    }

    fn signed(&self, ring: Keyring, unsigned: Unsigned) -> Signed {
        Signed::new(Arc::clone(&self.below), ring, unsigned).clock(self.clock.clone())
    }

    /// Changes what is stored at `address` as somebody would who can write to the store and has no key.
    fn tamper(&self, address: Key, change: impl FnOnce(&mut Entry)) {
        let mut entry = block_on(self.below.get(&address)).unwrap().unwrap();
        change(&mut entry);
        put(&*self.below, address, &entry);
    }
}

fn put(store: &dyn Store, key: Key, entry: &Entry) {
    assert_eq!(block_on(store.put(&key, entry, PutMode::Overwrite)).unwrap(), PutOutcome::Stored);
}

fn put_if_absent(store: &dyn Store, key: Key, entry: &Entry) -> PutOutcome {
    block_on(store.put(&key, entry, PutMode::IfAbsent)).unwrap()
}

fn get(store: &dyn Store, key: Key) -> Option<String> {
    let one = block_on(store.get(&key)).unwrap();
    let many = block_on(store.get_many(&[key, self::key(255)])).unwrap();
    assert_eq!(many, [one.clone(), None]);
    one.map(|entry| String::from_utf8(entry.value.to_vec()).unwrap())
}

fn listed(store: &dyn Store) -> Vec<Key> {
    let page = block_on(store.list(&ListFilter::default(), None, 100)).unwrap();
    let mut keys: Vec<Key> = page.items.iter().map(|item| item.key).collect();
    keys.sort_unstable();
    keys
}

#[test]
fn what_is_stored_is_signed_ends_and_comes_back() {
    let world = World::new();
    let store = world.signed(ring(1), Unsigned::Refuse);
    put(&store, key(1), &entry("one"));
    let found = block_on(store.get(&key(1))).unwrap().unwrap();
    assert_eq!(ring(1).standing(&key(1), &found), Standing::Valid);
    assert_eq!(found.meta.expires, Some(world.clock.now().plus(Signed::LIFETIME)));
    assert_eq!(Signed::LIFETIME.as_secs(), 30 * 24 * 3600);
    // Whatever the store below says, it is absent from then on.
    let lazy = Signed::new(Arc::clone(&world.below), ring(1), Unsigned::Refuse);
    let late = Arc::new(ManualClock::new(world.clock.now().plus(Signed::LIFETIME)));
    assert_eq!(get(&lazy.clock(late), key(1)), None);
    assert_eq!(get(&store, key(1)).as_deref(), Some("one"));
    // Who says an end keeps it, and may say that there is none.
    let end = Some(Timestamp::from_millis(5_000));
    put(&store, key(2), &Entry { meta: EntryMeta { expires: end, ..EntryMeta::default() }, ..entry("two") });
    assert_eq!(block_on(store.get(&key(2))).unwrap().unwrap().meta.expires, end);
    let endless = world.signed(ring(1), Unsigned::Refuse).lifetime(None);
    put(&endless, key(3), &entry("three"));
    assert_eq!(block_on(store.get(&key(3))).unwrap().unwrap().meta.expires, None);
}

#[test]
fn workspaces_with_different_keys_neither_read_nor_replace_nor_remove_each_others_entries() {
    let world = World::new();
    let (ours, theirs) = (world.signed(ring(1), Unsigned::Refuse), world.signed(ring(2), Unsigned::Refuse));
    put(&ours, key(1), &entry("ours"));
    assert_eq!(get(&theirs, key(1)), None);
    assert_eq!(put_if_absent(&theirs, key(1), &entry("theirs")), PutOutcome::Stored);
    assert_eq!(
        (get(&ours, key(1)).as_deref(), get(&theirs, key(1)).as_deref()),
        (Some("ours"), Some("theirs"))
    );
    put(&theirs, key(2), &entry("only theirs"));
    assert_eq!((listed(&ours), listed(&theirs)), (vec![key(1)], vec![key(1), key(2)]));
    assert!(block_on(theirs.remove(&key(1))).unwrap());
    assert!(!block_on(ours.remove(&key(2))).unwrap());
    assert_eq!((get(&ours, key(1)).as_deref(), get(&theirs, key(1))), (Some("ours"), None));
    assert_eq!(get(&theirs, key(2)).as_deref(), Some("only theirs"));
    assert_eq!((ours.refusals(), theirs.refusals()), Default::default());
}

#[derive(Debug, Default)]
struct Notes(Mutex<Vec<(Key, MissReason)>>);

impl Observer for Notes {
    fn on_event(&self, _: &str, event: &Event<'_>) {
        if let Event::Miss { key, reason } = event {
            self.0.lock().unwrap().push((**key, *reason));
        }
    }
}

#[test]
fn a_forged_entry_is_a_miss_with_a_reason_and_goes_alone() {
    let world = World::new();
    let notes = Arc::new(Notes::default());
    let store = world.signed(ring(1), Unsigned::Refuse).observer(notes.clone());
    for n in 1..=3 {
        put(&store, key(n), &entry(&n.to_string()));
    }
    let address = |n| secret(1).id().address(&key(n));
    world.tamper(address(1), |entry| entry.value = "evil".into());
    assert_eq!(block_on(store.get(&key(1))).unwrap(), None);
    assert_eq!(block_on(world.below.get(&address(1))).unwrap(), None);
    // A right entry of another key, moved here.
    let other = block_on(world.below.get(&address(3))).unwrap().unwrap();
    put(&*world.below, address(2), &other);
    assert_eq!(block_on(store.get_many(&[key(2), key(3)])).unwrap()[0], None);
    assert_eq!(*notes.0.lock().unwrap(), [(key(1), MissReason::Forged), (key(2), MissReason::Forged)]);
    assert_eq!(store.refusals().forged, 2);
    assert_eq!(get(&store, key(3)).as_deref(), Some("3"));
    assert_eq!(listed(&store), [key(3)]);
}

#[test]
fn what_is_only_read_is_not_changed() {
    let world = World::new();
    let store = world.signed(ring(1), Unsigned::Refuse).quarantine(false);
    put(&store, key(1), &entry("right"));
    let address = secret(1).id().address(&key(1));
    world.tamper(address, |entry| entry.value = "evil".into());
    assert_eq!(get(&store, key(1)), None);
    assert!(block_on(world.below.get(&address)).unwrap().is_some());
}

#[test]
fn entries_without_a_known_signature_are_misses_and_stay_until_they_are_replaced() {
    let world = World::new();
    let store = world.signed(ring(1), Unsigned::Refuse);
    let address = secret(1).id().address(&key(1));
    let mut foreign = entry("foreign");
    ring(2).sign(&key(1), &mut foreign).unwrap();
    for intruder in [entry("unsigned"), foreign] {
        put(&*world.below, address, &intruder);
        assert_eq!(get(&store, key(1)), None);
        assert!(block_on(world.below.get(&address)).unwrap().is_some());
        assert_eq!(put_if_absent(&store, key(1), &entry("right")), PutOutcome::Stored);
        assert_eq!(put_if_absent(&store, key(1), &entry("late")), PutOutcome::Present);
        assert_eq!(get(&store, key(1)).as_deref(), Some("right"));
    }
    let refusals = store.refusals();
    assert_eq!((refusals.unsigned, refusals.unknown_signer, refusals.forged), (3, 3, 0));
}

#[test]
fn unsigned_entries_count_where_they_are_accepted_and_are_replaced_by_signed_ones() {
    let world = World::new();
    put(&*world.below, key(1), &entry("old"));
    let strict = world.signed(ring(1), Unsigned::Refuse);
    let lenient = world.signed(ring(1), Unsigned::Accept);
    assert_eq!((get(&strict, key(1)), get(&lenient, key(1)).as_deref()), (None, Some("old")));
    assert_eq!((listed(&strict), listed(&lenient)), (vec![], vec![key(1)]));
    assert_eq!(put_if_absent(&lenient, key(1), &entry("new")), PutOutcome::Present);
    put(&lenient, key(1), &entry("new"));
    assert_eq!(listed(&lenient), [key(1)]);
    assert_eq!(
        (get(&strict, key(1)).as_deref(), get(&lenient, key(1)).as_deref()),
        (Some("new"), Some("new"))
    );
    assert!(block_on(lenient.remove(&key(1))).unwrap());
    assert_eq!(get(&lenient, key(1)), None);
    // Accepted are entries without a signature, and no others.
    let mut forged = entry("forged");
    ring(1).sign(&key(2), &mut forged).unwrap();
    forged.value = "evil".into();
    put(&*world.below, key(2), &forged);
    assert_eq!(get(&lenient, key(2)), None);
}

#[test]
fn keys_are_replaced_without_a_miss_and_nothing_old_comes_back() {
    let world = World::new();
    put(&world.signed(ring(1), Unsigned::Refuse), key(1), &entry("old"));
    put(&world.signed(ring(1), Unsigned::Refuse), key(2), &entry("kept"));
    let both = world.signed(Keyring::new(secret(2)).accepting(secret(1)), Unsigned::Refuse);
    assert_eq!(get(&both, key(1)).as_deref(), Some("old"));
    assert_eq!(listed(&both), [key(1), key(2)]);
    assert_eq!(put_if_absent(&both, key(1), &entry("new")), PutOutcome::Present);
    let mut new = entry("new");
    new.meta.expires = Some(Timestamp::from_millis(2_000));
    put(&both, key(1), &new);
    assert_eq!(get(&both, key(1)).as_deref(), Some("new"));
    assert_eq!(listed(&both), [key(1), key(2)]);
    // When the new one ends, the old one does not come back.
    world.clock.advance(Duration::from_secs(1));
    assert_eq!(get(&both, key(1)), None);
    assert_eq!(get(&world.signed(ring(2), Unsigned::Refuse), key(2)), None);
    assert_eq!(get(&both, key(2)).as_deref(), Some("kept"));
    // A right entry, moved to the place of the other key: it would be listed under a wrong one.
    let kept = block_on(both.get(&key(2))).unwrap().unwrap();
    put(&*world.below, secret(2).id().address(&key(2)), &kept);
    assert_eq!(get(&both, key(2)).as_deref(), Some("kept"));
    assert_eq!((listed(&both), both.refusals().forged), (vec![key(2)], 1));
    assert!(block_on(both.remove(&key(2))).unwrap());
    assert_eq!(get(&both, key(2)), None);
}

#[test]
fn a_right_signature_is_kept_and_any_other_replaced() {
    let world = World::new();
    let both = world.signed(Keyring::new(secret(2)).accepting(secret(1)), Unsigned::Refuse);
    let mut copy = entry("copy");
    ring(1).sign(&key(1), &mut copy).unwrap();
    put(&both, key(1), &copy);
    assert_eq!(block_on(both.get(&key(1))).unwrap(), Some(copy.clone()));
    // Changed since it was read, or meant for another key: who stores it vouches for it.
    copy.value = "changed".into();
    put(&both, key(1), &copy);
    assert_eq!(get(&both, key(1)).as_deref(), Some("changed"));
    assert_eq!(block_on(both.get(&key(1))).unwrap().unwrap().signer(), Some(secret(2).id()));
}

#[test]
fn signed_stores_pass_the_suite() {
    for (ring, unsigned) in
        [(ring(1), Unsigned::Refuse), (Keyring::new(secret(2)).accepting(secret(1)), Unsigned::Accept)]
    {
        let clock = Arc::new(ManualClock::new(SystemClock.now()));
        let passing = Arc::clone(&clock);
        let suite = Suite::new(move || {
            let (ring, clock) = (ring.clone(), clock.clone());
            async move {
                let below = Arc::new(MemoryStore::with_clock(clock.clone()));
                // Entries are to come back as they were stored, without an end if they had none.
                Arc::new(Signed::new(below, ring, unsigned).clock(clock).lifetime(None)) as Arc<dyn Store>
            }
        })
        .passing(move |time| passing.advance(time))
        .without("entry_signature");
        let report = block_on(conformance::all(&suite));
        assert!(report.is_ok(), "{report}");
        let expected = ["entry_signature"];
        assert!(report.skipped().all(|(name, _)| expected.contains(&name)), "{report}");
    }
}

#[derive(Debug, Default)]
struct Refused(Mutex<Vec<String>>);

impl ChainObserver for Refused {
    fn on_event(&self, event: &TierEvent<'_>) {
        if let TierEvent::Refused { tier, reason, .. } = event {
            self.0.lock().unwrap().push(format!("{tier}: {reason:?}"));
        }
    }
}

#[tokio::test]
async fn a_forged_entry_in_one_tier_heals_from_the_next() {
    let (near, far) = (Arc::new(MemoryStore::new()), Arc::new(MemoryStore::new()));
    let refused = Arc::new(Refused::default());
    let chain = Coordinator::builder()
        .tier(Tier::new(near.clone()).named("near"))
        .tier(Tier::new(far.clone()).named("far").write_back(true))
        .signing(ring(1), Unsigned::Refuse)
        .observer(refused.clone())
        .build()
        .unwrap();
    let _ = chain.put(&key(1), &entry("right"), PutMode::Overwrite).await.unwrap();
    assert_eq!(chain.flush(Duration::from_hours(1)).await.left, 0);
    let address = secret(1).id().address(&key(1));
    let stored = near.get(&address).await.unwrap().unwrap();
    // The copy carries the signature on.
    assert_eq!(far.get(&address).await.unwrap().as_ref(), Some(&stored));
    let evil = Entry { value: "evil".into(), ..stored.clone() };
    let _ = near.put(&address, &evil, PutMode::Overwrite).await.unwrap();
    assert_eq!(chain.get(&key(1)).await.unwrap().as_ref(), Some(&stored));
    assert_eq!(chain.flush(Duration::from_hours(1)).await.left, 0);
    assert_eq!(near.get(&address).await.unwrap(), Some(stored));
    let stats = chain.stats();
    assert_eq!((stats.tiers[0].refused.forged, stats.tiers[1].refused.forged), (1, 0));
    assert_eq!(*refused.0.lock().unwrap(), ["near: Forged"]);
    chain.close().await.unwrap();
}

#[tokio::test]
async fn a_tier_that_is_not_signed_may_be_in_front_of_one_that_is() {
    let (near, far) = (Arc::new(MemoryStore::new()), Arc::new(MemoryStore::new()));
    let chain = Coordinator::builder()
        .tier(Tier::new(near.clone()).named("near"))
        .tier(Tier::new(far.clone()).named("far").write_back(true).signed(ring(1), Unsigned::Refuse))
        .build()
        .unwrap();
    let _ = chain.put(&key(1), &entry("right"), PutMode::Overwrite).await.unwrap();
    assert_eq!(chain.flush(Duration::from_hours(1)).await.left, 0);
    assert_eq!(near.get(&key(1)).await.unwrap().unwrap().signature, None);
    let stored = far.get(&secret(1).id().address(&key(1))).await.unwrap().unwrap();
    assert_eq!(ring(1).standing(&key(1), &stored), Standing::Valid);
    chain.close().await.unwrap();
}

#[test]
fn trouble_below_is_told() {
    let below = Arc::new(FaultStore::new(MemoryStore::new()));
    let store = Signed::new(below.clone(), Keyring::new(secret(2)).accepting(secret(1)), Unsigned::Refuse);
    for operation in [Operation::Get, Operation::GetMany] {
        below.inject(operation, .., Fault::unavailable());
    }
    assert!(block_on(store.get(&key(1))).is_err());
    assert!(block_on(store.put(&key(1), &entry("x"), PutMode::IfAbsent)).is_err());
    // What was replaced might come back if this were no error.
    below.inject(Operation::Remove, .., Fault::unavailable());
    assert!(block_on(store.put(&key(1), &entry("x"), PutMode::Overwrite)).is_err());
}

#[test]
fn an_action_whose_record_is_not_right_runs_again() {
    let world = World::new();
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("a.c"), "a").unwrap();
    let cache = |n| {
        let store = Arc::new(world.signed(ring(n), Unsigned::Refuse));
        ActionCache::new(store, Arc::new(FileStates::new(dir.path()).unwrap()), Namespace::default())
    };
    let (ours, theirs) = (cache(1), cache(2));
    let id = |name: &str| ActionId::new(name, ActionKind::Compile, Digest::blake3(b"cc")).unwrap();
    let run = ActionRun { success: true, ..ActionRun::default() };
    let metadata = ActionMetadata::default();
    let look_up = |cache: &ActionCache, name| block_on(cache.look_up(&id(name), &metadata)).map(drop);
    for name in ["one", "two"] {
        block_on(ours.record(&id(name), &run)).unwrap();
        assert_eq!(look_up(&ours, name), Ok(()));
        assert_eq!(look_up(&theirs, name), Err(Miss::Absent), "a foreign record");
    }
    let raw = listed(&*world.below);
    let [first, second] = [0, 1].map(|at| block_on(world.below.get(&raw[at])).unwrap().unwrap());
    // A record that was moved to the key of another action.
    put(&*world.below, raw[0], &second);
    world.tamper(raw[1], |entry| entry.meta.cost_ms += 1);
    assert_eq!([look_up(&ours, "one"), look_up(&ours, "two")], [Err(Miss::Absent), Err(Miss::Absent)]);
    assert_eq!(listed(&*world.below), []);
    put(&*world.below, raw[0], &first);
    assert_eq!(["one", "two"].iter().filter(|name| look_up(&ours, name).is_ok()).count(), 1);
}

#[tokio::test]
async fn an_action_over_a_signed_chain_says_what_was_wrong_with_its_record() {
    let below = Arc::new(MemoryStore::new());
    let chain = Coordinator::builder()
        .tier(Tier::new(below.clone()).signed(ring(1), Unsigned::Refuse))
        .build()
        .map(Arc::new)
        .unwrap();
    let dir = tempfile::tempdir().unwrap();
    let files = Arc::new(FileStates::new(dir.path()).unwrap());
    let cache = ActionCache::over(Arc::clone(&chain), files, Namespace::default());
    let id = ActionId::new("one", ActionKind::Compile, Digest::blake3(b"cc")).unwrap();
    let (run, metadata) = (ActionRun { success: true, ..ActionRun::default() }, ActionMetadata::default());
    let mut foreign = entry("foreign");
    cache.record(&id, &run).await.unwrap();
    let address = listed(&*below)[0];
    let key = secret(1).id().address(&address);
    ring(2).sign(&key, &mut foreign).unwrap();
    let forged = Entry { value: "evil".into(), ..block_on(below.get(&address)).unwrap().unwrap() };
    let reasons = [(forged, Miss::Forged), (entry("x"), Miss::Unsigned), (foreign, Miss::UnknownSigner)];
    for (intruder, reason) in reasons {
        cache.record(&id, &run).await.unwrap();
        cache.look_up(&id, &metadata).await.unwrap();
        put(&*below, address, &intruder);
        assert_eq!(cache.look_up(&id, &metadata).await.map(drop), Err(reason.clone()));
        assert_eq!(chain.refusal(&key).map(|_| ()), Some(()), "{reason}");
    }
    // What was removed in between is no one's fault.
    cache.record(&id, &run).await.unwrap();
    block_on(below.remove(&address)).unwrap();
    assert_eq!(cache.look_up(&id, &metadata).await.map(drop), Err(Miss::Absent));
}

//! Who may put what others read.

use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use vitte_cache::core::envelope::Compression;
use vitte_cache::core::signing::{Keyring, SigningKey};
use vitte_cache::core::{Event, KeyBuilder, ManualClock, MissReason, Namespace, Observer, PutMode};
use vitte_cache::fs::{FsStore, Options};
use vitte_cache::{Cache, CacheBuilder};

fn dir() -> (tempfile::TempDir, PathBuf) {
    let dir = tempfile::tempdir().expect("the system's directory for temporary files can be used");
    let cache = dir.path().join("cache");
    (dir, cache)
}

fn signing_key() -> SigningKey {
    SigningKey::generate().expect("the system has random numbers")
}

fn get(cache: &Cache) -> (Option<String>, bool) {
    let found = cache.get("key").expect("the disk can be read");
    (found, cache.has("key").expect("the disk can be read"))
}

#[derive(Default)]
struct Misses(Mutex<Vec<MissReason>>);

impl Observer for Misses {
    fn on_event(&self, _: &str, event: &Event<'_>) {
        if let Event::Miss { reason, .. } = event {
            self.0.lock().expect("nobody panics with it").push(*reason);
        }
    }
}

#[test]
fn caches_with_different_keys_do_not_see_each_other() {
    let (_guard, dir) = dir();
    let open = |key: Option<&SigningKey>| {
        let builder = Cache::builder(&dir);
        let builder = key.map_or(builder.clone(), |key| builder.signing(Keyring::new(key.clone())));
        builder.open().unwrap()
    };
    let (ours, theirs, plain) = (open(Some(&signing_key())), open(Some(&signing_key())), open(None));
    // Both in the entry and in a blob.
    for size in [1, 100_000] {
        for (cache, text) in [(&ours, "ours"), (&theirs, "theirs"), (&plain, "plain")] {
            cache.put("key", &text.repeat(size)).unwrap();
        }
        for (cache, text) in [(&ours, "ours"), (&theirs, "theirs"), (&plain, "plain")] {
            assert_eq!(get(cache), (Some(text.repeat(size)), true));
        }
    }
    assert_eq!(ours.clear().unwrap(), 1);
    assert_eq!(get(&ours), (None, false));
    assert!(theirs.delete("key").unwrap() && !theirs.delete("key").unwrap());
    assert_eq!(get(&theirs), (None, false));
    assert!(get(&plain).1);
}

#[test]
fn while_a_key_is_replaced_both_count() {
    let (_guard, dir) = dir();
    let (old, new) = (signing_key(), signing_key());
    let open = |ring| Cache::builder(&dir).signing(ring).open().unwrap();
    open(Keyring::new(old.clone())).put("key", &"old".to_owned()).unwrap();
    let both = open(Keyring::new(new.clone()).accepting(old.clone()));
    assert_eq!(get(&both), (Some("old".to_owned()), true));
    both.put("key", &"new".to_owned()).unwrap();
    assert_eq!(get(&open(Keyring::new(new))), (Some("new".to_owned()), true));
    assert_eq!(get(&open(Keyring::new(old))), (None, false), "the old one is gone");
    assert!(both.delete("key").unwrap());
    assert_eq!(get(&both), (None, false));
}

#[test]
fn what_was_changed_or_moved_is_a_miss_and_goes() {
    let (_guard, dir) = dir();
    let (key, misses) = (signing_key(), Arc::new(Misses::default()));
    let builder = Cache::builder(&dir).signing(Keyring::new(key.clone()));
    let cache = builder.observer(misses.clone()).open().unwrap();
    cache.put("key", &"right".to_owned()).unwrap();
    cache.put("other", &"wrong".to_owned()).unwrap();

    let store = FsStore::open(&dir, Options::default()).unwrap();
    let address = |name: &str| {
        let key_of_name = KeyBuilder::new(&Namespace::default(), "value").bytes(name.as_bytes()).finish();
        key.id().address(&key_of_name)
    };
    let moved = store.get(&address("other")).unwrap().into_entry().unwrap();
    let mut changed = store.get(&address("key")).unwrap().into_entry().unwrap();
    changed.meta.cost_ms += 1;
    let mut unsigned = changed.clone();
    unsigned.signature = None;
    for (entry, reason) in
        [(moved, MissReason::Forged), (changed, MissReason::Forged), (unsigned, MissReason::Unsigned)]
    {
        let _ = store.put(&address("key"), &entry, PutMode::Overwrite).unwrap();
        misses.0.lock().unwrap().clear();
        assert_eq!(cache.get::<String>("key").unwrap(), None);
        assert_eq!(*misses.0.lock().unwrap(), [reason]);
        let is_there = store.peek(&address("key")).unwrap().into_entry().is_some();
        assert_eq!(is_there, reason != MissReason::Forged, "what is forged goes");
    }
    cache.put("key", &"right".to_owned()).unwrap();
    assert_eq!(get(&cache), (Some("right".to_owned()), true));
    assert_eq!(cache.get::<String>("other").unwrap().as_deref(), Some("wrong"), "it cost nothing else");
}

#[test]
fn signed_values_have_an_end() {
    let (_guard, dir) = dir();
    let clock = Arc::new(ManualClock::new(SystemTime::now().into()));
    let builder = Cache::builder(&dir).signing(Keyring::new(signing_key())).clock(clock.clone());
    let cache = builder.open().unwrap();
    cache.put("key", &"text".to_owned()).unwrap();
    clock.advance(Duration::from_hours(30 * 24) - Duration::from_millis(1));
    assert!(get(&cache).1);
    clock.advance(Duration::from_millis(1));
    assert_eq!(get(&cache), (None, false));
}

#[test]
fn compressed_values_come_back_with_and_without_compression() {
    let (_guard, dir) = dir();
    let text = "a text that repeats itself ".repeat(10_000);
    let plain = Cache::new(&dir).unwrap();
    for compression in [Compression::Adaptive, Compression::Lz4, Compression::Zstd, Compression::None] {
        let cache = Cache::builder(&dir).compression(compression).open().unwrap();
        cache.put("key", &text).unwrap();
        assert_eq!((get(&cache), get(&plain)), ((Some(text.clone()), true), (Some(text.clone()), true)));
        assert_eq!(plain.get::<Vec<String>>("key").unwrap(), None, "it is no list");
        let made = cache.get_or_insert_with(format!("{compression:?}"), || text.clone());
        assert_eq!(plain.get("key").unwrap(), Some(made));
    }
}

#[test]
fn compressing_makes_room_in_memory() {
    let there = |compression| {
        let cache = CacheBuilder::in_memory().max_bytes(1 << 20).compression(compression).open().unwrap();
        for number in 0..50_u32 {
            cache.put(number.to_le_bytes(), &"same ".repeat(10_000)).unwrap();
        }
        (0..50_u32).filter(|number| cache.has(number.to_le_bytes()).unwrap()).count()
    };
    assert_eq!(there(Compression::Zstd), 50);
    assert!(there(Compression::None) < 25);
}

//! What a cache keeps, for how long, and for whom.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};
use tempfile::TempDir;
use vitte_cache::core::{Event, ManualClock, MissReason, Observer, Policy, SystemClock};
use vitte_cache::{Cache, CacheBuilder, Error};

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Symbols {
    names: Vec<String>,
}

fn symbols(count: usize) -> Symbols {
    Symbols { names: (0..count).map(|n| format!("symbol number {n}")).collect() }
}

fn dir() -> (TempDir, PathBuf) {
    let dir = tempfile::tempdir().expect("the system's directory for temporary files can be used");
    let cache = dir.path().join("a/cache");
    (dir, cache)
}

/// Returns every regular file below `dir`.
fn files(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut dirs = vec![dir.to_owned()];
    while let Some(dir) = dirs.pop() {
        for entry in fs::read_dir(dir).expect("it is a directory") {
            let path = entry.expect("it can be read").path();
            if path.is_dir() { dirs.push(path) } else { found.push(path) }
        }
    }
    found
}

#[test]
fn small_and_large_values_come_back_also_after_a_restart() {
    let (_guard, dir) = dir();
    let sizes = [0, 1, 100, 3000, 10_000, 100_000];
    let cache = Cache::new(&dir).unwrap();
    for size in sizes {
        let key = format!("symbols {size}");
        assert_eq!(cache.get::<Symbols>(&key).unwrap(), None);
        cache.put(&key, &symbols(size)).unwrap();
        assert_eq!(cache.get(&key).unwrap(), Some(symbols(size)));
    }
    cache.flush().unwrap();
    cache.close().unwrap();
    drop(cache);
    let cache = Cache::new(&dir).unwrap();
    for size in sizes {
        assert_eq!(cache.get(format!("symbols {size}")).unwrap(), Some(symbols(size)));
    }
}

#[test]
fn keys_are_texts_or_bytes() {
    let (_guard, dir) = dir();
    let cache = Cache::new(dir).unwrap();
    let long = "x".repeat(100_000);
    let keys: [&[u8]; 5] = [b"", b"a", b"\0\xff", b"a\0", long.as_bytes()];
    for (number, key) in keys.iter().enumerate() {
        cache.put(key, &number).unwrap();
    }
    for (number, key) in keys.iter().enumerate() {
        assert_eq!(cache.get(key).unwrap(), Some(number));
    }
    assert_eq!(cache.get::<usize>("a").unwrap(), Some(1), "a text is its bytes");
}

#[test]
fn a_value_is_replaced_and_deleted() {
    let (_guard, dir) = dir();
    let cache = Cache::new(dir).unwrap();
    assert!(!cache.delete("key").unwrap());
    for value in [symbols(1), symbols(50_000), symbols(2)] {
        cache.put("key", &value).unwrap();
        assert_eq!(cache.get("key").unwrap(), Some(value));
    }
    assert!(cache.delete("key").unwrap());
    assert_eq!(cache.get::<Symbols>("key").unwrap(), None);
    assert!(!cache.delete("key").unwrap());
}

#[test]
fn has_agrees_with_get() {
    let (_guard, dir) = dir();
    let clock = Arc::new(ManualClock::new(SystemTime::now().into()));
    let cache = Cache::builder(dir).clock(clock.clone()).open().unwrap();
    let agree = |expected: bool| {
        assert_eq!(cache.has("key").unwrap(), expected);
        assert_eq!(cache.get::<Symbols>("key").unwrap().is_some(), expected);
    };
    agree(false);
    cache.put_with("key", &symbols(1), Duration::from_secs(10)).unwrap();
    agree(true);
    clock.advance(Duration::from_secs(10));
    agree(false);
    cache.put("key", &symbols(1)).unwrap();
    agree(true);
    cache.delete("key").unwrap();
    agree(false);
}

#[test]
fn a_value_lives_as_long_as_it_was_given() {
    let (_guard, dir) = dir();
    let clock = Arc::new(ManualClock::new(SystemTime::now().into()));
    let (hour, instant) = (Duration::from_hours(1), Duration::from_millis(1));
    let cache = Cache::builder(dir).clock(clock.clone()).default_ttl(2 * hour).open().unwrap();
    cache.put_with("an hour", &1, hour + instant).unwrap();
    cache.put("by default", &2).unwrap();
    cache.put_with("nothing", &3, Duration::ZERO).unwrap();
    cache.put_with("for ever", &4, Duration::MAX).unwrap();
    let all = || ["an hour", "by default", "nothing", "for ever"].map(|key| cache.get::<i32>(key).unwrap());
    assert_eq!(all(), [Some(1), Some(2), None, Some(4)]);
    clock.advance(hour);
    assert_eq!(all(), [Some(1), Some(2), None, Some(4)]);
    clock.advance(instant);
    assert_eq!(all(), [None, Some(2), None, Some(4)]);
    clock.advance(hour);
    assert_eq!(all(), [None, None, None, Some(4)]);
}

#[test]
fn clear_isolates_namespaces() {
    let (_guard, dir) = dir();
    let one = Cache::builder(&dir).namespace("one").open().unwrap();
    let two = Cache::builder(&dir).namespace("two").open().unwrap();
    for number in 0..50 {
        one.put(format!("key {number}"), &number).unwrap();
    }
    two.put("key 0", &"two".to_owned()).unwrap();
    assert_eq!(one.get("key 0").unwrap(), Some(0));
    assert_eq!(one.clear().unwrap(), 50);
    assert_eq!(one.clear().unwrap(), 0);
    assert!(!one.has("key 0").unwrap() && !one.has("key 49").unwrap());
    assert_eq!(two.get("key 0").unwrap(), Some("two".to_owned()));
    assert_eq!(two.namespace().as_str(), "two");
}

#[test]
fn two_caches_share_a_directory() {
    let (_guard, dir) = dir();
    let (one, two) = (Cache::new(&dir).unwrap(), Cache::new(&dir).unwrap());
    one.put("key", &symbols(3)).unwrap();
    assert_eq!(two.get("key").unwrap(), Some(symbols(3)));
    two.put("key", &symbols(4)).unwrap();
    assert_eq!(one.get("key").unwrap(), Some(symbols(4)));
    one.close().unwrap();
    assert_eq!(two.get("key").unwrap(), Some(symbols(4)), "the other one stays open");
}

mod changed {
    #[derive(Debug, PartialEq, serde::Serialize, serde::Deserialize)]
    pub(super) struct Symbols {
        pub(super) labels: Vec<String>,
    }
}

#[test]
fn a_changed_struct_is_a_miss_and_is_replaced() {
    let (_guard, dir) = dir();
    let cache = Cache::new(dir).unwrap();
    cache.put("key", &symbols(3)).unwrap();
    assert_eq!(cache.get::<changed::Symbols>("key").unwrap(), None);
    assert_eq!(cache.get::<Vec<String>>("key").unwrap(), None);
    assert_eq!(cache.get("key").unwrap(), Some(symbols(3)), "asking for another type does no harm");
    let labels = vec!["new".to_owned()];
    let made = cache.get_or_insert_with("key", || changed::Symbols { labels: labels.clone() });
    assert_eq!(cache.get("key").unwrap(), Some(made));
    assert_eq!(cache.get::<Symbols>("key").unwrap(), None);
}

#[test]
fn every_damaged_byte_is_a_miss() {
    let (_guard, dir) = dir();
    // Small values are in their entry, large ones in a blob.
    for count in [5, 50_000] {
        let value = symbols(count);
        let cache = Cache::new(&dir).unwrap();
        cache.put("key", &value).unwrap();
        for file in
            files(&dir).iter().filter(|file| file.iter().any(|part| part == "entries" || part == "blobs"))
        {
            let whole = fs::read(file).unwrap();
            let step = (whole.len() / 100).max(1);
            for at in (0..whole.len()).step_by(step) {
                let mut damaged = whole.clone();
                damaged[at] ^= 1;
                fs::write(file, &damaged).unwrap();
                let found = cache.get::<Symbols>("key").unwrap();
                assert_eq!(found, None, "byte {at} of {} is wrong", file.display());
                fs::write(file, &whole[..at]).unwrap();
                let found = cache.get::<Symbols>("key").unwrap();
                assert_eq!(found, None, "{} ends at {at}", file.display());
                fs::write(file, &whole).unwrap();
            }
            assert_eq!(cache.get("key").unwrap(), Some(value.clone()));
        }
        cache.clear().unwrap();
    }
}

#[test]
fn a_cache_that_is_only_read_changes_nothing() {
    let (_guard, dir) = dir();
    Cache::new(&dir).unwrap().put("key", &1).unwrap();
    let before = files(&dir);
    let cache = Cache::builder(&dir).read_only(true).open().unwrap();
    cache.put("key", &2).unwrap();
    cache.put("other", &3).unwrap();
    assert_eq!(cache.get("key").unwrap(), Some(1));
    assert_eq!(cache.get_or_insert_with("other", || 4), 4);
    for result in [cache.delete("key").map(drop), cache.clear().map(drop)] {
        let message = result.unwrap_err().to_string();
        assert!(message.contains("for reading only") && message.contains("cache"), "{message}");
    }
    assert_eq!(files(&dir), before);
}

#[test]
fn a_closed_cache_says_so_through_every_clone() {
    let (_guard, dir) = dir();
    let cache = Cache::new(&dir).unwrap();
    let clone = cache.clone();
    cache.close().unwrap();
    cache.close().unwrap();
    assert!(matches!(clone.get::<u8>("key"), Err(Error::Closed { .. })));
    assert!(matches!(clone.put("key", &1), Err(Error::Closed { .. })));
    assert!(matches!(clone.has("key"), Err(Error::Closed { .. })));
    assert!(matches!(clone.delete("key"), Err(Error::Closed { .. })));
    assert!(matches!(clone.clear(), Err(Error::Closed { .. })));
    assert!(matches!(clone.flush(), Err(Error::Closed { .. })));
    assert_eq!(clone.get_or_insert_with("key", || 7), 7, "this one goes on without the cache");
    let message = clone.flush().unwrap_err().to_string();
    assert!(message.contains("is closed") && message.contains(dir.to_str().unwrap()), "{message}");
}

#[test]
fn what_cannot_be_opened_is_explained() {
    let (_guard, dir) = dir();
    let error = Cache::builder(&dir).namespace("no/namespace").open().unwrap_err();
    assert!(matches!(error, Error::Namespace(_)) && error.to_string().contains("`no/namespace`"), "{error}");
    fs::create_dir_all(dir.parent().unwrap()).unwrap();
    fs::write(&dir, "a file").unwrap();
    let error = Cache::new(&dir).unwrap_err();
    assert!(matches!(error, Error::Store(_)) && error.to_string().contains(dir.to_str().unwrap()), "{error}");
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(untagged)]
enum Untagged {
    Number(u8),
}

#[test]
fn a_type_that_cannot_be_read_back_is_refused_when_it_is_put() {
    let (_guard, dir) = dir();
    let cache = Cache::new(dir).unwrap();
    let error = cache.put("key", &Untagged::Number(1)).unwrap_err();
    assert!(matches!(error, Error::Type(_)), "{error:?}");
    assert!(error.to_string().contains("Untagged") && error.to_string().contains("convert it"), "{error}");
    assert!(!cache.has("key").unwrap());
    let Untagged::Number(made) = cache.get_or_insert_with("key", || Untagged::Number(5));
    assert_eq!(made, 5);
}

#[derive(Debug, Default)]
struct Recorder(Mutex<Vec<&'static str>>);

impl Observer for Recorder {
    fn on_event(&self, _: &str, event: &Event<'_>) {
        let name = match event {
            Event::Hit { .. } => "hit",
            Event::Miss { reason: MissReason::Absent, .. } => "miss",
            Event::Put { .. } => "put",
            _ => "other",
        };
        self.0.lock().expect("nobody panics with it").push(name);
    }
}

#[test]
fn an_observer_is_told() {
    let (_guard, dir) = dir();
    let recorder = Arc::new(Recorder::default());
    let cache = CacheBuilder::new(dir)
        .policy(Policy::unlimited())
        .max_bytes(1 << 30)
        .clock(Arc::new(SystemClock))
        .observer(recorder.clone())
        .open()
        .unwrap();
    assert_eq!(cache.get_or_insert_with("key", || 1), 1);
    assert_eq!(cache.get_or_insert_with("key", || 2), 1);
    assert!(cache.has("key").unwrap());
    assert_eq!(*recorder.0.lock().unwrap(), ["miss", "put", "hit"]);
}

#[test]
fn limits_hold() {
    let (_guard, dir) = dir();
    let cache = Cache::builder(&dir).max_bytes(300_000).open().unwrap();
    for number in 0..20_u32 {
        // What was just written is protected for a minute, so room may be refused; more than the limit is never taken.
        let _ = cache.put(number.to_le_bytes(), &vec![number as u8; 30_000]);
        // A limit this small means one file per entry.
        let bytes: u64 =
            files(&dir.join("files-v1/entries")).iter().map(|file| file.metadata().unwrap().len()).sum();
        assert!(bytes <= 300_000, "{bytes}");
    }
    let error = cache.put("large", &vec![7_u8; 400_000]).unwrap_err();
    assert!(matches!(error, Error::Store(_)) && error.to_string().contains("300000"), "{error}");
    assert_eq!(cache.get_or_insert_with("large", || 5_u8), 5);
}

#[test]
fn caches_move_between_threads() {
    fn sends<T: Send + Sync + 'static>() {}
    sends::<Cache>();
    sends::<Error>();
}

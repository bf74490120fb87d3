//! Caches in memory, and copies in memory of what is on a disk.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use vitte_cache::core::ManualClock;
use vitte_cache::{Cache, CacheBuilder, Error};

fn clock() -> Arc<ManualClock> {
    Arc::new(ManualClock::new(SystemTime::now().into()))
}

#[test]
fn every_cache_in_memory_is_one_of_its_own() {
    let (one, two) = (Cache::in_memory(), CacheBuilder::in_memory().namespace("two").open().unwrap());
    one.put("key", &1).unwrap();
    assert_eq!(one.clone().get("key").unwrap(), Some(1));
    assert_eq!(two.get::<i32>("key").unwrap(), None);
    // Nobody waits for the other one's flight.
    assert_eq!(one.get_or_insert_with("a", || two.get_or_insert_with("a", || 1) + 1), 2);
    assert_eq!((one.clear().unwrap(), two.clear().unwrap()), (2, 1));
    assert!(!one.has("key").unwrap());
    assert!(!one.delete("key").unwrap());
}

#[test]
fn a_value_in_memory_lives_as_long_as_it_was_given() {
    let (clock, second) = (clock(), Duration::from_secs(1));
    let cache = CacheBuilder::in_memory().clock(clock.clone()).default_ttl(2 * second).open().unwrap();
    cache.put_with("short", &1, second).unwrap();
    cache.put("default", &2).unwrap();
    let both = || ["short", "default"].map(|key| (cache.get::<i32>(key).unwrap(), cache.has(key).unwrap()));
    assert_eq!(both(), [(Some(1), true), (Some(2), true)]);
    clock.advance(second);
    assert_eq!(both(), [(None, false), (Some(2), true)]);
    clock.advance(second);
    assert_eq!(both(), [(None, false), (None, false)]);
}

#[test]
fn the_limit_in_memory_is_kept() {
    let cache = CacheBuilder::in_memory().max_bytes(1 << 20).open().unwrap();
    for number in 0..100_u32 {
        cache.put(number.to_le_bytes(), &vec![1_u8; 100_000]).unwrap();
    }
    let there = (0..100_u32).filter(|number| cache.has(number.to_le_bytes()).unwrap()).count();
    assert!((1..=10).contains(&there), "{there}");
    let error = cache.put("large", &vec![1_u8; 2 << 20]).unwrap_err();
    assert!(matches!(error, Error::Store(_)), "{error}");
}

#[test]
fn a_closed_cache_in_memory_says_so() {
    let cache = Cache::in_memory();
    cache.close().unwrap();
    assert_eq!(cache.put("key", &1).unwrap_err().to_string(), "the cache in memory is closed; open it again");
    assert_eq!(cache.dir(), None);
}

#[cfg(feature = "fs")]
mod copies {
    use std::sync::Mutex;

    use vitte_cache::core::{Event, Observer};

    use super::*;

    /// Counts what the disk is asked.
    #[derive(Default)]
    struct Asked(Mutex<Vec<String>>);

    impl Observer for Asked {
        fn on_event(&self, store: &str, event: &Event<'_>) {
            if let Event::Hit { .. } = event {
                self.0.lock().expect("nobody panics with it").push(store.to_owned());
            }
        }
    }

    struct Two {
        _dir: tempfile::TempDir,
        clock: Arc<ManualClock>,
        asked: Arc<Asked>,
        copying: Cache,
        other: Cache,
    }

    fn two() -> Two {
        let dir = tempfile::tempdir().expect("the system's directory for temporary files can be used");
        let (clock, asked) = (clock(), Arc::new(Asked::default()));
        let path = dir.path().join("cache");
        let builder = || Cache::builder(&path).clock(clock.clone());
        let copying = builder()
            .copies_in_memory(1 << 20)
            .observer(asked.clone())
            .open()
            .expect("a fresh directory can be used");
        let other = builder().open().expect("a fresh directory can be used");
        Two { _dir: dir, clock, asked, copying, other }
    }

    #[test]
    fn a_copy_spares_the_disk() {
        let two = two();
        two.other.put("key", &1).unwrap();
        for _ in 0..3 {
            assert_eq!(two.copying.get("key").unwrap(), Some(1));
        }
        let asked = two.asked.0.lock().unwrap();
        assert_eq!(asked.iter().filter(|store| *store == "memory").count(), 2, "{asked:?}");
        assert_eq!(asked.len(), 3, "{asked:?}");
    }

    #[test]
    fn what_others_change_is_seen_after_a_second() {
        let two = two();
        let value = || (two.copying.get::<i32>("key").unwrap(), two.copying.has("key").unwrap());
        two.copying.put("key", &1).unwrap();
        two.other.put("key", &2).unwrap();
        assert_eq!(value(), (Some(1), true));
        two.clock.advance(Duration::from_secs(1));
        assert_eq!(value(), (Some(2), true));
        two.other.delete("key").unwrap();
        two.clock.advance(Duration::from_secs(1));
        assert_eq!(value(), (None, false));
    }

    #[test]
    fn what_it_changes_itself_is_seen_at_once() {
        let two = two();
        let value = || (two.copying.get::<i32>("key").unwrap(), two.copying.has("key").unwrap());
        two.copying.put("key", &1).unwrap();
        assert_eq!(value(), (Some(1), true));
        two.copying.put("key", &2).unwrap();
        assert_eq!((value(), two.other.get("key").unwrap()), ((Some(2), true), Some(2)));
        assert!(two.copying.delete("key").unwrap());
        assert_eq!((value(), two.other.has("key").unwrap()), ((None, false), false));
        two.copying.put("key", &3).unwrap();
        assert_eq!(value(), (Some(3), true));
        assert_eq!(two.copying.clear().unwrap(), 1);
        assert_eq!(value(), (None, false));
    }

    #[test]
    fn a_copy_ends_with_its_value() {
        let two = two();
        two.copying.put_with("key", &1, Duration::from_millis(300)).unwrap();
        assert!(two.copying.has("key").unwrap());
        two.clock.advance(Duration::from_millis(300));
        assert_eq!((two.copying.get::<i32>("key").unwrap(), two.copying.has("key").unwrap()), (None, false));
    }

    #[test]
    fn a_value_too_large_for_a_copy_replaces_the_copy() {
        let two = two();
        two.copying.put("key", &vec![1_u8]).unwrap();
        let large = vec![2_u8; 2 << 20];
        two.copying.put("key", &large).unwrap();
        assert_eq!(two.copying.get("key").unwrap(), Some(large));
    }

    #[test]
    fn threads_that_change_and_read_agree_in_the_end() {
        let two = two();
        std::thread::scope(|scope| {
            for thread in 0..4_u32 {
                let cache = &two.copying;
                scope.spawn(move || {
                    for number in 0..50 {
                        match (thread, number % 3) {
                            (0, _) => cache.put("key", &number).unwrap(),
                            (1, 0) => drop(cache.delete("key").unwrap()),
                            _ => drop(cache.get::<u32>("key").unwrap()),
                        }
                    }
                });
            }
        });
        assert_eq!(two.copying.get::<u32>("key").unwrap(), two.other.get("key").unwrap());
    }
}

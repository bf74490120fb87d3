//! Of many threads that want one value, one makes it.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Barrier, mpsc};
use std::thread;
use std::time::Duration;

use vitte_cache::Cache;
use vitte_cache::core::{Event, Observer};

fn cache() -> (tempfile::TempDir, Cache) {
    let dir = tempfile::tempdir().expect("the system's directory for temporary files can be used");
    let cache = Cache::new(dir.path().join("cache")).expect("a fresh directory can be used");
    (dir, cache)
}

#[test]
fn a_stampede_computes_once() {
    const THREADS: u32 = 64;
    let (_dir, cache) = cache();
    let (made, start) = (AtomicU32::new(0), Barrier::new(THREADS as usize));
    for round in 0..10 {
        made.store(0, Ordering::SeqCst);
        thread::scope(|scope| {
            for _ in 0..THREADS {
                scope.spawn(|| {
                    start.wait();
                    let value = cache.get_or_insert_with(format!("key {round}"), || {
                        made.fetch_add(1, Ordering::SeqCst);
                        vec![round; 100]
                    });
                    assert_eq!(value, vec![round; 100]);
                });
            }
        });
        assert_eq!(made.load(Ordering::SeqCst), 1);
    }
}

#[test]
fn two_caches_on_one_directory_share_a_flight() {
    let (_dir, one) = cache();
    let two = Cache::builder(one.dir().unwrap().join("../cache")).read_only(true).open().unwrap();
    let (making, made) = mpsc::channel();
    let (go_on, wait) = mpsc::channel::<()>();
    thread::scope(|scope| {
        let owner = scope.spawn(|| {
            one.get_or_insert_with("key", move || {
                making.send(()).unwrap();
                wait.recv().unwrap();
                1
            })
        });
        made.recv().unwrap();
        let waiter = scope.spawn(|| two.get_or_insert_with("key", || 2));
        go_on.send(()).unwrap();
        assert_eq!((owner.join().unwrap(), waiter.join().unwrap()), (1, 1));
    });
}

/// Lets one thread of many fail in its own way, and checks that another one takes over.
fn one_fails(fail: impl Fn() -> Result<u32, &'static str> + Sync) {
    const THREADS: usize = 16;
    let (_dir, cache) = cache();
    let (calls, start) = (AtomicU32::new(0), Barrier::new(THREADS));
    let results: Vec<_> = thread::scope(|scope| {
        let threads: Vec<_> = (0..THREADS)
            .map(|_| {
                scope.spawn(|| {
                    start.wait();
                    catch_unwind(AssertUnwindSafe(|| {
                        cache.get_or_try_insert_with("key", || match calls.fetch_add(1, Ordering::SeqCst) {
                            0 => fail(),
                            call => Ok(call),
                        })
                    }))
                })
            })
            .collect();
        threads.into_iter().map(|thread| thread.join().expect("its panic was caught")).collect()
    });
    assert_eq!(calls.load(Ordering::SeqCst), 2, "one fails, one succeeds, nobody else is asked");
    let good = results.iter().filter(|result| matches!(result, Ok(Ok(1)))).count();
    assert_eq!(good, THREADS - 1, "{results:?}");
}

#[test]
fn an_error_lets_the_next_one_try() {
    one_fails(|| Err("the first one fails"));
}

#[test]
fn a_panic_lets_the_next_one_try() {
    one_fails(|| panic!("the first one panics, as the test wants"));
}

#[test]
fn the_error_is_that_of_the_closure() {
    let (_dir, cache) = cache();
    let result: Result<u8, _> = cache.get_or_try_insert_with("key", || "x".parse::<u8>());
    assert_eq!(result.unwrap_err(), "x".parse::<u8>().unwrap_err());
    assert!(!cache.has("key").unwrap());
    assert_eq!(cache.get_or_try_insert_with("key", || "7".parse::<u8>()), Ok(7));
    assert_eq!(cache.get("key").unwrap(), Some(7_u8));
}

#[test]
fn a_closure_may_ask_for_its_own_key() {
    let (_dir, cache) = cache();
    let value = cache.get_or_insert_with("key", || cache.get_or_insert_with("key", || 1) + 1);
    assert_eq!(value, 2);
}

#[test]
fn closures_that_wait_for_each_other_do_not_wait_for_ever() {
    let (_dir, cache) = cache();
    let both_began = Arc::new(Barrier::new(2));
    let (done, end) = mpsc::channel();
    // Not scoped: if they do wait for ever, this test still ends.
    for (mine, other) in [("a", "b"), ("b", "a")] {
        let (cache, both_began, done) = (cache.clone(), Arc::clone(&both_began), done.clone());
        thread::spawn(move || {
            let value = cache.get_or_insert_with(mine, || {
                both_began.wait();
                cache.get_or_insert_with(other, || 1_u32) + 1
            });
            done.send(value)
        });
    }
    for _ in 0..2 {
        let value = end.recv_timeout(Duration::from_mins(1)).expect("neither waits for ever");
        assert!((2..=3).contains(&value), "{value}");
    }
}

#[test]
fn different_keys_do_not_wait_for_each_other() {
    let (_dir, cache) = cache();
    let both = Barrier::new(2);
    thread::scope(|scope| {
        for key in ["a", "b"] {
            let (cache, both) = (&cache, &both);
            scope.spawn(move || cache.get_or_insert_with(key, || both.wait().is_leader()));
        }
    });
}

/// Stores a value as soon as a miss is reported: what another thread does between a look-up and a flight.
struct Overtakes(Cache);

impl Observer for Overtakes {
    fn on_event(&self, _: &str, event: &Event<'_>) {
        if matches!(event, Event::Miss { .. }) {
            self.0.put("key", &"theirs".to_owned()).expect("there is room");
        }
    }
}

#[test]
fn a_value_that_landed_after_the_look_up_is_not_made_again() {
    let (_dir, other) = cache();
    let overtakes = Arc::new(Overtakes(other.clone()));
    let cache = Cache::builder(other.dir().unwrap()).observer(overtakes).open().unwrap();
    assert_eq!(cache.get_or_insert_with("key", || "mine".to_owned()), "theirs");
}

//! What `#[cached]` gives after the end of a result, and how many results it keeps.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Barrier, mpsc};
use std::thread;
use std::time::{Duration, SystemTime};

use vitte_cache::core::ManualClock;
use vitte_cache::{Cache, CacheBuilder, cached};

const SECOND: Duration = Duration::from_secs(1);

/// A cache whose time stands still until it is moved.
fn cache() -> (Arc<ManualClock>, Cache) {
    let clock = Arc::new(ManualClock::new(SystemTime::now().into()));
    let cache = CacheBuilder::in_memory().clock(clock.clone()).open().expect("memory needs nothing");
    (clock, cache)
}

#[cached(ttl = 10 * SECOND, stale_while_revalidate = 5 * SECOND, key = (), store = cache)]
fn make(cache: &Cache, make: impl FnOnce() -> u32) -> u32 {
    let _ = cache;
    make()
}

fn nobody() -> u32 {
    panic!("nothing has to be made")
}

#[test]
fn what_is_over_is_given_while_one_makes_it_anew() {
    let (clock, cache) = cache();
    assert_eq!((make(&cache, || 1), make(&cache, nobody)), (1, 1));
    clock.advance(10 * SECOND);
    let (making, made) = mpsc::channel();
    let (go_on, wait) = mpsc::channel::<()>();
    thread::scope(|scope| {
        let refresher = scope.spawn(|| {
            make(&cache, move || {
                making.send(()).unwrap();
                wait.recv().unwrap();
                2
            })
        });
        made.recv().unwrap();
        assert_eq!([(); 3].map(|()| make(&cache, nobody)), [1; 3]);
        go_on.send(()).unwrap();
        assert_eq!(refresher.join().unwrap(), 2);
    });
    assert_eq!(make(&cache, nobody), 2);
}

#[test]
fn after_the_grace_it_is_absent() {
    let (clock, cache) = cache();
    assert_eq!(make(&cache, || 1), 1);
    clock.advance(Duration::from_millis(14_999));
    assert_eq!(make(&cache, || make(&cache, nobody) + 1), 2, "who makes it anew may ask for the old one");
    clock.advance(15 * SECOND);
    assert!(!make_invalidate(&cache, nobody));
    let (calls, start) = (AtomicU32::new(2), Barrier::new(64));
    thread::scope(|scope| {
        for _ in 0..64 {
            scope.spawn(|| {
                start.wait();
                assert_eq!(make(&cache, || calls.fetch_add(1, Ordering::SeqCst) + 1), 3);
            });
        }
    });
    assert_eq!(calls.into_inner(), 3);
}

#[test]
fn a_result_that_is_given_can_be_invalidated() {
    let (clock, cache) = cache();
    assert_eq!(make(&cache, || 1), 1);
    clock.advance(12 * SECOND);
    assert!(make_invalidate(&cache, nobody));
    assert_eq!(make(&cache, || 2), 2);
    assert_eq!(make_prime(&cache, || 3), 3);
    assert_eq!(make(&cache, nobody), 3);
    assert_eq!(make_clear(&cache), 1);
}

#[cached(ttl = 10 * SECOND, on_error = stale, result, key = (), store = cache)]
fn try_to_make(cache: &Cache, make: impl FnOnce() -> Result<u32, &'static str>) -> Result<u32, &'static str> {
    let _ = cache;
    make()
}

#[test]
fn an_error_gives_what_was_over() {
    let (clock, cache) = cache();
    assert_eq!(try_to_make(&cache, || Err("no")), Err("no"), "there is nothing yet");
    assert_eq!(try_to_make(&cache, || Ok(1)), Ok(1));
    assert_eq!(try_to_make(&cache, || Err("not called")), Ok(1));
    clock.advance(10_000 * SECOND);
    assert_eq!(try_to_make(&cache, || Err("no")), Ok(1));
    assert_eq!(try_to_make_prime(&cache, || Err("no")), Err("no"), "priming says what went wrong");
    assert!(!try_to_make_invalidate(&cache, || Ok(0)), "it was over");
    assert_eq!(try_to_make(&cache, || Err("no")), Err("no"));
    assert_eq!(try_to_make(&cache, || Ok(2)), Ok(2));
    clock.advance(10 * SECOND);
    assert_eq!((try_to_make(&cache, || Ok(3)), try_to_make(&cache, || Ok(4))), (Ok(3), Ok(3)));
}

#[test]
fn all_who_wait_get_what_was_over() {
    let (clock, cache) = cache();
    assert_eq!(try_to_make(&cache, || Ok(1)), Ok(1));
    clock.advance(10 * SECOND);
    let start = Barrier::new(16);
    thread::scope(|scope| {
        for _ in 0..16 {
            scope.spawn(|| {
                start.wait();
                assert_eq!(try_to_make(&cache, || Err("no")), Ok(1));
            });
        }
    });
}

#[cached(
    ttl = 10 * SECOND,
    stale_while_revalidate = 5 * SECOND,
    on_error = stale,
    result,
    key = (),
    store = cache
)]
async fn fetch<F>(cache: &Cache, make: F) -> Result<u32, String>
where
    F: Future<Output = Result<u32, String>>,
{
    let _ = cache;
    make.await
}

#[test]
fn async_functions_do_the_same() {
    let fails = || async { Err("no".to_owned()) };
    let gives = |number| async move { Ok(number) };
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(async {
        let (clock, cache) = cache();
        assert_eq!(fetch(&cache, fails()).await, Err("no".to_owned()));
        assert_eq!(fetch(&cache, gives(1)).await, Ok(1));
        assert_eq!(fetch(&cache, fails()).await, Ok(1));
        clock.advance(10 * SECOND);
        let while_it_is_made = async {
            assert_eq!(fetch(&cache, fails()).await, Ok(1), "it is given, nobody is asked");
            Ok(2)
        };
        assert_eq!(fetch(&cache, while_it_is_made).await, Ok(2));
        clock.advance(1000 * SECOND);
        assert_eq!(fetch(&cache, fails()).await, Ok(2), "there is nothing newer");
        assert_eq!(fetch_prime(&cache, fails()).await, Err("no".to_owned()));
        assert_eq!(fetch(&cache, gives(3)).await, Ok(3));
        assert_eq!(fetch_clear(&cache).await, 1);
    });
}

#[test]
fn one_failure_is_enough_for_all_tasks_that_wait() {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(async {
        let (clock, cache) = cache();
        assert_eq!(fetch(&cache, async { Ok(1) }).await, Ok(1));
        clock.advance(1000 * SECOND);
        let calls = Arc::new(AtomicU32::new(0));
        let tasks: Vec<_> = (0..16)
            .map(|_| {
                let (cache, calls) = (cache.clone(), Arc::clone(&calls));
                tokio::spawn(async move {
                    let fails = async {
                        calls.fetch_add(1, Ordering::SeqCst);
                        tokio::task::yield_now().await;
                        Err("no".to_owned())
                    };
                    fetch(&cache, fails).await
                })
            })
            .collect();
        for task in tasks {
            assert_eq!(task.await.unwrap(), Ok(1));
        }
        assert_eq!(calls.load(Ordering::SeqCst), 1);
    });
}

#[test]
fn a_refresh_that_is_dropped_lets_the_next_one_try() {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(async {
        let (clock, cache) = cache();
        assert_eq!(fetch(&cache, async { Ok(1) }).await, Ok(1));
        clock.advance(10 * SECOND);
        let never = std::future::pending();
        tokio::select! {
            biased;
            _ = fetch(&cache, never) => panic!("it never ends"),
            () = std::future::ready(()) => {}
        }
        assert_eq!(fetch(&cache, async { Ok(2) }).await, Ok(2));
    });
}

#[test]
fn a_function_keeps_as_many_results_as_it_says() {
    static CALLS: AtomicU32 = AtomicU32::new(0);

    #[cached(max_size = 3)]
    fn few(of: u32) -> u32 {
        CALLS.fetch_add(1, Ordering::SeqCst);
        of
    }

    #[cached]
    fn many(of: u32) -> u32 {
        of
    }

    for number in 0..10 {
        assert_eq!((few(number), many(number)), (number, number));
    }
    assert_eq!(few_clear(), 3);
    assert_eq!(many_clear(), 10, "other functions have a cache of their own");
    assert_eq!((few(1), few(1), CALLS.load(Ordering::SeqCst)), (1, 1, 11));
    assert!(few_invalidate(1) && few_prime(2) == 2);
}

struct Times(u32);

impl Times {
    const KEPT: u64 = 2;

    #[cached(max_size = Times::KEPT, key = (self.0, number))]
    fn of(&self, number: u32) -> u32 {
        number * self.0
    }
}

#[test]
fn a_method_keeps_as_many_results_as_it_says() {
    for number in 0..5 {
        assert_eq!(Times(2).of(number), number * 2);
    }
    assert_eq!(Times::of_clear(), 2);
}

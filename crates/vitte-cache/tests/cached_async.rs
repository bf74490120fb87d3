//! What `#[cached]` keeps in a chain of tiers.

#![expect(clippy::unused_async, reason = "what is memoised is async, whatever it does")]

use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, LazyLock, OnceLock};
use std::time::{Duration, SystemTime};

use cache_testkit::{Fault, FaultStore, Gate, MemoryStore, Operation, poll_at_most};
use vitte_cache::core::{ManualClock, Store};
use vitte_cache::tiers::Tier;
use vitte_cache::{AsyncCache, Cache, CacheBuilder, Error, cached};

const SECOND: Duration = Duration::from_secs(1);

type Server = Arc<FaultStore<MemoryStore>>;

/// Stands for a store on a server, which may fail.
fn server() -> Server {
    Arc::new(FaultStore::new(MemoryStore::new()))
}

/// Returns a cache in memory before a server.
fn before(server: &Server) -> CacheBuilder {
    let store = Arc::clone(server) as Arc<dyn Store>;
    CacheBuilder::in_memory().tier(Tier::new(store).named("server").write_back(true))
}

fn open(server: &Server) -> AsyncCache {
    before(server).open_async().expect("it is in a runtime")
}

/// Returns a cache before a server whose time stands still until it is moved.
fn timed(server: &Server) -> (Arc<ManualClock>, AsyncCache) {
    let clock = Arc::new(ManualClock::new(SystemTime::now().into()));
    let cache = before(server).clock(clock.clone()).open_async().expect("it is in a runtime");
    (clock, cache)
}

/// Waits until all that was kept is in all tiers.
async fn settle(cache: &AsyncCache) {
    assert_eq!(cache.flush(Duration::from_mins(1)).await.expect("it is open").left, 0);
}

#[cached(key = of, store = cache)]
async fn call(cache: &AsyncCache, of: u32, make: impl Future<Output = u32>) -> u32 {
    let _ = (cache, of);
    make.await
}

#[cached(key = of, store = cache)]
async fn call_longer(cache: &AsyncCache, of: u32) -> u32 {
    let _ = cache;
    of
}

async fn nobody() -> u32 {
    panic!("nothing has to be made")
}

#[tokio::test]
async fn what_one_machine_has_made_another_one_finds() {
    let server = server();
    let (one, two) = (open(&server), open(&server));
    assert_eq!(call(&one, 1, async { 10 }).await, 10);
    assert_eq!(call(&one, 1, nobody()).await, 10);
    settle(&one).await;
    assert_eq!(call(&two, 1, nobody()).await, 10);
    assert_eq!(call(&two, 2, async { 20 }).await, 20);
}

#[tokio::test]
async fn companions_do_what_they_say_in_all_tiers() {
    let server = server();
    let (one, two) = (open(&server), open(&server));
    assert_eq!((call(&one, 1, async { 1 }).await, call(&one, 2, async { 2 }).await), (1, 2));
    assert_eq!(call_uncached(&one, 1, async { 3 }).await, 3);
    assert_eq!(call(&one, 1, nobody()).await, 1, "the cache was not changed");
    assert_eq!(call_prime(&one, 1, async { 4 }).await, 4);
    assert_eq!(call(&one, 1, nobody()).await, 4, "the new one was stored");
    settle(&one).await;
    assert!(call_invalidate(&one, 1, nobody()).await && !call_invalidate(&one, 1, nobody()).await);
    settle(&one).await;
    assert_eq!(call(&two, 1, async { 5 }).await, 5, "the server has forgotten it as well");
    assert_eq!((call(&two, 2, nobody()).await, call_longer(&two, 1).await), (2, 1));
    settle(&two).await;
    assert_eq!(call_clear(&two).await, 2);
    settle(&two).await;
    assert!(call_longer_invalidate(&two, 1).await, "other functions are left alone");
    let three = open(&server);
    assert_eq!((call(&three, 1, async { 6 }).await, call(&three, 2, async { 7 }).await), (6, 7));
}

#[tokio::test]
async fn clear_leaves_other_namespaces_alone() {
    let server = server();
    let open = |name: &str| before(&server).namespace(name).open_async().unwrap();
    let (one, two) = (open("one"), open("two"));
    assert_eq!((call(&one, 1, async { 1 }).await, call(&two, 1, async { 2 }).await), (1, 2));
    settle(&one).await;
    settle(&two).await;
    assert_eq!(call_clear(&one).await, 1);
    settle(&one).await;
    assert_eq!((call(&one, 1, async { 3 }).await, call(&open("two"), 1, nobody()).await), (3, 2));
}

#[tokio::test]
async fn both_kinds_of_caches_find_what_the_other_kept() {
    let dir = tempfile::tempdir().unwrap();
    let builder = Cache::builder(dir.path().join("cache"));
    let (blocking, chain) = (builder.clone().open().unwrap(), builder.open_async().unwrap());
    // Both have the same path.
    let kept = {
        #[cached(store = cache, key = of, version = 1)]
        async fn same(cache: &Cache, of: u32) -> u32 {
            let _ = cache;
            of
        }
        same(&blocking, 1).await
    };
    #[cached(store = cache, key = of, version = 1)]
    async fn same(cache: &AsyncCache, of: u32) -> u32 {
        let _ = (cache, of);
        panic!("nothing has to be made")
    }
    assert_eq!(same(&chain, 1).await, kept);
    assert_eq!(same_clear(&chain).await, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stampede_of_tasks_runs_once() {
    let (cache, calls) = (open(&server()), Arc::new(AtomicU32::new(0)));
    let tasks: Vec<_> = (0..64)
        .map(|_| {
            let (cache, calls) = (cache.clone(), Arc::clone(&calls));
            tokio::spawn(async move {
                let make = async {
                    tokio::task::yield_now().await;
                    calls.fetch_add(1, Ordering::SeqCst) + 1
                };
                call(&cache, 1, make).await
            })
        })
        .collect();
    for task in tasks {
        assert_eq!(task.await.unwrap(), 1);
    }
}

#[tokio::test]
async fn a_result_ends_with_its_time_in_every_tier() {
    #[cached(ttl = 2 * SECOND, key = (), store = cache)]
    async fn timed_call(cache: &AsyncCache, make: impl Future<Output = u32>) -> u32 {
        let _ = cache;
        make.await
    }

    let (clock, cache) = timed(&server());
    assert_eq!(timed_call(&cache, async { 1 }).await, 1);
    settle(&cache).await;
    clock.advance(Duration::from_millis(1999));
    assert_eq!(timed_call(&cache, nobody()).await, 1);
    clock.advance(Duration::from_millis(1));
    assert!(!timed_call_invalidate(&cache, nobody()).await);
    assert_eq!(timed_call(&cache, async { 2 }).await, 2);
}

#[cached(
    ttl = 10 * SECOND,
    stale_while_revalidate = 5 * SECOND,
    on_error = stale,
    result,
    key = (),
    store = cache
)]
async fn fetch<F>(cache: &AsyncCache, make: F) -> Result<u32, String>
where
    F: Future<Output = Result<u32, String>>,
{
    let _ = cache;
    make.await
}

async fn gives(number: u32) -> Result<u32, String> {
    Ok(number)
}

async fn fails() -> Result<u32, String> {
    Err("no".to_owned())
}

#[tokio::test]
async fn what_is_over_is_given_while_one_makes_it_anew() {
    let (clock, cache) = timed(&server());
    assert_eq!(fetch(&cache, fails()).await, Err("no".to_owned()), "an error is not kept");
    assert_eq!((fetch(&cache, gives(1)).await, fetch(&cache, fails()).await), (Ok(1), Ok(1)));
    clock.advance(10 * SECOND);
    let while_it_is_made = async {
        assert_eq!(fetch(&cache, gives(3)).await, Ok(1), "it is given, nobody is asked");
        Ok(2)
    };
    assert_eq!(Box::pin(fetch(&cache, while_it_is_made)).await, Ok(2));
    clock.advance(14 * SECOND);
    assert!(fetch_invalidate(&cache, fails()).await, "it would have been given");
    assert_eq!(fetch(&cache, gives(4)).await, Ok(4));
}

#[tokio::test]
async fn an_error_gives_what_was_over_to_all_who_wait() {
    let (clock, cache) = timed(&server());
    assert_eq!(fetch(&cache, gives(1)).await, Ok(1));
    clock.advance(1000 * SECOND);
    let (calls, gate) = (Arc::new(AtomicU32::new(0)), Gate::new());
    let fetching = || {
        let (cache, calls, gate) = (cache.clone(), Arc::clone(&calls), gate.clone());
        tokio::spawn(async move {
            let fails = async {
                calls.fetch_add(1, Ordering::SeqCst);
                gate.pass().await;
                Err("no".to_owned())
            };
            fetch(&cache, fails).await
        })
    };
    let first = fetching();
    gate.arrived(1).await;
    let others: Vec<_> = (0..16).map(|_| fetching()).collect();
    // Nothing but the gate holds them back, and there is one thread: they come to it, or wait for the first one.
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
    gate.open();
    for task in others.into_iter().chain([first]) {
        assert_eq!(task.await.unwrap(), Ok(1));
    }
    assert_eq!(calls.load(Ordering::SeqCst), 1);
    assert_eq!(fetch_prime(&cache, fails()).await, Err("no".to_owned()), "priming says what went wrong");
    assert_eq!(fetch(&cache, gives(2)).await, Ok(2));
}

#[tokio::test]
async fn only_what_is_some_and_of_this_version_is_kept() {
    #[cached(option, key = (), version = version, store = cache)]
    async fn maybe(cache: &AsyncCache, version: u32, found: Option<u32>) -> Option<u32> {
        let _ = (cache, version);
        found
    }

    let cache = open(&server());
    assert_eq!((maybe(&cache, 1, None).await, maybe(&cache, 1, Some(1)).await), (None, Some(1)));
    assert_eq!((maybe(&cache, 1, None).await, maybe(&cache, 2, None).await), (Some(1), None));
    assert_eq!(maybe(&cache, 2, Some(2)).await, Some(2));
    assert_eq!(maybe_clear(&cache).await, 2, "of all versions");
}

#[tokio::test]
async fn a_changed_file_is_a_miss_in_every_tier() {
    #[cached(files = [path], key = (), store = cache)]
    async fn read(cache: &AsyncCache, path: &Path) -> Option<String> {
        let _ = cache;
        fs::read_to_string(path).ok().map(|text| text + "!")
    }

    let (server, dir) = (server(), tempfile::tempdir().unwrap());
    let (cache, path) = (open(&server), dir.path().join("file"));
    fs::write(&path, "1").unwrap();
    assert_eq!(read(&cache, &path).await.as_deref(), Some("1!"));
    settle(&cache).await;
    fs::write(&path, "2").unwrap();
    assert!(!read_invalidate(&open(&server), &path).await, "what was made from another file is no result");
    assert_eq!(read(&cache, &path).await.as_deref(), Some("2!"));
    fs::write(&path, "3").unwrap();
    assert_eq!(read(&cache, &path).await.as_deref(), Some("3!"));
    assert!(read_invalidate(&cache, &path).await);
}

#[tokio::test]
async fn a_server_that_fails_never_fails_a_call() {
    for strict in [false, true] {
        let server = server();
        for operation in [
            Operation::Get,
            Operation::GetMany,
            Operation::Put,
            Operation::Remove,
            Operation::List,
            Operation::Missing,
            Operation::Read,
            Operation::Write,
        ] {
            server.inject(operation, .., Fault::unavailable());
        }
        let cache = before(&server).strict(strict).open_async().unwrap();
        assert_eq!(call(&cache, 1, async { 1 }).await, 1);
        assert_eq!(call_prime(&cache, 1, async { 2 }).await, 2);
        assert_eq!(fetch(&cache, fails()).await, Err("no".to_owned()), "it is the function's own error");
        assert_eq!(fetch(&cache, gives(1)).await, Ok(1));
        let _ = (call_invalidate(&cache, 1, nobody()).await, call_clear(&cache).await);
        assert_eq!(call(&cache, 1, async { 3 }).await, 3, "what memory had is gone");
    }
}

#[tokio::test]
async fn a_closed_cache_and_none_at_all_are_no_trouble() {
    static NONE: LazyLock<Result<AsyncCache, Error>> = LazyLock::new(|| {
        Err(CacheBuilder::in_memory().namespace("no name").open_async().expect_err("it has a space"))
    });

    #[cached(key = (), store = NONE)]
    async fn without(number: u32) -> u32 {
        number
    }

    assert_eq!((without(1).await, without(2).await, without_prime(3).await), (1, 2, 3));
    assert!(!without_invalidate(1).await);
    assert_eq!(without_clear().await, 0);
    let cache = open(&server());
    assert_eq!(cache.close().await.unwrap().left, 0);
    assert_eq!((call(&cache, 1, async { 1 }).await, call(&cache, 1, async { 2 }).await), (1, 2));
    assert!(!call_invalidate(&cache, 1, nobody()).await);
    assert_eq!(call_clear(&cache).await, 0);
}

struct Parser {
    dialect: &'static str,
    cache: OnceLock<Arc<AsyncCache>>,
}

impl Parser {
    #[cached(key = (self.dialect, text), store = self.cache)]
    async fn parse(&self, text: &str, calls: &AtomicU32) -> String {
        calls.fetch_add(1, Ordering::SeqCst);
        format!("{} {text}", self.dialect)
    }
}

#[tokio::test]
async fn a_method_keeps_its_results_where_its_type_says() {
    let (cache, calls) = (Arc::new(open(&server())), AtomicU32::new(0));
    let parser = |dialect| Parser { dialect, cache: OnceLock::from(Arc::clone(&cache)) };
    let (one, two, same) = (parser("one"), parser("two"), parser("one"));
    for (parser, expected) in [(&one, "one x"), (&two, "two x"), (&same, "one x")] {
        assert_eq!(parser.parse("x", &calls).await, expected);
    }
    assert_eq!(calls.load(Ordering::SeqCst), 2);
    assert!(one.parse_invalidate("x", &calls).await && !same.parse_invalidate("x", &calls).await);
    assert_eq!(two.parse_clear().await, 1);
}

#[tokio::test]
async fn a_large_body_makes_a_call_larger_by_few_times_as_much() {
    const SIZE: usize = 16_000;
    let cache = open(&server());
    let large = async {
        let content = [1_u8; SIZE];
        cache_testkit::yield_now().await;
        u32::from(content[0])
    };
    let call = Box::new(call(&cache, 1, large));
    assert!(size_of_val(&*call) < 8 * SIZE, "{} bytes", size_of_val(&*call));
    assert_eq!(Box::into_pin(call).await, 1);
}

/// Drops a call at every await that it comes to, with somebody who waits for it, and checks that this one is served.
#[tokio::test]
async fn a_call_that_is_dropped_anywhere_lets_the_next_one_try() {
    let mut dropped = 0;
    for polls in 1.. {
        assert!(polls < 1000, "a call comes to an end");
        let server = server();
        let cache = open(&server);
        let make = |number| async move {
            cache_testkit::yield_now().await;
            number
        };
        let first = tokio::spawn({
            let cache = cache.clone();
            async move { poll_at_most(polls, call(&cache, 1, make(1))).await }
        });
        let second = tokio::spawn({
            let cache = cache.clone();
            async move { call(&cache, 1, make(2)).await }
        });
        let (first, second) = (first.await.unwrap(), second.await.unwrap());
        assert_eq!(call(&cache, 1, nobody()).await, second, "what it returned is kept");
        if let Some(first) = first {
            assert_eq!(first, second, "one of them made it for both");
            break;
        }
        dropped += 1;
    }
    assert!(dropped >= 2, "it awaits the tiers and the function");
}

#[tokio::test]
async fn companions_that_are_dropped_anywhere_lose_nothing() {
    for polls in 1.. {
        assert!(polls < 1000, "they come to an end");
        let server = server();
        let cache = open(&server);
        assert_eq!(call(&cache, 1, async { 1 }).await, 1);
        settle(&cache).await;
        let primed = poll_at_most(polls, call_prime(&cache, 1, async { 2 })).await;
        let kept = call(&cache, 1, async { 3 }).await;
        assert!(if primed.is_some() { kept == 2 } else { (1..=3).contains(&kept) }, "{primed:?} {kept}");
        let invalidated = poll_at_most(polls, call_invalidate(&cache, 1, nobody())).await;
        let cleared = poll_at_most(polls, call_clear(&cache)).await;
        if primed.is_some() && invalidated.is_some() && cleared.is_some() {
            assert_eq!(call(&cache, 1, async { 4 }).await, 4);
            break;
        }
    }
}

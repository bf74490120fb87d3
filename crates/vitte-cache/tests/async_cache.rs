//! What the cache for futures keeps, where, for how long, and for whom.

use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Barrier};
use std::thread;
use std::time::{Duration, SystemTime};

use cache_testkit::{BoxFuture, Fault, FaultStore, MemoryStore, Operation, block_on, poll_at_most};
use vitte_cache::core::signing::{Keyring, SigningKey};
use vitte_cache::core::{ManualClock, Store};
use vitte_cache::tiers::Tier;
use vitte_cache::{AsyncCache, Cache, CacheBuilder, Error};

type Server = Arc<FaultStore<MemoryStore>>;

/// Stands for a store on a server, which may fail.
fn server() -> Server {
    Arc::new(FaultStore::new(MemoryStore::new()))
}

fn remote(server: &Server) -> Tier {
    Tier::new(Arc::clone(server) as Arc<dyn Store>).named("server").write_back(true).verify(true)
}

fn dir() -> tempfile::TempDir {
    tempfile::tempdir().expect("the system's directory for temporary files can be used")
}

fn on(dir: &Path) -> CacheBuilder {
    Cache::builder(dir.join("cache"))
}

/// Waits until all that was put is in all tiers.
async fn settle(cache: &AsyncCache) {
    let flushed = cache.flush(Duration::from_mins(1)).await.expect("it is open");
    assert_eq!(flushed.left, 0);
}

/// Returns what `get` finds, having checked that `has` agrees.
async fn get(cache: &AsyncCache, key: &str) -> Option<String> {
    let found = cache.get(key).await.expect("nothing fails");
    assert_eq!(cache.has(key).await.expect("nothing fails"), found.is_some());
    found
}

const LARGE: usize = 300_000;

#[tokio::test]
async fn it_finds_what_a_blocking_cache_has_put_and_the_other_way_around() {
    let dir = dir();
    let (blocking, cache) = (on(dir.path()).open().unwrap(), on(dir.path()).open_async().unwrap());
    for len in [0, 1, 100_000, LARGE] {
        let (mine, theirs) = ("m".repeat(len), "t".repeat(len));
        blocking.put("theirs", &theirs).unwrap();
        cache.put("mine", &mine).await.unwrap();
        assert_eq!(get(&cache, "theirs").await, Some(theirs));
        assert_eq!(blocking.get("mine").unwrap(), Some(mine));
    }
    assert_eq!(cache.get::<Vec<u8>>("mine").await.unwrap(), None, "it is a text");
    assert!(cache.delete("mine").await.unwrap() && !cache.delete("mine").await.unwrap());
    assert!(!blocking.has("mine").unwrap());
    assert_eq!(cache.dir(), blocking.dir());
}

#[tokio::test]
async fn what_one_machine_has_made_another_one_finds() {
    let (server, one, two) = (server(), dir(), dir());
    let one = on(one.path()).copies_in_memory(1 << 24).tier(remote(&server)).open_async().unwrap();
    let two = on(two.path()).copies_in_memory(1 << 24).tier(remote(&server)).open_async().unwrap();
    for (key, len) in [("small", 10), ("large", LARGE)] {
        assert_eq!(get(&one, key).await, None);
        one.put(key, &"x".repeat(len)).await.unwrap();
        settle(&one).await;
        assert_eq!(get(&two, key).await, Some("x".repeat(len)));
    }
    settle(&two).await;
    for operation in [Operation::Get, Operation::Read] {
        server.inject(operation, .., Fault::unavailable());
    }
    assert_eq!(get(&two, "large").await, Some("x".repeat(LARGE)), "it was copied to the disk");
    assert!(two.stats().hits > 0 && two.stats().tiers.len() == 3);
}

#[tokio::test]
async fn a_value_lives_as_long_as_it_was_given_in_every_tier() {
    let clock = Arc::new(ManualClock::new(SystemTime::now().into()));
    let (dir, server, second) = (dir(), server(), Duration::from_secs(1));
    let builder = on(dir.path()).copies_in_memory(1 << 20).clock(clock.clone()).default_ttl(3 * second);
    let cache = builder.tier(remote(&server)).open_async().unwrap();
    cache.put_with("short", &"1".to_owned(), 2 * second).await.unwrap();
    cache.put("default", &"2".to_owned()).await.unwrap();
    settle(&cache).await;
    for (left, moved) in [([true, true], Duration::from_millis(1999)), ([false, true], second)] {
        clock.advance(moved);
        let found = [get(&cache, "short").await, get(&cache, "default").await];
        assert_eq!(found.map(|found| found.is_some()), left);
    }
    clock.advance(second);
    assert_eq!(get(&cache, "default").await, None);
    assert_eq!(cache.get_or_insert_with("short", || async { "3".to_owned() }).await, "3");
}

#[tokio::test]
async fn clear_isolates_namespaces_in_all_tiers() {
    let (dir, server) = (dir(), server());
    let open = |name: &str| {
        let builder = on(dir.path()).namespace(name).copies_in_memory(1 << 20);
        builder.tier(remote(&server)).open_async().unwrap()
    };
    let (one, two) = (open("one"), open("two"));
    for number in 0..20 {
        one.put(format!("key {number}"), &number.to_string()).await.unwrap();
    }
    two.put("key 0", &"two".to_owned()).await.unwrap();
    settle(&one).await;
    settle(&two).await;
    // What only the server has comes back for nobody.
    let local = on(dir.path()).namespace("one").open().unwrap();
    assert!(local.delete("key 1").unwrap());
    assert_eq!(one.clear().await.unwrap(), 20);
    assert_eq!(one.clear().await.unwrap(), 0);
    settle(&one).await;
    for number in 0..20 {
        assert_eq!(get(&one, &format!("key {number}")).await, None);
    }
    assert_eq!(get(&two, "key 0").await.as_deref(), Some("two"));
    let fresh = open("one");
    assert_eq!(get(&fresh, "key 1").await, None);
    assert_eq!(fresh.namespace().as_str(), "one");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stampede_of_tasks_makes_it_once() {
    let (cache, calls) = (CacheBuilder::in_memory().open_async().unwrap(), Arc::new(AtomicU32::new(0)));
    let tasks: Vec<_> = (0..64)
        .map(|_| {
            let (cache, calls) = (cache.clone(), Arc::clone(&calls));
            tokio::spawn(async move {
                let make = || async {
                    tokio::task::yield_now().await;
                    calls.fetch_add(1, Ordering::SeqCst) + 1
                };
                cache.get_or_insert_with("key", make).await
            })
        })
        .collect();
    for task in tasks {
        assert_eq!(task.await.unwrap(), 1);
    }
}

#[test]
fn a_stampede_of_threads_on_another_executor_makes_it_once() {
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_time().build().unwrap();
    let dir = dir();
    let cache = on(dir.path()).runtime(runtime.handle().clone()).open_async().unwrap();
    let (calls, start) = (AtomicU32::new(0), Barrier::new(64));
    thread::scope(|scope| {
        for _ in 0..64 {
            scope.spawn(|| {
                start.wait();
                let make = || async { calls.fetch_add(1, Ordering::SeqCst) + 1 };
                assert_eq!(block_on(cache.get_or_insert_with("key", make)), 1);
            });
        }
    });
    assert_eq!(block_on(cache.close()).unwrap().left, 0);
}

#[tokio::test]
async fn who_fails_or_is_dropped_lets_the_next_one_try() {
    let cache = CacheBuilder::in_memory().open_async().unwrap();
    let failed = cache.get_or_try_insert_with("key", || async { "x".parse::<u8>() }).await;
    assert!(failed.is_err() && !cache.has("key").await.unwrap());
    let mut dropped = Box::pin(cache.get_or_insert_with("key", std::future::pending::<u8>));
    assert!(tokio::time::timeout(Duration::ZERO, &mut dropped).await.is_err());
    let waiter = tokio::spawn({
        let cache = cache.clone();
        async move { cache.get_or_insert_with("key", || async { 7_u8 }).await }
    });
    tokio::task::yield_now().await;
    drop(dropped);
    assert_eq!(waiter.await.unwrap(), 7);
    assert_eq!(cache.get("key").await.unwrap(), Some(7_u8));
}

#[tokio::test]
async fn a_server_that_fails_is_a_miss_unless_errors_are_wanted() {
    let server = server();
    for operation in [Operation::Get, Operation::GetMany, Operation::List] {
        server.inject(operation, .., Fault::unavailable());
    }
    let open = |strict| {
        let builder = CacheBuilder::in_memory().tier(remote(&server)).strict(strict);
        builder.open_async().unwrap()
    };
    let lenient = open(false);
    assert_eq!(get(&lenient, "key").await, None);
    assert_eq!(lenient.get_or_insert_with("key", || async { 1 }).await, 1);
    assert!(matches!(lenient.clear().await, Err(Error::Store(_))), "nobody knows what the server has");
    assert!(!lenient.has("key").await.unwrap());
    let strict = open(true);
    assert!(matches!(strict.get::<u8>("key").await, Err(Error::Store(_))));
    assert_eq!(strict.get_or_insert_with("key", || async { 2 }).await, 2, "this one goes on without");
}

#[tokio::test]
async fn what_did_not_arrive_the_next_process_sends() {
    let (dir, server) = (dir(), server());
    let failing = remote(&server).deadline(Duration::from_millis(50));
    for operation in [Operation::Put, Operation::Missing] {
        server.inject(operation, .., Fault::unavailable());
    }
    let cache = on(dir.path()).tier(failing).open_async().unwrap();
    cache.put("key", &"value".to_owned()).await.unwrap();
    assert_eq!(cache.flush(Duration::ZERO).await.unwrap().left, 1);
    // As a process that dies.
    drop(cache);
    server.heal();
    let next = on(dir.path()).tier(remote(&server)).open_async().unwrap();
    settle(&next).await;
    assert_eq!(next.stats().pushes.picked_up, 1);
    let other = CacheBuilder::in_memory().tier(remote(&server)).open_async().unwrap();
    assert_eq!(get(&other, "key").await.as_deref(), Some("value"));
}

#[tokio::test]
async fn a_closed_cache_says_so_through_every_clone() {
    let cache = CacheBuilder::in_memory().open_async().unwrap();
    let clone = cache.clone();
    assert_eq!(cache.close().await.unwrap().left, 0);
    assert_eq!(cache.close().await.unwrap().left, 0);
    assert!(matches!(clone.get::<u8>("key").await, Err(Error::Closed { .. })));
    assert!(matches!(clone.put("key", &1).await, Err(Error::Closed { .. })));
    assert!(matches!(clone.has("key").await, Err(Error::Closed { .. })));
    assert!(matches!(clone.delete("key").await, Err(Error::Closed { .. })));
    assert!(matches!(clone.clear().await, Err(Error::Closed { .. })));
    assert!(matches!(clone.flush(Duration::ZERO).await, Err(Error::Closed { .. })));
    assert_eq!(
        clone.get_or_insert_with("key", || async { 7 }).await,
        7,
        "this one goes on without the cache"
    );
}

#[tokio::test]
async fn a_cache_that_is_only_read_changes_nothing() {
    let (dir, server) = (dir(), server());
    on(dir.path()).open().unwrap().put("key", &"1".to_owned()).unwrap();
    let cache = on(dir.path()).read_only(true).tier(remote(&server)).open_async().unwrap();
    cache.put("key", &"2".to_owned()).await.unwrap();
    assert_eq!(get(&cache, "key").await.as_deref(), Some("1"));
    assert!(matches!(cache.delete("key").await, Err(Error::ReadOnly { .. })));
    assert!(matches!(cache.clear().await, Err(Error::ReadOnly { .. })));
    settle(&cache).await;
    assert_eq!(get(&cache, "key").await.as_deref(), Some("1"));
}

#[tokio::test]
async fn what_is_not_signed_is_a_miss_in_every_tier() {
    let (dir, server) = (dir(), server());
    let ring = Keyring::new(SigningKey::generate().unwrap());
    let open = |ring: Option<&Keyring>| {
        let builder = on(dir.path()).tier(remote(&server));
        let builder = ring.map_or(builder.clone(), |ring| builder.signing(ring.clone()));
        builder.open_async().unwrap()
    };
    let plain = open(None);
    plain.put("key", &"unsigned".to_owned()).await.unwrap();
    settle(&plain).await;
    let signed = open(Some(&ring));
    assert_eq!(get(&signed, "key").await, None);
    signed.put("key", &"s".repeat(LARGE)).await.unwrap();
    settle(&signed).await;
    assert_eq!(get(&signed, "key").await, Some("s".repeat(LARGE)));
    let blocking = on(dir.path()).signing(ring).open().unwrap();
    assert_eq!(blocking.get("key").unwrap(), Some("s".repeat(LARGE)), "it knows the address as well");
    blocking.put("key", &"blocking".to_owned()).unwrap();
    assert_eq!(get(&signed, "key").await.as_deref(), Some("blocking"));
    let other = open(Some(&Keyring::new(SigningKey::generate().unwrap())));
    assert_eq!(get(&other, "key").await, None);
    assert_eq!(other.clear().await.unwrap(), 0);
    assert_eq!(signed.clear().await.unwrap(), 1);
    assert_eq!(get(&plain, "key").await.as_deref(), Some("unsigned"), "it is not theirs");
}

#[test]
fn what_cannot_be_opened_is_explained() {
    let error = CacheBuilder::in_memory().open_async().unwrap_err();
    assert!(error.to_string().contains("inside a tokio runtime"), "{error}");
    let error = CacheBuilder::in_memory().tier(remote(&server())).open().unwrap_err();
    assert!(error.to_string().contains("`open_async`"), "{error}");
}

#[test]
fn its_futures_move_between_threads() {
    fn sends<T: Send>(_: T) {}
    fn shares<T: Send + Sync + 'static>() {}
    shares::<AsyncCache>();
    let check = |cache: &AsyncCache| {
        sends(cache.get::<u8>("key"));
        sends(cache.put("key", &1));
        sends(cache.get_or_insert_with("key", || async { 1 }));
        sends(cache.clear());
        sends(cache.close());
    };
    let _ = check;
}

/// Drops each operation at every await, and checks that what is found afterwards is what was there or what was put.
#[tokio::test]
async fn what_is_dropped_anywhere_has_happened_or_not() {
    type Act = for<'a> fn(&'a AsyncCache) -> BoxFuture<'a, ()>;
    let acts: [(&str, Act); 7] = [
        ("get", |cache| {
            Box::pin(async { assert_eq!(cache.get("key").await.unwrap(), Some("old".to_owned())) })
        }),
        ("has", |cache| Box::pin(async { assert!(cache.has("key").await.unwrap()) })),
        ("put", |cache| Box::pin(async { cache.put("key", &"new".to_owned()).await.unwrap() })),
        ("get_or_insert_with", |cache| {
            Box::pin(async {
                let made = cache.get_or_insert_with("other", async || "new".to_owned()).await;
                assert_eq!(made, "new");
            })
        }),
        ("delete", |cache| Box::pin(async { assert!(cache.delete("key").await.unwrap()) })),
        ("clear", |cache| Box::pin(async { assert_eq!(cache.clear().await.unwrap(), 1) })),
        ("flush", |cache| Box::pin(async { settle(cache).await })),
    ];
    for (what, act) in acts {
        for polls in 0.. {
            assert!(polls < 1000, "{what} comes to an end");
            let server = server();
            let cache =
                CacheBuilder::in_memory().tier(remote(&server).write_back(false)).open_async().unwrap();
            cache.put("key", &"old".to_owned()).await.unwrap();
            let done = poll_at_most(polls, act(&cache)).await.is_some();
            let place = format!("{what}, dropped after {polls} polls");
            let expected: &[Option<&str>] = match what {
                "put" => &[Some("old"), Some("new")],
                "delete" | "clear" => &[Some("old"), None],
                _ => &[Some("old")],
            };
            let found = get(&cache, "key").await;
            assert!(expected.contains(&found.as_deref()), "{place}: {found:?}");
            assert!([None, Some("new")].contains(&get(&cache, "other").await.as_deref()), "{place}");
            // Nothing is stuck.
            cache.put("key", &"newer".to_owned()).await.unwrap();
            assert_eq!(get(&cache, "key").await.as_deref(), Some("newer"), "{place}");
            assert_eq!(cache.close().await.unwrap().left, 0, "{place}");
            if done {
                break;
            }
        }
    }
}

//! What `#[cached]` keeps, for whom, and for how long.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Barrier, LazyLock};
use std::thread;
use std::time::{Duration, SystemTime};

use vitte_cache::core::ManualClock;
use vitte_cache::{Cache, CacheBuilder, Error, cached};

/// Counts calls. Every test has its own.
struct Calls(AtomicU32);

impl Calls {
    const fn new() -> Self {
        Self(AtomicU32::new(0))
    }

    /// Counts a call and returns its number, from 1.
    fn one(&self) -> u32 {
        self.0.fetch_add(1, Ordering::SeqCst) + 1
    }

    fn so_far(&self) -> u32 {
        self.0.load(Ordering::SeqCst)
    }
}

#[test]
fn arguments_are_the_key() {
    static CALLS: Calls = Calls::new();

    #[cached]
    fn call(mut name: String, number: Option<u8>, list: &[&str]) -> u32 {
        name.push_str(&list.concat());
        let _ = (name, number);
        CALLS.one()
    }

    let of = |name: &str, number, list: &[&str]| call(name.to_owned(), number, list);
    let first = of("a", None, &["b", "c"]);
    assert_eq!(of("a", None, &["b", "c"]), first);
    for other in
        [of("ab", None, &["c"]), of("a", Some(0), &["b", "c"]), of("a", None, &["bc"]), of("", None, &[])]
    {
        assert_ne!(other, first);
    }
    assert_eq!(CALLS.so_far(), 5);
}

mod one {
    #[vitte_cache::cached]
    pub(super) fn name() -> String {
        module_path!().to_owned()
    }
}

mod two {
    #[vitte_cache::cached]
    pub(super) fn name() -> String {
        module_path!().to_owned()
    }
}

#[test]
fn functions_of_one_name_are_two() {
    assert_eq!((one::name(), two::name()), ("cached::one".to_owned(), "cached::two".to_owned()));
}

#[test]
fn companions_do_what_they_say() {
    static CALLS: Calls = Calls::new();

    #[cached]
    fn call(_of: u8) -> u32 {
        CALLS.one()
    }

    assert_eq!((call(1), call(2), call(1)), (1, 2, 1));
    assert_eq!(call_uncached(1), 3);
    assert_eq!(call(1), 1, "the cache was not changed");
    assert_eq!(call_prime(1), 4);
    assert_eq!(call(1), 4, "the new one was stored");
    assert!(call_invalidate(1) && !call_invalidate(1));
    assert_eq!((call(1), call(2)), (5, 2));
    assert_eq!(call_clear(), 2);
    assert_eq!((call(1), call(2)), (6, 7));
}

#[test]
fn clear_leaves_other_functions_alone() {
    static CACHE: LazyLock<Cache> = LazyLock::new(Cache::in_memory);

    #[cached(store = CACHE)]
    fn call(of: u8) -> u8 {
        of
    }

    #[cached(store = CACHE)]
    fn call_longer(of: u8) -> u8 {
        of
    }

    assert_eq!(call(1) + call(2) + call_longer(1), 4);
    CACHE.put("value", &1).unwrap();
    assert_eq!(call_clear(), 2);
    assert!(call_longer_invalidate(1));
    assert_eq!(call(1), 1);
    assert_eq!(CACHE.clear().unwrap(), 2, "the cache clears what functions returned as well");
}

#[test]
fn clear_leaves_other_namespaces_alone() {
    #[cached(key = of, store = cache)]
    fn call(cache: &Cache, of: u32, number: u32) -> u32 {
        let _ = cache;
        of + number
    }

    let dir = tempfile::tempdir().unwrap();
    let open = |name: &str| Cache::builder(dir.path().join("cache")).namespace(name).open().unwrap();
    let (one, two) = (open("one"), open("two"));
    assert_eq!((call(&one, 1, 10), call(&two, 1, 20)), (11, 21), "neither finds the other one's");
    assert_eq!(call_clear(&one), 1);
    assert_eq!((call(&one, 1, 30), call(&two, 1, 40)), (31, 21));
    assert_eq!(one.clear().unwrap(), 1);
    assert_eq!(call(&two, 1, 50), 21);
}

#[test]
fn a_result_ends_with_its_time() {
    static CALLS: Calls = Calls::new();

    #[cached(ttl = seconds * Duration::from_secs(1), key = (), store = cache)]
    fn call(cache: &Cache, seconds: u32) -> u32 {
        let _ = (cache, seconds);
        CALLS.one()
    }

    let clock = Arc::new(ManualClock::new(SystemTime::now().into()));
    let cache = CacheBuilder::in_memory().clock(clock.clone()).open().unwrap();
    assert_eq!((call(&cache, 10), call(&cache, 10)), (1, 1));
    clock.advance(Duration::from_millis(9_999));
    assert_eq!(call(&cache, 10), 1);
    clock.advance(Duration::from_millis(1));
    assert_eq!(call(&cache, 10), 2);
    assert_eq!(call_clear(&cache), 1);
}

#[test]
fn an_error_and_nothing_are_not_kept() {
    static CALLS: Calls = Calls::new();

    #[derive(Debug, PartialEq)]
    struct Odd(u32);

    #[cached(result)]
    fn even() -> Result<u32, Odd> {
        let number = CALLS.one();
        if number.is_multiple_of(2) { Ok(number) } else { Err(Odd(number)) }
    }

    #[cached(option)]
    fn many() -> Option<u32> {
        Some(CALLS.one()).filter(|number| *number > 4)
    }

    assert_eq!((even(), even(), even()), (Err(Odd(1)), Ok(2), Ok(2)));
    assert_eq!((many(), many(), many(), many()), (None, None, Some(5), Some(5)));
    assert_eq!(even_prime(), Ok(6));
}

#[test]
fn a_version_is_part_of_the_key() {
    static CACHE: LazyLock<Cache> = LazyLock::new(Cache::in_memory);

    #[cached(key = (), version = version, store = CACHE)]
    fn call(version: u32) -> u32 {
        version
    }

    assert_eq!((call(1), call(2), call(1)), (1, 2, 1));
    assert_eq!(call_clear(), 2, "of all versions");
}

#[test]
fn an_edited_body_never_serves_the_old_result() {
    static CACHE: LazyLock<Cache> = LazyLock::new(Cache::in_memory);
    // Both have the same path, as before and after an edit.
    let before = {
        #[cached(store = CACHE)]
        fn edited() -> u32 {
            1
        }
        edited()
    };
    let after = {
        #[cached(store = CACHE)]
        fn edited() -> u32 {
            2
        }
        assert_eq!(edited() + edited_clear() as u32, 4, "the same path");
        edited()
    };
    assert_eq!((before, after), (1, 2));
}

struct Parser {
    dialect: &'static str,
    cache: Cache,
    calls: Calls,
}

impl Parser {
    #[cached(key = (self.dialect, text), store = self.cache)]
    fn parse(&self, text: &str) -> String {
        self.calls.one();
        format!("{} {text}", self.dialect)
    }
}

#[test]
fn a_method_has_the_key_that_it_names() {
    let cache = Cache::in_memory();
    let parser = |dialect| Parser { dialect, cache: cache.clone(), calls: Calls::new() };
    let (one, two, same) = (parser("one"), parser("two"), parser("one"));
    assert_eq!([one.parse("x"), two.parse("x"), same.parse("x")], ["one x", "two x", "one x"]);
    assert_eq!([&one, &two, &same].map(|parser| parser.calls.so_far()), [1, 1, 0]);
    assert_eq!(one.parse_uncached("x"), "one x");
    assert!(one.parse_invalidate("x"));
    assert_eq!(two.parse_clear(), 1);
}

#[test]
fn without_a_cache_the_function_is_called() {
    static CALLS: Calls = Calls::new();
    static NONE: LazyLock<Result<Cache, Error>> = LazyLock::new(|| {
        let cache = Cache::in_memory();
        cache.close()?;
        cache.put("key", &1).map(|()| cache)
    });

    #[cached(store = NONE)]
    fn call() -> u32 {
        CALLS.one()
    }

    assert_eq!((call(), call(), call_prime()), (1, 2, 3));
    assert!(!call_invalidate());
    assert_eq!(call_clear(), 0);
}

#[test]
fn a_stampede_of_threads_runs_once() {
    static CALLS: Calls = Calls::new();

    #[cached]
    fn call(of: u32) -> u32 {
        thread::yield_now();
        CALLS.one() * of
    }

    let start = Barrier::new(64);
    thread::scope(|scope| {
        for _ in 0..64 {
            scope.spawn(|| {
                start.wait();
                assert_eq!(call(7), 7);
            });
        }
    });
    assert_eq!(CALLS.so_far(), 1);
}

#[test]
fn a_stampede_of_tasks_runs_once() {
    static CALLS: Calls = Calls::new();

    #[cached(result)]
    async fn call(of: &str, gate: u8) -> Result<u32, String> {
        tokio::task::yield_now().await;
        let _ = gate;
        match CALLS.one() {
            1 => Err(of.to_owned()),
            number => Ok(number),
        }
    }

    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(async {
        let tasks: Vec<_> = (0..64).map(|_| tokio::spawn(async { call("x", 1).await })).collect();
        let mut failed = 0;
        for task in tasks {
            match task.await.unwrap() {
                Ok(number) => assert_eq!(number, 2),
                Err(_) => failed += 1,
            }
        }
        assert_eq!((failed, CALLS.so_far()), (1, 2), "an error lets the next one try");
        assert_eq!(call_prime("x", 1).await, Ok(3));
        assert_eq!(call("x", 1).await, Ok(3));
        assert!(call_invalidate("x", 1).await, "it has the same path");
    });
}

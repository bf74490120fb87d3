//! Files that decide what a memoised function returns.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, SystemTime};

use vitte_cache::{Cache, cached};

/// A directory with a file in it, and a cache.
fn place() -> (tempfile::TempDir, PathBuf, Cache) {
    let dir = tempfile::tempdir().expect("the system's directory for temporary files can be used");
    let path = dir.path().join("settings");
    fs::write(&path, "1").expect("the directory is fresh");
    let cache = Cache::new(dir.path().join("cache")).expect("the directory is fresh");
    (dir, path, cache)
}

static CALLS: AtomicU32 = AtomicU32::new(0);

#[cached(files = [path, path.with_extension("more")], key = path, store = cache)]
fn words(cache: &Cache, path: &Path, calls: &AtomicU32) -> usize {
    let _ = cache;
    calls.fetch_add(1, Ordering::SeqCst);
    fs::read_to_string(path).map_or(0, |text| text.split(' ').count())
}

#[test]
fn a_changed_file_is_a_miss() {
    let (_dir, path, cache) = place();
    let calls = AtomicU32::new(0);
    let call = || (words(&cache, &path, &calls), calls.load(Ordering::SeqCst));
    assert_eq!((call(), call()), ((1, 1), (1, 1)));
    fs::write(&path, "1 2").unwrap();
    assert_eq!((call(), call()), ((2, 2), (2, 2)));
    fs::write(path.with_extension("more"), "").unwrap();
    assert_eq!((call(), call()), ((2, 3), (2, 3)), "a file that appears is a change");
    fs::remove_file(&path).unwrap();
    assert_eq!((call(), call()), ((0, 4), (0, 4)), "so is one that goes");
    assert!(words_invalidate(&cache, &path, &calls) && !words_invalidate(&cache, &path, &calls));
    assert_eq!(call(), (0, 5));
    fs::write(&path, "").unwrap();
    assert!(!words_invalidate(&cache, &path, &calls), "what was made from another file is no result");
}

#[test]
fn a_file_that_is_only_touched_is_the_same() {
    let (_dir, path, cache) = place();
    let calls = AtomicU32::new(0);
    assert_eq!(words(&cache, &path, &calls), 1);
    fs::remove_file(&path).unwrap();
    fs::write(&path, "1").unwrap();
    let old = SystemTime::now() - Duration::from_hours(1);
    fs::File::options().append(true).open(&path).unwrap().set_modified(old).unwrap();
    assert_eq!((words(&cache, &path, &calls), calls.into_inner()), (1, 1));
}

#[test]
fn another_cache_on_the_directory_checks_the_files_as_well() {
    let (_dir, path, cache) = place();
    let calls = AtomicU32::new(0);
    assert_eq!(words(&cache, &path, &calls), 1);
    let other = Cache::new(cache.dir().unwrap()).unwrap();
    assert_eq!(words(&other, &path, &calls), 1);
    fs::write(&path, "1 2 3").unwrap();
    assert_eq!((words(&other, &path, &calls), calls.into_inner()), (3, 2));
}

#[test]
fn what_was_made_while_a_file_changed_is_not_kept() {
    #[cached(files = [path], key = (), store = cache)]
    fn slow(cache: &Cache, path: &Path, write: &str) -> String {
        let _ = cache;
        let read = fs::read_to_string(path).unwrap_or_default();
        fs::write(path, write).unwrap();
        read
    }

    let (_dir, path, cache) = place();
    assert_eq!(slow(&cache, &path, "2"), "1");
    assert_eq!(slow_clear(&cache), 0);
    fs::write(&path, "1").unwrap();
    assert_eq!(slow(&cache, &path, "3"), "1");
    assert_eq!(slow(&cache, &path, "3"), "3");
}

#[test]
fn what_has_no_content_keeps_nothing() {
    let (dir, _, cache) = place();
    let calls = AtomicU32::new(0);
    for expected in 1..=2 {
        assert_eq!(words(&cache, dir.path(), &calls), 0);
        assert_eq!(calls.load(Ordering::SeqCst), expected);
    }
}

#[test]
fn async_functions_watch_files_too() {
    #[cached(files = [path], store = cache, key = ())]
    async fn read(cache: &Cache, path: &Path) -> Option<String> {
        let _ = cache;
        CALLS.fetch_add(1, Ordering::SeqCst);
        tokio::task::yield_now().await;
        fs::read_to_string(path).ok()
    }

    let (_dir, path, cache) = place();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(async {
        assert_eq!(read(&cache, &path).await.as_deref(), Some("1"));
        assert_eq!(read(&cache, &path).await.as_deref(), Some("1"));
        fs::write(&path, "2").unwrap();
        assert_eq!(read(&cache, &path).await.as_deref(), Some("2"));
        assert_eq!(CALLS.load(Ordering::SeqCst), 2);
    });
}

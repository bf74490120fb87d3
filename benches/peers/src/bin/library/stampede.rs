//! How often a function runs that many threads call at once, for the first time.

use std::sync::Barrier;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::Duration;

pub(crate) const TITLE: &str = "stampede of 64 threads";
pub(crate) const OURS: &str = "#[vitte_cache::cached]";
const THREADS: usize = 64;
/// How long a result takes: all threads are there before the first has it.
const SLOW: Duration = Duration::from_millis(20);

static OUR_RUNS: AtomicU32 = AtomicU32::new(0);
static THEIR_RUNS: AtomicU32 = AtomicU32::new(0);

#[vitte_cache::cached]
fn ours(n: u64) -> u64 {
    slow(&OUR_RUNS, n)
}

#[cached::macros::cached(max_size = 1_000)]
fn theirs(n: u64) -> u64 {
    slow(&THEIR_RUNS, n)
}

fn slow(runs: &AtomicU32, n: u64) -> u64 {
    runs.fetch_add(1, Ordering::Relaxed);
    thread::sleep(SLOW);
    n
}

/// Returns how often each ran.
pub(crate) fn run() -> [(&'static str, u32); 2] {
    all(ours);
    all(theirs);
    [(OURS, OUR_RUNS.load(Ordering::Relaxed)), ("#[cached::cached]", THEIR_RUNS.load(Ordering::Relaxed))]
}

fn all(call: fn(u64) -> u64) {
    let barrier = Barrier::new(THREADS);
    thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| {
                barrier.wait();
                call(7)
            });
        }
    });
}

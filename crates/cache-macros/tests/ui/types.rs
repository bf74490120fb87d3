//! Expressions and types that do not fit.

use std::sync::Mutex;
use std::time::Duration;

use vitte_cache::{Cache, cached};

#[cached(ttl = 60)]
fn a_number_is_no_time(a: u8) -> u8 {
    a
}

#[cached(ttl = Duration::from_secs(60), stale_while_revalidate = 5)]
fn neither_is_this(a: u8) -> u8 {
    a
}

static CACHES: Mutex<Vec<Cache>> = Mutex::new(Vec::new());

#[cached(store = CACHES)]
fn no_cache(a: u8) -> u8 {
    a
}

#[cached(max_size = a)]
fn a_limit_for_each_call(a: u64) -> u64 {
    a
}

#[cached(result)]
fn no_result(a: u8) -> u8 {
    a
}

fn main() {}

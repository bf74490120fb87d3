//! Arguments that mean nothing together.

use std::sync::LazyLock;
use std::time::Duration;

use vitte_cache::{Cache, cached};

static CACHE: LazyLock<Cache> = LazyLock::new(Cache::in_memory);

#[cached(max_size = 100, store = CACHE)]
fn whose_limit(a: u8) -> u8 {
    a
}

#[cached(ttl = Duration::from_secs(1), on_error = stale)]
fn no_result(a: u8) -> u8 {
    a
}

#[cached(ttl = Duration::from_secs(1), option, on_error = stale)]
fn none_is_no_error(a: u8) -> Option<u8> {
    Some(a)
}

#[cached(stale_while_revalidate = Duration::from_secs(1))]
fn never_stale(a: u8) -> u8 {
    a
}

#[cached(result, on_error = stale)]
fn never_over(a: u8) -> Result<u8, ()> {
    Ok(a)
}

fn main() {}

//! Calls of memoised functions that were called with the same arguments before.

#![expect(clippy::needless_pass_by_value, reason = "one of the peers takes arguments by value only")]

use std::hint::black_box;

use crate::Result;
use crate::case::Case;

/// Calls between two looks at the clock.
const BATCH: u64 = 1_000;
/// Different arguments.
const ARGUMENTS: u64 = 100;

const OURS: &str = "#[vitte_cache::cached]";
const CACHED: &str = "#[cached::cached]";
const CACHED_SHARDED: &str = "#[cached::concurrent_cached]";

/// What costs enough to be memoised would not be called here.
fn square(n: u64) -> u64 {
    n * n
}

fn describe(name: &str, n: u64) -> String {
    format!("{name} {n:080}")
}

#[vitte_cache::cached]
fn our_number(n: u64) -> u64 {
    square(n)
}

#[cached::macros::cached(max_size = 1_000)]
fn their_number(n: u64) -> u64 {
    square(n)
}

#[cached::macros::concurrent_cached(max_size = 1_000)]
fn their_sharded_number(n: u64) -> u64 {
    square(n)
}

#[vitte_cache::cached]
fn our_text(name: &str, n: u64) -> String {
    describe(name, n)
}

#[cached::macros::cached(max_size = 1_000)]
fn their_text(name: String, n: u64) -> String {
    describe(&name, n)
}

#[cached::macros::concurrent_cached(max_size = 1_000)]
fn their_sharded_text(name: String, n: u64) -> String {
    describe(&name, n)
}

pub(crate) fn cases() -> [Case<'static>; 2] {
    let numbers = Case::new("memoised call, u64 to u64", "call", BATCH)
        .contender(CACHED, |_| numbers(their_number))
        .contender(CACHED_SHARDED, |_| numbers(their_sharded_number))
        .contender(OURS, |_| numbers(our_number));
    let texts = Case::new("memoised call, a text and u64 to a text", "call", BATCH)
        .contender(CACHED, |_| texts(|name, n| their_text(name.to_owned(), n)))
        .contender(CACHED_SHARDED, |_| texts(|name, n| their_sharded_text(name.to_owned(), n)))
        .contender(OURS, |_| texts(our_text));
    [numbers, texts]
}

fn numbers(call: impl Fn(u64) -> u64) -> Result {
    for n in 0..BATCH {
        let n = n % ARGUMENTS;
        if call(black_box(n)) != square(n) {
            return Err("a wrong result".into());
        }
    }
    Ok(())
}

fn texts(call: impl Fn(&str, u64) -> String) -> Result {
    for n in 0..BATCH {
        if !call(black_box("src/main.rs"), n % ARGUMENTS).starts_with("src/main.rs 0") {
            return Err("a wrong result".into());
        }
    }
    Ok(())
}

//! What is in the brackets and means nothing.

use std::time::Duration;

use vitte_cache::cached;

#[cached(tll = Duration::from_secs(60))]
fn misspelt(a: u8) -> u8 {
    a
}

#[cached(ttl)]
fn without_a_value(a: u8) -> u8 {
    a
}

#[cached("60s")]
fn a_text(a: u8) -> u8 {
    a
}

#[cached(ttl = Duration::from_secs(1), version = 1, ttl = Duration::from_secs(2))]
fn twice(a: u8) -> u8 {
    a
}

#[cached(result = true)]
fn with_a_value(a: u8) -> Result<u8, ()> {
    Ok(a)
}

#[cached(result, option)]
fn both(a: u8) -> Result<u8, ()> {
    Ok(a)
}

#[cached(files = "settings.toml")]
fn no_list(a: u8) -> u8 {
    a
}

#[cached(files = [])]
fn no_file(a: u8) -> u8 {
    a
}

#[cached(ttl = Duration::from_secs(1), result, on_error = retry)]
fn no_such_thing(a: u8) -> Result<u8, ()> {
    Ok(a)
}

fn main() {}

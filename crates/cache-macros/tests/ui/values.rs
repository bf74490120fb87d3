//! What serde does not know cannot be kept, and cannot be a key.

use vitte_cache::cached;

pub struct Opaque;

#[cached]
fn returns(a: u8) -> Opaque {
    let _ = a;
    Opaque
}

#[cached]
fn takes(opaque: Opaque) -> u8 {
    let _ = opaque;
    1
}

#[cached(files = [a])]
fn no_path(a: u8) -> u8 {
    a
}

fn main() {}

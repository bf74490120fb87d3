//! Functions that wait for nothing, and a cache that has to be awaited.

use std::sync::{LazyLock, Mutex};

use vitte_cache::{AsyncCache, CacheBuilder, Error, cached};

static CACHE: LazyLock<Result<AsyncCache, Error>> =
    LazyLock::new(|| CacheBuilder::in_memory().open_async());

#[cached(store = CACHE)]
fn blocks(a: u8) -> u8 {
    a
}

#[cached(store = CACHE)]
async fn awaits(a: u8) -> u8 {
    a
}

static CACHES: Mutex<Vec<AsyncCache>> = Mutex::new(Vec::new());

#[cached(store = CACHES)]
async fn no_cache(a: u8) -> u8 {
    a
}

struct Parser(AsyncCache);

impl Parser {
    #[cached(store = self.0, key = a)]
    fn parse(&self, a: u8) -> u8 {
        a
    }
}

fn companions_of_async_functions_are_async() {
    let _: bool = awaits_invalidate(1);
    let _: u64 = awaits_clear();
}

fn main() {}

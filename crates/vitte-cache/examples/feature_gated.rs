//! A cache with one back end and nothing else: no other store, no runtime, no sockets. `cargo xtask tidy` checks that.
//!
//! ```text
//! cargo run --example feature_gated --no-default-features --features memory
//! ```
//!
//! In a program of one's own: `vitte-cache = { version = "0.1", default-features = false, features = ["memory"] }`.

#![expect(clippy::print_stdout, reason = "it shows what it did")]

use vitte_cache::{CacheBuilder, Error};

fn main() -> Result<(), Error> {
    let cache = CacheBuilder::in_memory().max_bytes(16 << 20).open()?;
    for _ in 0..2 {
        let primes: Vec<u32> = cache.get_or_insert_with("primes below 30", || {
            println!("computing");
            (2..30).filter(|n| (2..*n).all(|divisor| n % divisor != 0)).collect()
        });
        println!("{primes:?}");
    }
    cache.close()
}

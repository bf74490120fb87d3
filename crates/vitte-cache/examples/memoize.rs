//! Keeps what functions return:
//!
//! ```text
//! cargo run --example memoize --features macros
//! ```

#![expect(clippy::print_stdout, reason = "it shows what it did")]

use std::time::Duration;

use vitte_cache::cached;

/// Takes as long as the number is large, but for the cache: each number is computed once.
#[cached]
fn fibonacci(n: u32) -> u64 {
    println!("computing fibonacci({n})");
    if n < 2 { u64::from(n) } else { fibonacci(n - 1) + fibonacci(n - 2) }
}

/// An error is not kept, and a result for a minute.
#[cached(ttl = Duration::from_mins(1), result)]
fn parse(text: &str) -> Result<u32, std::num::ParseIntError> {
    println!("parsing {text}");
    text.parse()
}

fn main() {
    println!("{}", fibonacci(5));
    println!("{}", fibonacci(5));
    for text in ["12", "12", "x", "x"] {
        println!("{:?}", parse(text).ok());
    }
    println!("forgot it: {}", parse_invalidate("12"));
    println!("{:?}", parse("12").ok());
}

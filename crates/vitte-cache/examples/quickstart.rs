//! Keeps the outcome of slow work between two runs of a program. Run it twice:
//!
//! ```text
//! cargo run --example quickstart
//! ```

#![expect(clippy::print_stdout, reason = "it shows what it did")]

use serde::{Deserialize, Serialize};

#[derive(Debug, Serialize, Deserialize)]
struct Symbols {
    functions: Vec<String>,
    lines: usize,
}

/// Stands for something that takes a while.
fn parse(source: &str) -> Symbols {
    let functions = source.lines().filter_map(|line| line.strip_prefix("fn ")).map(str::to_owned).collect();
    Symbols { functions, lines: source.lines().count() }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let cache = vitte_cache::Cache::new("target/.vitte-cache")?;
    if let Some(v) = cache.get::<Symbols>("parser::symbols")? {
        println!("found {v:?}");
    } else {
        let symbols = parse("fn main() {\n    run()\n}\nfn run() {}\n");
        cache.put("parser::symbols", &symbols)?;
        println!("computed {symbols:?}");
    }
    Ok(())
}

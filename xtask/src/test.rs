//! `test`: all tests of the workspace.

use crate::step::Step;
use crate::stop::Result;

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Only these tests: `clients` are those of the server with real build tools
    #[arg(value_name = "WHAT")]
    what: Option<What>,
    /// Also run the tests that take minutes (sets `VITTE_CACHE_TEST_SLOW=1`)
    #[arg(long)]
    slow: bool,
    /// Only the tests of this crate
    #[arg(long, short, value_name = "CRATE")]
    package: Vec<String>,
    /// Further arguments of `cargo test`, such as a test's name or `-- --nocapture`
    #[arg(last = true, value_name = "ARG")]
    rest: Vec<String>,
}

/// A part of the tests that has a name.
#[derive(Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum What {
    Clients,
}

pub(crate) fn run(args: &Args) -> Result {
    step(args).run()?;
    // The index is memory that processes share only there.
    if args.slow && args.what.is_none() && args.package.is_empty() && cfg!(target_os = "linux") {
        index_orders().run()?;
        orders().run()?;
    }
    Ok(())
}

/// Lets loom try all orders in which two processes can meet at the index of the segments. It takes the place of the real
/// memory, so everything is built anew for it; its stacks are too small for code that is not optimised.
fn index_orders() -> Step {
    Step::cargo(["test", "--release", "--package=cache-fs", "--lib", "--no-default-features", "orders"])
        .env("RUSTFLAGS", "--cfg cache_fs_loom")
        .env("CARGO_TARGET_DIR", "target/loom")
}

/// Lets shuttle try the orders in which threads and tasks can meet where they share a look-up, the making of a value, a circuit
/// breaker or a cleaner. It takes the place of the threads, locks and runtimes there.
fn orders() -> Step {
    let packages = ["--package=cache-coordinator", "--package=cache-memory", "--package=vitte-cache"];
    Step::cargo(["test", "--release", "--lib", "--features=vitte-cache/macros"])
        .args(packages)
        .arg("orders")
        .env("RUSTFLAGS", "--cfg vitte_shuttle")
        .env("CARGO_TARGET_DIR", "target/shuttle")
}

/// Runs what `ci` runs: everything but the slow tests.
pub(crate) fn run_quick() -> Result {
    run(&Args { what: None, slow: false, package: Vec::new(), rest: Vec::new() })
}

fn step(args: &Args) -> Step {
    let mut step = Step::cargo(["test", "--all-features"]);
    if args.what == Some(What::Clients) {
        step = step.args(["--package=cache-server", "--test=clients"]);
    } else if args.package.is_empty() {
        step = step.arg("--workspace");
    }
    let packages = args.package.iter().map(|name| format!("--package={name}"));
    let step = step.args(packages).args(&args.rest);
    if args.slow { step.env("VITTE_CACHE_TEST_SLOW", "1") } else { step }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slow_tests_and_further_arguments_are_passed_on() {
        let rest = vec!["round_trip".into(), "--".into(), "--nocapture".into()];
        let args = Args { what: None, slow: true, package: Vec::new(), rest };
        assert_eq!(
            step(&args).to_string(),
            "VITTE_CACHE_TEST_SLOW=1 cargo test --all-features --workspace round_trip -- --nocapture"
        );
    }

    #[test]
    fn clients_are_one_test_program() {
        let args = Args { what: Some(What::Clients), slow: false, package: Vec::new(), rest: Vec::new() };
        assert_eq!(
            step(&args).to_string(),
            "cargo test --all-features --package=cache-server --test=clients"
        );
    }

    #[test]
    fn named_crates_take_the_place_of_all() {
        let args = Args { what: None, slow: false, package: vec!["cache-fs".into()], rest: Vec::new() };
        assert_eq!(step(&args).to_string(), "cargo test --all-features --package=cache-fs");
    }
}

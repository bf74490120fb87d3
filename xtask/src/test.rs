//! `test`: all tests of the workspace.

use crate::step::Step;
use crate::stop::Result;

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Also run the tests that take minutes (sets `VITTE_CACHE_TEST_SLOW=1`)
    #[arg(long)]
    slow: bool,
    /// Further arguments of `cargo test`, such as `-p cache-fs` or `-- --nocapture`
    #[arg(last = true, value_name = "ARG")]
    rest: Vec<String>,
}

pub(crate) fn run(args: &Args) -> Result {
    step(args).run()
}

/// Runs what `ci` runs: everything but the slow tests.
pub(crate) fn run_quick() -> Result {
    run(&Args { slow: false, rest: Vec::new() })
}

fn step(args: &Args) -> Step {
    let step = Step::cargo(["test", "--workspace", "--all-features"]).args(&args.rest);
    if args.slow { step.env("VITTE_CACHE_TEST_SLOW", "1") } else { step }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slow_tests_and_further_arguments_are_passed_on() {
        let args = Args { slow: true, rest: vec!["round_trip".into(), "--".into(), "--nocapture".into()] };
        assert_eq!(
            step(&args).to_string(),
            "VITTE_CACHE_TEST_SLOW=1 cargo test --workspace --all-features round_trip -- --nocapture"
        );
    }
}

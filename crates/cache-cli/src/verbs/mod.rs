//! One verb per file.

mod config;
mod doctor;
mod du;
mod gc;
mod get;
mod ls;
mod man;
mod migrate;
mod put;
mod rm;
mod run;
#[cfg(feature = "server")]
mod serve;
mod simulate;
mod stats;
#[cfg(feature = "server")]
mod token;
mod value;
mod verify;
mod why;

use cache_core::Timestamp;

use crate::args::{Cli, Globals, Verb};
use crate::config::Config;
use crate::failure::Result;
use crate::output::{self, Color};
use crate::settings::Id;

/// What every verb works with.
struct Context {
    config: Config,
    color: Color,
}

impl Context {
    fn load(globals: &Globals) -> Result<Self> {
        let config = Config::load(globals)?;
        let color = Color::named(config.word(Id::Color));
        Ok(Self { config, color })
    }

    /// As [`load`](Self::load), and says at once what is to be said about the configuration.
    fn load_and_warn(globals: &Globals) -> Result<Self> {
        let context = Self::load(globals)?;
        for warning in &context.config.warnings {
            output::warn(warning);
        }
        Ok(context)
    }
}

/// Does what the command line asks for and returns the exit code.
pub(crate) fn dispatch(cli: Cli) -> Result<i32> {
    let context = || Context::load_and_warn(&cli.globals);
    match cli.verb {
        Verb::Run(args) => return run::run(&cli.globals, &args),
        Verb::Doctor(args) => return doctor::run(&cli.globals, &args),
        Verb::Verify(args) => return verify::run(&context()?, &args),
        Verb::Completions(args) => man::completions(&args)?,
        Verb::Man(args) => man::pages(&args)?,
        Verb::Why(args) => why::run(&context()?, &args)?,
        Verb::Put(args) => put::run(&context()?, &args)?,
        Verb::Get(args) => get::run(&context()?, &args)?,
        Verb::Rm(args) => rm::run(&context()?, &args)?,
        Verb::Ls(args) => ls::run(&context()?, &args)?,
        Verb::Stats(args) => stats::run(&context()?, &args)?,
        Verb::Du(args) => du::run(&context()?, &args)?,
        Verb::Gc(args) => gc::run(&context()?, &args)?,
        Verb::Migrate(args) => migrate::run(&context()?, &args)?,
        Verb::Simulate(args) => simulate::run(&context()?, &args)?,
        #[cfg(feature = "server")]
        Verb::Serve(args) => serve::run(&cli.globals, &args)?,
        #[cfg(feature = "server")]
        Verb::Token(args) => token::run(&cli.globals, &args)?,
        Verb::Config(args) if args.markdown => config::page()?,
        Verb::Config(args) => config::run(&context()?, &args)?,
    }
    Ok(0)
}

/// Returns the time now.
fn now() -> Timestamp {
    std::time::SystemTime::now().into()
}

/// Returns how long ago `then` was, for people.
fn ago(then: Timestamp) -> String {
    cache_run::human::duration(now().since(then))
}

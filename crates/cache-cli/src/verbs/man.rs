//! `completions` and `man`: files that packages install.

use std::fs;
use std::io::Write;

use clap::CommandFactory;

use crate::args::{Cli, CompletionsArgs, ManArgs};
use crate::failure::{Failure, Result};
use crate::output;

/// The command's name.
const NAME: &str = "vitte-cache";

pub(super) fn completions(args: &CompletionsArgs) -> Result {
    // The generators panic when they cannot write, so they write to memory.
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), NAME, &mut script);
    let mut out = output::stdout();
    out.write_all(&script)?;
    Ok(out.flush()?)
}

pub(super) fn pages(args: &ManArgs) -> Result {
    if let Some(dir) = &args.out {
        let result = fs::create_dir_all(dir).and_then(|()| clap_mangen::generate_to(Cli::command(), dir));
        return result.map_err(|error| {
            Failure::failed(format_args!(
                "cannot write manual pages to {}: {error}; choose a directory that you may write to",
                dir.display()
            ))
        });
    }
    let mut page = Vec::new();
    clap_mangen::Man::new(Cli::command()).render(&mut page)?;
    let mut out = output::stdout();
    out.write_all(&page)?;
    Ok(out.flush()?)
}

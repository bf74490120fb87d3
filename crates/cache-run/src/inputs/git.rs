//! What git calls the files of a project: those it tracks, and new ones that it does not ignore.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use super::source::os_str;
use super::walk::{Collector, is_gone};
use super::{InputError, Kind, MAX_INPUTS, Pattern, Stat};
use crate::probe::{self, Limits};

/// `git ls-files` of a million paths in a cold cache takes seconds; longer than this, and it hangs.
const LIMITS: Limits = Limits { time: Duration::from_mins(1), bytes: 512 << 20 };
/// What a surrounding git (a hook, an alias) sets to make its own repository the one that is meant.
const REPOSITORY_VARIABLES: [&str; 5] =
    ["GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_PREFIX", "GIT_LITERAL_PATHSPECS"];

impl Collector<'_> {
    /// Adds the files below `path`, or the file `path`, that git tracks or does not ignore; returns whether there are
    /// any. Files of submodules and of repositories inside are among them.
    pub(super) fn add_git(&mut self, path: &Path) -> Result<bool, InputError> {
        let mut any = false;
        let mut pending = vec![path.to_path_buf()];
        while let Some(start) = pending.pop() {
            for file in list(&start)? {
                if self.is_excluded(&file) {
                    continue;
                }
                let stat = match file.symlink_metadata() {
                    Ok(metadata) => Stat::new(&metadata),
                    // Tracked, but deleted from the work tree.
                    Err(error) if is_gone(&error) => continue,
                    Err(error) => return Err(InputError::io(&file, error)),
                };
                any = true;
                if stat.kind != Kind::Directory {
                    self.add(&file, stat)?;
                } else if file != start && file.join(".git").symlink_metadata().is_ok() {
                    pending.push(file);
                } else {
                    let everything = Pattern::everything_below(file.clone());
                    self.walk(&file, &[everything], |_| {})?;
                }
                if pending.len() > MAX_INPUTS {
                    return Err(InputError::TooMany);
                }
            }
        }
        Ok(any)
    }
}

/// Returns the paths that git lists for `path`, absolute.
fn list(path: &Path) -> Result<Vec<PathBuf>, InputError> {
    let fail = |why: String| InputError::Git { path: path.to_path_buf(), why };
    let is_directory = path.is_dir();
    let dir = if is_directory { path } else { path.parent().unwrap_or(path) };
    let mut git = Command::new("git");
    git.args(["--literal-pathspecs", "ls-files", "-z", "--cached", "--others", "--exclude-standard", "--"]);
    if !is_directory {
        git.arg(path.file_name().unwrap_or_default());
    }
    git.current_dir(dir).env("GIT_OPTIONAL_LOCKS", "0").env("LC_ALL", "C");
    for name in REPOSITORY_VARIABLES {
        git.env_remove(name);
    }
    let output = probe::run(&mut git, LIMITS).map_err(|error| fail(format!("git {error}")))?;
    if output.code != Some(0) {
        let said = String::from_utf8_lossy(&output.stderr);
        let first = said.lines().next().unwrap_or("git failed without a word");
        return Err(fail(first.chars().take(300).collect()));
    }
    let names = output.stdout.split(|&byte| byte == 0).filter(|name| !name.is_empty());
    // A `/` at the end marks a repository inside.
    let names = names.map(|name| name.strip_suffix(b"/").unwrap_or(name));
    names
        .map(|name| Ok(dir.join(os_str(name).ok_or_else(|| fail("a name is not Unicode".into()))?)))
        .collect()
}

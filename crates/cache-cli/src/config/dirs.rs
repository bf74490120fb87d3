//! Where systems keep caches and configuration.

use std::env;
use std::path::PathBuf;

/// The name of our directories below those of the user.
const NAME: &str = "vitte-cache";

/// Returns the directory of the cache unless told otherwise.
pub(super) fn default_cache() -> Option<PathBuf> {
    let base = if cfg!(windows) {
        variable("LOCALAPPDATA")
    } else if cfg!(target_os = "macos") {
        variable("XDG_CACHE_HOME").or_else(|| Some(home()?.join("Library/Caches")))
    } else {
        variable("XDG_CACHE_HOME").or_else(|| Some(home()?.join(".cache")))
    };
    Some(base?.join(NAME))
}

/// Returns where the user's own configuration is, if there is any.
pub(super) fn user_config() -> Option<PathBuf> {
    let base = if cfg!(windows) {
        variable("APPDATA")
    } else if cfg!(target_os = "macos") {
        variable("XDG_CONFIG_HOME").or_else(|| Some(home()?.join("Library/Application Support")))
    } else {
        variable("XDG_CONFIG_HOME").or_else(|| Some(home()?.join(".config")))
    };
    Some(base?.join(NAME).join("config.toml"))
}

/// Returns the path `name` in the current directory, or in the nearest one above it that has it.
pub(super) fn find_upward(name: &str) -> Option<PathBuf> {
    let here = env::current_dir().ok()?;
    here.ancestors().map(|dir| dir.join(name)).find(|path| path.symlink_metadata().is_ok())
}

/// Returns the user's home directory.
pub(super) fn home() -> Option<PathBuf> {
    env::home_dir().filter(|home| home.is_absolute())
}

/// Returns the path in a variable. The XDG specification says that a relative one is to be ignored.
fn variable(name: &str) -> Option<PathBuf> {
    env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute())
}

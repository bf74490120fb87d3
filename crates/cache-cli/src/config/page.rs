//! The page of the manual that lists all settings, made from the table so that it cannot be out of date.

use std::fmt::Write;

use cache_run::project;

use crate::settings::{Files, Id, TABLE};

const HEAD: &str = "\
<!-- Generated from the code: `vitte-cache config --markdown > docs/reference/configuration.md`. -->

# Configuration

A setting is taken from the first of these that names it:

1. a flag on the command line,
2. an environment variable, if it is not empty,
3. the project file: `.vitte/config.toml` in the current directory or the nearest one above it, or the file named by `--config`,
4. the user's file: `$XDG_CONFIG_HOME/vitte-cache/config.toml`, else `~/.config/vitte-cache/config.toml`
   (macOS: `~/Library/Application Support/vitte-cache/config.toml`, Windows: `%APPDATA%\\vitte-cache\\config.toml`),
5. the default.

`vitte-cache config --show-origin` shows which one it was. A key that does not exist or a value that is not allowed is an
error that names the file, the line and the nearest key that exists.

A configuration file that belongs to another user (but root), or that everybody may write to, is ignored with a warning,
and may not name commands, unless `--trust-config` is given or `VITTE_CACHE_TRUST_CONFIG=1` is set.

`vitte-cache serve` and `vitte-cache token` belong to the machine and not to a project: they do not look for a project file, and
the file that `--config` names takes the place of the user's. It must not be one that others could have written.

Sizes are written as `500MB`, `1.5GiB` or a number of bytes; durations as `90s`, `10m`, `1h30m` or `7d`.

## Settings
";

const DEFAULT_DIR: &str = "
The default of `dir` is `$XDG_CACHE_HOME/vitte-cache`, else `~/.cache/vitte-cache` (macOS: `~/Library/Caches/vitte-cache`,
Windows: `%LOCALAPPDATA%\\vitte-cache`).

The default of `session` is made of the first of these variables that are set: ";

const SERVER: &str = "
## Server

These are for `vitte-cache serve`, and in a file they are in the table `[server]`. The [page about the server](../server.md)
says how they belong together.

```toml
dir = \"/data/cache\"
max_size = \"200GB\"

[server]
listen = [\"0.0.0.0\", \"unix:/run/vitte-cache/http.sock\"]
port = 8080
anonymous = \"read\"
```
";

const RUNS: &str = "
## Runs

A project file can describe runs, so that `vitte-cache run LABEL` is enough. They run in the directory that holds `.vitte`.
Flags on the command line replace what the table says; `-e` and `--pass-env` add to it.

```toml
[run.docs]
command = \"cargo doc --no-deps --workspace\"
inputs = [\"crates/**\", \"Cargo.lock\"]
outputs = [\"target/doc/\"]
env = [\"RUSTDOCFLAGS\"]
```

| key | form | meaning |
|---|---|---|
";

/// Returns the page.
pub(crate) fn markdown() -> String {
    let mut page = HEAD.to_owned();
    let names = crate::ci::SYSTEMS
        .iter()
        .map(|(_, names)| names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(" with "));
    let names: Vec<String> = names.collect();
    for setting in TABLE {
        if setting.id == Id::ServerPort {
            page.push_str(DEFAULT_DIR);
            let _ = writeln!(page, "{};\nelse the terminal session.", names.join(", "));
            page.push_str(SERVER);
        }
        let _ = write!(page, "\n### `{}`\n\n{}\n\n", setting.key, setting.doc);
        let _ = writeln!(page, "- Environment: `{}`", setting.env);
        if let Some(flag) = setting.flag {
            let _ = writeln!(page, "- Flag: `{flag}`");
        }
        let files = match setting.files {
            Files::Any => "project and user",
            Files::User => "user only",
            Files::None => "none",
        };
        let _ = writeln!(page, "- Files: {files}");
        let _ = writeln!(page, "- Value: {}", setting.kind.allowed());
        let _ = writeln!(page, "- Default: {}", setting.default);
    }
    page.push_str(RUNS);
    for (key, form, meaning) in project::KEYS {
        let _ = writeln!(page, "| `{key}` | {form} | {meaning} |");
    }
    page
}

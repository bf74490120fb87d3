//! `doctor`: whether the cache can do its work here, and what to do if not.

use std::env;
use std::fs;
use std::io::Write;
use std::path::Path;
use std::time::{Duration, SystemTime};

use cache_fs::FsStore;
use cache_run::{Paint, Tone, human};
use serde::Serialize;

use super::{Context, now};
use crate::args::{DoctorArgs, Globals};
use crate::failure::{self, FAILED, Result};
use crate::output::{self, Color, Painter};
use crate::place;
use crate::settings::TABLE;

/// Variables of ours that are no settings: how a run tells those below it that it is under way.
const OWN: &[&str] = &[cache_run::flight::ACTIVE_ENV];
/// How far the clock of the file system may be off before times of files mislead.
const MAX_SKEW: Duration = Duration::from_secs(2);
/// Free space below this many times the floor is worth a word.
const NEAR_FLOOR: u64 = 2;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Verdict {
    Ok,
    Warn,
    Fail,
}

/// One line of the report.
#[derive(Debug, Serialize)]
struct Check {
    verdict: Verdict,
    name: &'static str,
    /// What was found.
    found: String,
    /// What to do; empty if all is well.
    #[serde(skip_serializing_if = "str::is_empty")]
    remedy: &'static str,
}

impl Check {
    fn ok(name: &'static str, found: impl Into<String>) -> Self {
        Self { verdict: Verdict::Ok, name, found: found.into(), remedy: "" }
    }

    fn warn(name: &'static str, found: impl Into<String>, remedy: &'static str) -> Self {
        Self { verdict: Verdict::Warn, name, found: found.into(), remedy }
    }

    fn fail(name: &'static str, found: impl Into<String>, remedy: &'static str) -> Self {
        Self { verdict: Verdict::Fail, name, found: found.into(), remedy }
    }

    fn show(&self, painter: Painter) -> String {
        let verdict = match self.verdict {
            Verdict::Ok => painter.paint(Tone::Good, "ok  "),
            Verdict::Warn => painter.paint(Tone::Warn, "warn"),
            Verdict::Fail => painter.bad("fail"),
        };
        let line = format!("{verdict}  {:<13} {}", self.name, output::visible(&self.found));
        if self.remedy.is_empty() { line } else { format!("{line}\n{:20}→ {}", "", self.remedy) }
    }
}

pub(super) fn run(globals: &Globals, args: &DoctorArgs) -> Result<i32> {
    let (checks, painter) = match Context::load(globals) {
        Ok(context) => (examine(&context, globals), context.color.stdout()),
        Err(failure) => {
            let remedy = "correct it; until then no verb works";
            (vec![Check::fail("configuration", failure.message(), remedy)], Color::Auto.stdout())
        }
    };
    let mut out = output::stdout();
    for check in &checks {
        if args.json {
            output::json_line(&mut out, check)?;
        } else {
            writeln!(out, "{}", check.show(painter))?;
        }
    }
    out.flush()?;
    Ok(if checks.iter().any(|check| check.verdict == Verdict::Fail) { FAILED } else { 0 })
}

fn examine(context: &Context, globals: &Globals) -> Vec<Check> {
    let mut checks = configuration(context);
    checks.push(variables());
    checks.extend(server(globals));
    checks.push(other_caches());
    let dir = match context.config.dir() {
        Ok(dir) => dir,
        Err(error) => {
            checks.push(Check::fail("directory", error, "name a directory for the cache"));
            return checks;
        }
    };
    if dir.symlink_metadata().is_err() {
        checks.push(Check::ok(
            "directory",
            format!("{} does not exist yet; the first run creates it", dir.display()),
        ));
        return checks;
    }
    let options = place::options(&context.config, &dir);
    let read_only = place::is_write_protected(&dir);
    let store = match FsStore::open(&dir, cache_fs::Options { read_only, ..options }) {
        Ok(store) => store,
        Err(error) => {
            checks.push(Check::fail(
                "directory",
                failure::sentence(&error),
                "until then commands run uncached",
            ));
            return checks;
        }
    };
    let shown = dir.display();
    checks.push(if read_only {
        Check::warn(
            "directory",
            format!("{shown} cannot be written to"),
            "make it writable, or results are only used, never added",
        )
    } else {
        Check::ok("directory", format!("{shown} is yours and can be written to"))
    });
    checks.push(file_system(store.dir()));
    if !read_only {
        checks.extend(probe(store.dir()));
    }
    checks.extend(room(&store));
    checks.extend(formats(&store));
    checks.push(clock(&store));
    checks.extend(remote(context, &store));
    checks
}

/// Asks the remote cache, if there is one.
#[cfg(feature = "remote")]
fn remote(context: &Context, store: &FsStore) -> Vec<Check> {
    use crate::remote::{self, Target};

    /// An answer that takes longer costs more than small results are worth.
    const SLOW: Duration = Duration::from_millis(500);
    /// What the clocks may differ by: more than an answer takes, less than anybody gives a result to live.
    const CLOCKS_APART: Duration = Duration::from_secs(10);
    const NAME: &str = "remote cache";
    let target = match Target::find(&context.config, None) {
        Ok(Some(target)) => target,
        Ok(None) => return vec![Check::ok(NAME, "none is named; VITTE_REMOTE_CACHE_URL names one")],
        Err(why) => return vec![Check::warn(NAME, why, "until then only the local cache is used")],
    };
    let findings = remote::check(&target, store);
    let url = &target.url;
    let mut checks = vec![match findings.answer {
        Err(why) => Check::fail(
            NAME,
            // Most reasons name it already.
            if why.contains(url.as_str()) { why } else { format!("{url}: {why}") },
            "check the address, the network and the token; until then only the local cache is used",
        ),
        Ok(took) if took > SLOW => Check::warn(
            NAME,
            format!("{url} answers after {}", human::duration(took)),
            "use one that is nearer, or results that are small will cost more than they save",
        ),
        Ok(took) => Check::ok(NAME, format!("{url} answers after {}", human::duration(took))),
    }];
    checks.extend(findings.writes.map(|writes| match writes {
        Ok(()) => Check::ok(NAME, "results can be stored there"),
        Err(why) => Check::warn(NAME, why, "use a token that may write, or set VITTE_REMOTE_CACHE_MODE=read"),
    }));
    if let Some(apart) = findings.clocks_apart.filter(|apart| *apart > CLOCKS_APART) {
        checks.push(Check::warn(
            NAME,
            format!("its clock and that of this machine are {} apart", human::duration(apart)),
            "set both by NTP; until then results with a time to live end too early or too late",
        ));
    }
    let is_open = target.token.is_some() && target.url.starts_with("http://") && !is_loopback(&target.url);
    if is_open {
        let remedy = "use https, or everybody on the way can read the token";
        checks.push(Check::warn(NAME, "the token is sent over an open connection", remedy));
    }
    checks
}

/// Returns whether the address is one of this machine.
#[cfg(feature = "remote")]
fn is_loopback(url: &str) -> bool {
    let rest = url.trim_start_matches("http://");
    ["127.", "localhost:", "localhost/", "[::1]"].iter().any(|start| rest.starts_with(start))
        || rest == "localhost"
}

/// This program was built without remote caches.
#[cfg(not(feature = "remote"))]
fn remote(_: &Context, _: &FsStore) -> Vec<Check> {
    Vec::new()
}

fn configuration(context: &Context) -> Vec<Check> {
    let remedy = "take the file over if you trust what it says";
    let mut checks: Vec<Check> =
        context.config.warnings.iter().map(|text| Check::warn("configuration", text, remedy)).collect();
    if checks.is_empty() {
        checks.push(Check::ok("configuration", "understood; `vitte-cache config --show-origin` shows it"));
    }
    checks
}

/// Looks for variables that look like ours and are not: a misspelt limit is no limit.
fn variables() -> Check {
    let known = |name: &str| OWN.contains(&name) || TABLE.iter().any(|setting| setting.env == name);
    let mut unknown: Vec<String> = env::vars_os()
        .filter_map(|(name, _)| name.into_string().ok())
        .filter(|name| {
            let starts = ["VITTE_CACHE", "VITTE_REMOTE_CACHE", "VITTE_SERVER"];
            starts.iter().any(|start| name.starts_with(start)) && !known(name)
        })
        .collect();
    unknown.sort();
    if unknown.is_empty() {
        Check::ok("environment", "every VITTE_CACHE and VITTE_SERVER variable that is set is known")
    } else {
        let found = format!("{} means nothing to this program", unknown.join(", "));
        Check::warn("environment", found, "correct the name; `vitte-cache config` lists the settings")
    }
}

/// Looks at what `serve` would be told, if anybody has prepared anything for it.
#[cfg(feature = "server")]
fn server(globals: &Globals) -> Option<Check> {
    match super::serve::prepared(globals)? {
        Ok(found) => Some(Check::ok("server", found)),
        Err(failure) => Some(Check::fail("server", failure.message(), "until then `serve` does not start")),
    }
}

#[cfg(not(feature = "server"))]
fn server(_: &Globals) -> Option<Check> {
    None
}

/// Looks for other caches around the same compilers: then everything is stored twice, and a miss here may be a hit there.
fn other_caches() -> Check {
    const VARIABLES: [&str; 7] = [
        "CC",
        "CXX",
        "RUSTC_WRAPPER",
        "RUSTC_WORKSPACE_WRAPPER",
        "CMAKE_C_COMPILER_LAUNCHER",
        "CMAKE_CXX_COMPILER_LAUNCHER",
        "CARGO_BUILD_RUSTC_WRAPPER",
    ];
    let is_cache = |text: &str| ["ccache", "sccache"].iter().any(|name| text.contains(name));
    let mut found: Vec<String> = VARIABLES
        .iter()
        .filter_map(|name| Some(format!("{name}={}", env::var(name).ok().filter(|value| is_cache(value))?)))
        .collect();
    let path = env::var_os("PATH").unwrap_or_default();
    let in_path = env::split_paths(&path).find(|dir| dir.file_name().is_some_and(|name| name == "ccache"));
    found.extend(in_path.map(|dir| format!("{} in PATH", dir.display())));
    if found.is_empty() {
        return Check::ok("other caches", "no other compiler cache is in the way");
    }
    let remedy = "harmless, but compilers that `run` calls are cached twice; keep one of the two";
    Check::warn("other caches", found.join(", "), remedy)
}

/// File systems of the network, by the number that Linux gives them (statfs(2)).
#[cfg(target_os = "linux")]
const NETWORK: &[(u64, &str)] = &[
    (0x6969, "NFS"),
    (0xff53_4d42, "CIFS"),
    (0xfe53_4d42, "SMB 2"),
    (0x517b, "SMB"),
    (0x0102_1997, "9p"),
    (0x6573_5546, "FUSE"),
    (0x00c3_6400, "Ceph"),
];
/// Local ones worth a name.
#[cfg(target_os = "linux")]
const LOCAL: &[(u64, &str)] = &[
    (0xef53, "ext4"),
    (0x5846_5342, "XFS"),
    (0x9123_683e, "Btrfs"),
    (0x0102_1994, "tmpfs"),
    (0x794c_7630, "overlayfs"),
    (0x2fc1_2fc1, "ZFS"),
    (0xf2f5_2010, "F2FS"),
    (0xca45_1a4e, "bcachefs"),
];

#[cfg(target_os = "linux")]
fn file_system(dir: &Path) -> Check {
    // The type is signed on some processors; the magic numbers have 32 bits.
    let kind = rustix::fs::statfs(dir).map_or(0, |stat| u64::from(stat.f_type as u32));
    let named = |table: &[(u64, &'static str)]| {
        table.iter().find(|(number, _)| *number == kind).map(|(_, name)| *name)
    };
    if let Some(name) = named(NETWORK) {
        let remedy = "this works, but a local disk is much faster; move it with VITTE_CACHE_DIR";
        return Check::warn(
            "file system",
            format!("{name}: every access goes over the network or another process"),
            remedy,
        );
    }
    if kind == 0x0102_1994 {
        return Check::warn(
            "file system",
            "tmpfs: the cache is in memory and ends with the machine",
            "move it with VITTE_CACHE_DIR",
        );
    }
    Check::ok("file system", named(LOCAL).map_or_else(|| format!("type {kind:#x}"), str::to_owned))
}

#[cfg(not(target_os = "linux"))]
fn file_system(_: &Path) -> Check {
    Check::ok("file system", "not examined on this system")
}

/// Writes two files to see whether files can be cloned and whose clock stamps them.
fn probe(dir: &Path) -> Vec<Check> {
    let result = (|| {
        let probe = tempfile::tempdir_in(dir)?;
        let (one, two) = (probe.path().join("one"), probe.path().join("two"));
        let before = SystemTime::now();
        fs::write(&one, vec![1; 64 << 10])?;
        let stamp = fs::metadata(&one)?.modified()?;
        let skew = stamp.duration_since(before).unwrap_or_else(|error| error.duration());
        Ok::<_, std::io::Error>((reflink_copy::reflink(&one, &two).is_ok(), skew))
    })();
    match result {
        Err(error) => {
            vec![Check::fail(
                "writing",
                format!("cannot write a file: {error}"),
                "make room or correct the permissions",
            )]
        }
        Ok((clones, skew)) => vec![
            Check::ok(
                "restoring",
                if clones {
                    "files are cloned, which costs no room"
                } else {
                    "files are copied; Btrfs, XFS and APFS can clone them"
                },
            ),
            if skew > MAX_SKEW {
                let found = format!("the clock of the file system is off by {}", human::duration(skew));
                Check::warn(
                    "file times",
                    found,
                    "set the clocks of this machine and of the file server by NTP",
                )
            } else {
                Check::ok("file times", "the file system and this machine agree on the time")
            },
        ],
    }
}

fn room(store: &FsStore) -> Vec<Check> {
    let usage = store.usage();
    let mut checks = Vec::new();
    let size = human::size(usage.bytes);
    checks.push(match usage.max_bytes {
        None => Check::warn(
            "size",
            format!("{size}, without a limit"),
            "set VITTE_CACHE_MAX_SIZE, or it grows until the disk is full",
        ),
        Some(limit) if usage.bytes > limit => Check::warn(
            "size",
            format!("{size}, over the limit of {}", human::size(limit)),
            "run `vitte-cache gc`",
        ),
        Some(limit) => Check::ok("size", format!("{size} of {}", human::size(limit))),
    });
    let floor = store.policy().free_space_floor;
    checks.extend(usage.free.map(|free| {
        let found = format!("{} free, {} of it stay free", human::size(free), human::size(floor));
        if free < floor {
            let remedy =
                "nothing is stored until there is more room; delete something, or set VITTE_CACHE_FREE_SPACE";
            Check::fail("free space", found, remedy)
        } else if free < floor.saturating_mul(NEAR_FLOOR) {
            Check::warn("free space", found, "soon nothing is stored any more; delete something")
        } else {
            Check::ok("free space", found)
        }
    }));
    checks
}

fn formats(store: &FsStore) -> Vec<Check> {
    let notes = store.notes();
    if notes.is_empty() {
        return vec![Check::ok("format", "everything is of this version")];
    }
    let text = |note: cache_fs::Note| {
        // About the directory as a whole: why it has the layout that it has.
        if note.path == store.dir() {
            return Check::ok("format", note.text);
        }
        Check::warn(
            "format",
            format!("{}: {}", note.path.display(), note.text),
            "delete it if no newer version uses it any more",
        )
    };
    notes.into_iter().map(text).collect()
}

fn clock(store: &FsStore) -> Check {
    let last = cache_run::journal(store).map(|journal| journal.read_all()).unwrap_or_default();
    let Some(last) = last.iter().map(|record| record.at).max() else {
        return Check::ok("clock", "no run is recorded yet to compare it with");
    };
    let ahead = last.since(now());
    if ahead > MAX_SKEW {
        let found = format!("the last run was {} in the future", human::duration(ahead));
        Check::warn(
            "clock",
            found,
            "set the clock; until then results live longer or shorter than they should",
        )
    } else {
        Check::ok("clock", "it has not gone back since the last run")
    }
}

//! Settings: which one wins, and what is said about wrong ones.

use std::fs;
use std::path::PathBuf;

use serde_json::Value;

use crate::support::{Place, finish};

/// Where the user's own file is below a home directory.
pub(crate) fn user_file() -> &'static str {
    if cfg!(windows) {
        "vitte-cache/config.toml"
    } else if cfg!(target_os = "macos") {
        "Library/Application Support/vitte-cache/config.toml"
    } else {
        ".config/vitte-cache/config.toml"
    }
}

fn setting(place: &Place, line: &str, name: &str) -> (String, String) {
    let all: Value = place.run(&format!("config --json {line}")).ok().json();
    let text = |field: &str| all[name][field].as_str().unwrap().to_owned();
    (text("value"), text("origin"))
}

#[test]
fn flag_environment_project_user_default() {
    let place = Place::new();
    assert_eq!(setting(&place, "", "namespace"), ("default".into(), "default".into()));
    place.write(user_file(), "namespace = 'from-user'\nlow_water = 70\n");
    assert_eq!(setting(&place, "", "namespace"), ("from-user".into(), "file".into()));
    place.write("work/.vitte/config.toml", "namespace = 'from-project'\n");
    assert_eq!(setting(&place, "", "namespace"), ("from-project".into(), "file".into()));
    assert_eq!(setting(&place, "", "low_water"), ("70".into(), "file".into()));
    let mut command = place.command(["config", "--json"]);
    let all = finish(command.env("VITTE_CACHE_NAMESPACE", "from-env")).ok().json();
    assert_eq!(
        (all["namespace"]["value"].as_str(), all["namespace"]["source"].as_str()),
        (Some("from-env"), Some("VITTE_CACHE_NAMESPACE"))
    );
    let mut command = place.command(["config", "--json", "--namespace", "from-flag"]);
    let all = finish(command.env("VITTE_CACHE_NAMESPACE", "from-env")).ok().json();
    assert_eq!(
        (all["namespace"]["value"].as_str(), all["namespace"]["origin"].as_str()),
        (Some("from-flag"), Some("flag"))
    );
}

#[test]
fn the_nearest_project_file_counts_and_its_line_is_shown() {
    let place = Place::new();
    place.write("work/.vitte/config.toml", "# ours\n\nmax_size = '5 GB'\n");
    fs::create_dir_all(place.work.join("deep/er")).unwrap();
    let mut command = place.command(["config", "--show-origin"]);
    let shown = finish(command.current_dir(place.work.join("deep/er"))).ok().stdout;
    let line = shown.lines().find(|line| line.starts_with("max_size")).unwrap();
    let file = place.work.join(".vitte/config.toml");
    assert!(line.contains("5.0 GB") && line.ends_with(&format!("{}:3", file.display())), "{line}");
    place.write("work/deep/.vitte/config.toml", "max_size = '6 GB'\n");
    let mut command = place.command(["config"]);
    let shown = finish(command.current_dir(place.work.join("deep/er"))).ok().stdout;
    assert!(shown.contains("6.0 GB") && !shown.contains("5.0 GB"), "{shown}");
}

#[test]
fn a_directory_in_a_project_file_lies_in_the_project() {
    let place = Place::new();
    place.write("work/.vitte/config.toml", "dir = 'build/cache'\n");
    fs::create_dir(place.work.join("sub")).unwrap();
    let mut command = place.command(["put", "key"]);
    finish(command.current_dir(place.work.join("sub")).env_remove("VITTE_CACHE_DIR")).ok();
    assert!(place.work.join("build/cache/CACHEDIR.TAG").exists());
    assert!(!place.cache.exists());
}

#[test]
fn the_default_directory_is_the_users() {
    let place = Place::new();
    let mut command = place.command(["put", "key"]);
    finish(command.env_remove("VITTE_CACHE_DIR")).ok();
    let below = if cfg!(windows) {
        "vitte-cache"
    } else if cfg!(target_os = "macos") {
        "Library/Caches/vitte-cache"
    } else {
        ".cache/vitte-cache"
    };
    assert!(place.root.join(below).join("CACHEDIR.TAG").exists());
}

#[test]
fn mistakes_in_files_and_variables_are_explained() {
    let place = Place::new();
    let file = |text: &str| place.write("work/.vitte/config.toml", text);
    let says = |path: &PathBuf, rest: &str| format!("vitte-cache: {}:{rest}\n", path.display());
    for (text, rest) in [
        ("\nmax_sise = 1\n", "2: there is no setting `max_sise`; did you mean `max_size`?"),
        ("low_water = 500", "1: `low_water`: `500` is not allowed: write a percentage from 1 to 100"),
        ("[run.docs]\ninput = []\n", "2: `input` is no key of a [run] table; did you mean `inputs`?"),
        (
            "dir = '/elsewhere'",
            "1: `dir`: a project can only choose a directory inside itself; write a relative path without `..`, or set VITTE_CACHE_DIR",
        ),
    ] {
        let path = file(text);
        let done = place.run("ls").code(2);
        assert_eq!(done.stderr, says(&path, rest), "{text}");
        // It may change what a result depends on, so nothing is run.
        let done = place.run("run --ttl 1h -- true").code(125);
        assert_eq!(done.stderr, says(&path, rest), "{text}");
    }
    file("");
    for (name, value, sentence) in [
        ("VITTE_CACHE", "readonly", "`readonly` is not allowed: write off, ro, rw or refresh"),
        ("VITTE_CACHE_MAX_SIZE", "0", "`0` is not allowed: write a size such as 500MB or 1.5GiB, or none"),
        (
            "VITTE_CACHE_MAX_AGE_DAYS",
            "month",
            "`month` is not allowed: write a number of days from 1, or none",
        ),
        ("VITTE_CACHE_TRUST_DIR", "perhaps", "`perhaps` is not allowed: write true or false"),
    ] {
        for (line, code) in [("ls", 2), ("run --ttl 1h -- true", 125)] {
            let done = finish(place.command(line.split(' ')).env(name, value)).code(code);
            assert_eq!(done.stderr, format!("vitte-cache: {name}: {sentence}\n"));
        }
    }
    // Set to nothing means not set.
    finish(place.command(["ls"]).env("VITTE_CACHE_MAX_SIZE", "")).ok();
}

#[test]
fn a_file_that_is_named_must_be_there() {
    let place = Place::new();
    let done = place.run("ls --config nowhere.toml").code(2);
    assert!(done.stderr.starts_with("vitte-cache: there is no file "), "{done:?}");
    place.write("work/other.toml", "namespace = 'other'\n");
    assert_eq!(setting(&place, "--config other.toml", "namespace").0, "other");
}

#[test]
fn limits_reach_the_store() {
    let place = Place::new();
    for key in ["a", "b", "c", "d"] {
        finish(place.command(["put", key]).env("VITTE_CACHE_MAX_SIZE", "123MB")).ok();
    }
    let du = finish(place.command(["du", "--json"]).env("VITTE_CACHE_MAX_SIZE", "123MB")).ok().json();
    assert_eq!((du["max_bytes"].as_u64(), du["entries"].as_u64()), (Some(123_000_000), Some(4)));
    let du = finish(place.command(["du", "--json"]).env("VITTE_CACHE_MAX_SIZE", "none")).ok().json();
    assert!(du["max_bytes"].is_null());
    finish(place.command(["put", "dying"]).env("VITTE_CACHE_TTL", "1ms")).ok();
    // The default time to live is counted from the put; by the time the next process looks, a millisecond is over.
    place.run("get dying").code(1);
}

/// A project file that everybody may write to is somebody else's word.
#[cfg(unix)]
mod trust {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    fn planted(place: &Place) -> PathBuf {
        let path = place.write(
            "work/.vitte/config.toml",
            "namespace = 'planted'\n[run.it]\ncommand = 'touch done'\nttl = '1h'\n",
        );
        fs::set_permissions(&path, fs::Permissions::from_mode(0o666)).unwrap();
        path
    }

    #[test]
    fn it_is_ignored_with_a_warning() {
        let place = Place::new();
        let path = planted(&place);
        let done = place.run("config --json").ok();
        assert_eq!(done.json()["namespace"]["value"], "default");
        let start = format!(
            "vitte-cache: warning: {} is ignored because everybody may write to it; ",
            path.display()
        );
        assert!(done.stderr.starts_with(&start) && done.stderr.lines().count() == 1, "{done:?}");
    }

    #[test]
    fn it_may_not_name_commands() {
        let place = Place::new();
        planted(&place);
        let done = place.run("run it").code(125);
        assert!(done.stderr.contains("may not name commands because everybody may write to it"), "{done:?}");
        assert!(!place.work.join("done").exists());
        // A command of one's own runs all the same.
        let done = place.run("run -q --ttl 1h -- touch own").ok();
        assert!(place.work.join("own").exists() && done.stderr.is_empty(), "{done:?}");
    }

    #[test]
    fn unless_the_user_says_so() {
        for by_flag in [true, false] {
            let place = Place::new();
            planted(&place);
            let mut command =
                place.command(if by_flag { vec!["run", "--trust-config", "it"] } else { vec!["run", "it"] });
            if !by_flag {
                command.env("VITTE_CACHE_TRUST_CONFIG", "1");
            }
            finish(&mut command).ok();
            assert!(place.work.join("done").exists());
        }
    }

    #[test]
    fn a_directory_that_everybody_may_write_to_is_no_better() {
        let place = Place::new();
        let path = place.write("work/.vitte/config.toml", "[run.it]\ncommand = 'touch done'\nttl = '1h'\n");
        fs::set_permissions(path.parent().unwrap(), fs::Permissions::from_mode(0o777)).unwrap();
        assert!(place.run("run it").code(125).stderr.contains("everybody may write to its directory"));
    }

    #[test]
    fn tables_run_in_the_project_and_flags_replace_them() {
        let place = Place::new();
        place.write(
            "work/.vitte/config.toml",
            "[run.copy]\ncommand = 'cp in out'\ninputs = ['in']\noutputs = ['out']\n",
        );
        place.write("work/in", "1");
        fs::create_dir(place.work.join("sub")).unwrap();
        let status = |arguments: &[&str]| {
            let mut command = place.command(["run", "--status=json"].iter().chain(arguments));
            let done = finish(command.current_dir(place.work.join("sub"))).ok();
            serde_json::from_str::<Value>(&done.stderr).unwrap()
        };
        let first = status(&["copy"]);
        assert_eq!((first["label"].as_str(), first["outcome"].as_str()), (Some("copy"), Some("miss")));
        fs::remove_file(place.work.join("out")).unwrap();
        assert_eq!(status(&["copy"])["outcome"], "hit");
        assert_eq!(place.read("out"), b"1");
        assert_eq!(status(&["copy", "-n", "other"])["label"], "other");
        assert_eq!(status(&["copy", "--salt", "2"])["outcome"], "miss");
        assert_eq!(status(&["copy", "-o", "copy", "--", "cp", "in", "copy"])["outcome"], "miss");
        assert_eq!(place.read("copy"), b"1");
        let unknown = place.run("run cpy").code(125);
        assert!(
            unknown.stderr.contains("there is no [run.cpy] in ")
                && unknown.stderr.contains("did you mean `copy`?")
        );
    }

    #[test]
    fn the_environment_stands_above_a_table() {
        let place = Place::new();
        place.write("work/.vitte/config.toml", "[run.it]\ncommand = 'echo'\nttl = '1h'\nmin_time = '1h'\n");
        let status = |min_time: Option<&str>| {
            let mut command = place.command(["run", "--status=json", "it"]);
            let done = finish(command.envs(min_time.map(|time| ("VITTE_CACHE_MIN_TIME", time)))).ok();
            serde_json::from_str::<Value>(&done.stderr).unwrap()["outcome"].clone()
        };
        assert_eq!(status(None), "not-stored");
        assert_eq!(status(Some("0s")), "miss");
    }
}

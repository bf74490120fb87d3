//! What comes back, and what it does to the tree.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, SystemTime};

use crate::support::{Lab, mode, write};

#[test]
fn a_tree_comes_back_as_it_was() {
    let lab = Lab::new();
    lab.write("in", "x");
    let script = "mkdir -p out/sub/empty out/deep/er; echo a > out/a; echo b > out/deep/er/b; chmod 755 out/a; \
                  chmod 600 out/deep/er/b; ln -s a out/link; ln -s /nowhere/at/all out/dangling; ln -s ../sub out/deep/dir; \
                  : > out/zero; head -c 3000000 /dev/zero > out/big";
    let flags = ["-i", "in", "-o", "out/"];
    lab.sh(&flags, script).expect("miss");
    fs::rename(lab.path("out"), lab.path("first")).unwrap();
    lab.sh(&flags, script).expect("hit");
    let diff = Command::new("diff")
        .args(["-r", "--no-dereference", "first", "out"])
        .current_dir(&lab.work)
        .output()
        .unwrap();
    assert!(diff.status.success(), "{}", String::from_utf8_lossy(&diff.stdout));
    for path in ["a", "deep/er/b", "zero", "big"] {
        assert_eq!(mode(&lab.path("first").join(path)), mode(&lab.path("out").join(path)), "{path}");
    }
    assert!(lab.path("out/sub/empty").is_dir());
    assert_eq!(fs::read_link(lab.path("out/dangling")).unwrap().to_str(), Some("/nowhere/at/all"));
}

#[test]
fn only_an_owned_directory_loses_what_is_stale() {
    let lab = Lab::new();
    lab.write("in", "x");
    let script = "mkdir -p owned kept; echo 1 > owned/a; echo 2 > kept/a";
    let flags = ["-i", "in", "-o", "owned/", "-o", "kept"];
    lab.sh(&flags, script).expect("miss");
    for path in ["owned/stale", "owned/old/stale", "kept/mine"] {
        lab.write(path, "mine");
    }
    symlink("/etc", lab.path("owned/etc")).unwrap();
    lab.sh(&flags, script).expect("hit");
    assert!(!lab.path("owned/stale").exists() && !lab.path("owned/old").exists());
    assert!(fs::symlink_metadata(lab.path("owned/etc")).is_err() && fs::metadata("/etc").is_ok());
    assert_eq!(lab.read("kept/mine"), "mine");
}

#[test]
fn streams_and_exit_code_are_replayed() {
    let lab = Lab::new();
    lab.write("in", "x");
    let script = "printf 'out\\0\\377'; printf 'err\\n' >&2; printf more; exit 3";
    let flags = ["-i", "in", "--cache-failures"];
    let miss = lab.sh(&flags, script).expect("miss");
    let hit = lab.sh(&flags, script).expect("hit");
    assert_eq!((miss.code, &miss.stdout[..]), (3, &b"out\0\xffmore"[..]));
    assert_eq!((hit.code, &hit.stdout), (3, &miss.stdout));
    assert!(hit.stderr.starts_with("err\n"));
}

#[test]
fn interleaved_streams_keep_their_order() {
    let lab = Lab::new();
    lab.write("in", "x");
    let script = "for i in 1 2 3 4 5 6 7 8; do echo out$i; echo err$i >&2; done";
    let both = |lab: &Lab| {
        let log = lab.path("log");
        let file = fs::File::create(&log).unwrap();
        let mut command = lab.command();
        command.args(["run", "-q", "-i", "in", "--", "sh", "-c", script]);
        let status = command.stdout(file.try_clone().unwrap()).stderr(file).status().unwrap();
        assert!(status.success());
        fs::read_to_string(log).unwrap()
    };
    // In which order the first run saw them is up to the scheduler; the second tells the same story.
    let first = both(&lab);
    assert_eq!(first.lines().count(), 16);
    assert_eq!(both(&lab), first);
}

#[test]
fn a_reader_that_goes_away_is_no_failure_of_the_cache() {
    let lab = Lab::new();
    lab.write("in", "x");
    for _ in 0..3 {
        let exe = env!("CARGO_BIN_EXE_vitte-cache");
        let line = format!("'{exe}' run -q -i in -- sh -c 'yes | head -c 5000000' | head -c 10");
        let output = lab.command_line(&line);
        assert_eq!(output.stdout.len(), 10, "{}", String::from_utf8_lossy(&output.stderr));
        assert!(output.stderr.is_empty(), "{}", String::from_utf8_lossy(&output.stderr));
    }
}

#[test]
fn output_that_cannot_be_written_is_a_failure_on_a_miss_and_on_a_hit() {
    let lab = Lab::new();
    lab.write("in", "x");
    let exe = env!("CARGO_BIN_EXE_vitte-cache");
    let line = format!("'{exe}' run -q -i in -- echo result");
    let full = |lab: &Lab| lab.command_line(&format!("{line} > /dev/full")).status.code();
    assert_ne!(full(&lab), Some(0));
    assert_eq!(lab.command_line(&line).stdout, b"result\n");
    assert_eq!(lab.command_line(&line).stdout, b"result\n");
    assert_ne!(full(&lab), Some(0));
}

#[test]
fn what_is_right_already_stays_in_place() {
    use std::os::unix::fs::MetadataExt;
    let lab = Lab::new();
    lab.write("in", "x");
    let (flags, script) = (["-i", "in", "-o", "a", "-o", "b"], "echo 1 > a; echo 2 > b");
    lab.sh(&flags, script).expect("miss");
    let inode = |path: &str| fs::metadata(lab.path(path)).unwrap().ino();
    let before = (inode("a"), inode("b"));
    lab.write("b", "tampered");
    lab.sh(&flags, script).expect("hit");
    assert_eq!((inode("a"), lab.read("b").as_str()), (before.0, "2\n"));
}

#[test]
fn make_has_nothing_to_do_after_a_hit() {
    let lab = Lab::new();
    let exe = env!("CARGO_BIN_EXE_vitte-cache");
    lab.write("in", "x");
    lab.write(
        "Makefile",
        format!(
            "all: final\nout: in\n\t{exe} run -q -i in -o out -- cp in out\nfinal: out\n\tcp out final\n"
        ),
    );
    let make = || String::from_utf8(lab.command_line("make").stdout).unwrap();
    make();
    let later = SystemTime::now() + Duration::from_secs(5);
    let touch = |path: &str, time| {
        fs::File::options().append(true).open(lab.path(path)).unwrap().set_modified(time).unwrap();
    };
    // The source was touched, its content is the same: one hit, and then silence.
    touch("out", later - Duration::from_hours(2));
    touch("final", later - Duration::from_hours(1));
    touch("in", later - Duration::from_mins(30));
    assert!(make().contains("run -q"));
    assert!(make().contains("Nothing to be done"));
}

#[test]
fn modification_times_on_request() {
    let lab = Lab::new();
    lab.write("in", "x");
    let (flags, script) = (
        ["-i", "in", "-o", "out", "--mtime", "preserve"],
        "echo 1 > out; touch -d '2001-02-03 04:05:06Z' out",
    );
    lab.sh(&flags, script).expect("miss");
    let wanted = fs::metadata(lab.path("out")).unwrap().modified().unwrap();
    fs::remove_file(lab.path("out")).unwrap();
    lab.sh(&flags, script).expect("hit");
    assert_eq!(fs::metadata(lab.path("out")).unwrap().modified().unwrap(), wanted);
}

#[test]
fn hard_links_on_request_are_read_only() {
    use std::os::unix::fs::MetadataExt;
    let lab = Lab::new();
    // Large enough to have a file of its own in the cache, whatever its layout.
    lab.write("in", "x");
    let (flags, script) =
        (["-i", "in", "-o", "out", "--restore", "hardlink-ro"], "head -c 400000 /dev/zero > out");
    lab.sh(&flags, script).expect("miss");
    fs::remove_file(lab.path("out")).unwrap();
    lab.sh(&flags, script).expect("hit");
    let metadata = fs::metadata(lab.path("out")).unwrap();
    assert_eq!((mode(&lab.path("out")), metadata.nlink()), (0o444, 2));
    // The command itself writes in place, and gets a file of its own for that.
    lab.write("in", "y");
    lab.sh(&flags, script).expect("miss");
    assert_eq!((mode(&lab.path("out")), lab.read("out")), (0o644, "\0".repeat(400_000)));
    lab.write("in", "x");
    fs::remove_file(lab.path("out")).unwrap();
    lab.sh(&flags, script).expect("hit");
    // Somebody writes through the link in spite of it: that result is lost, and nobody gets wrong bytes.
    fs::set_permissions(lab.path("out"), std::os::unix::fs::PermissionsExt::from_mode(0o644)).unwrap();
    fs::write(lab.path("out"), "2\n").unwrap();
    fs::remove_file(lab.path("out")).unwrap();
    lab.sh(&flags, script).expect("miss");
    assert_eq!(lab.read("out"), "\0".repeat(400_000));
}

#[test]
fn hard_links_do_not_mix_up_modes() {
    let lab = Lab::new();
    lab.write("in", "x");
    let flags = ["-i", "in", "-o", "out/", "--restore", "hardlink-ro"];
    let script = "mkdir -p out; for f in run text mine; do echo same > out/$f; done; chmod 755 out/run; chmod 644 out/text; \
                  chmod 600 out/mine";
    lab.sh(&flags, script).expect("miss");
    for _ in 0..2 {
        fs::remove_dir_all(lab.path("out")).unwrap();
        lab.sh(&flags, script).expect("hit");
        let modes = ["run", "text", "mine"].map(|name| mode(&lab.path("out").join(name)) & 0o511);
        assert_eq!(modes, [0o511, 0o400, 0o400]);
        assert_eq!(mode(&lab.path("out/mine")) & 0o077, 0, "what was private stays private");
    }
}

#[test]
fn links_in_the_way_do_not_lead_a_restore_elsewhere() {
    let lab = Lab::new();
    lab.write("in", "x");
    let (flags, script) = (["-i", "in", "-o", "out/"], "rm -rf out; mkdir -p out/d; echo new > out/d/f");
    lab.sh(&flags, script).expect("miss");
    let outside = lab.other_tree("outside");
    write(&outside.join("f"), "precious");
    fs::remove_dir_all(lab.path("out/d")).unwrap();
    symlink(&outside, lab.path("out/d")).unwrap();
    // The command itself would have replaced the link, and so it does.
    lab.sh(&flags, script).expect("miss");
    assert_eq!(fs::read_to_string(outside.join("f")).unwrap(), "precious");
    assert_eq!(lab.read("out/d/f"), "new\n");
    // A link in place of the file is replaced, not written through.
    fs::remove_file(lab.path("out/d/f")).unwrap();
    symlink(outside.join("f"), lab.path("out/d/f")).unwrap();
    lab.sh(&flags, script).expect("hit");
    assert_eq!(fs::read_to_string(outside.join("f")).unwrap(), "precious");
    assert_eq!(lab.read("out/d/f"), "new\n");
}

#[test]
fn a_restore_is_all_or_nothing() {
    for lab in Lab::of_each_layout() {
        lab.write("in", "x");
        let flags = ["-i", "in", "-o", "out/"];
        let script = "mkdir -p out; cat out/* > seen 2>/dev/null; echo aaaa > out/a; echo bbbb > out/b";
        lab.sh(&flags, script).expect("miss");
        fs::write(lab.path("out/a"), "mine a,").unwrap();
        fs::write(lab.path("out/b"), "mine b").unwrap();
        // The content of one of both is damaged. The tree that the command then sees must be untouched by the other.
        let damage = |path: &PathBuf| {
            let mut content = fs::read(path).unwrap();
            let blob = content.windows(5).position(|window| window == b"bbbb\n");
            let Some(at) = blob else { return false };
            content[at] = b'B';
            fs::write(path, content).is_ok()
        };
        assert_eq!(lab.stored_files("-v1/").into_iter().filter(damage).count(), 1);
        lab.sh(&flags, script).expect("miss");
        assert_eq!(lab.read("seen"), "mine a,mine b");
        assert_eq!((lab.read("out/a"), lab.read("out/b")), ("aaaa\n".to_owned(), "bbbb\n".to_owned()));
    }
}

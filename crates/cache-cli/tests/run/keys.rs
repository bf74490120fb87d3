//! What is part of the key, and what is not.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};

use crate::support::{Lab, write};

#[test]
fn the_second_run_is_restored_byte_for_byte() {
    let lab = Lab::new();
    lab.write("in.txt", "b\na\n");
    let script = "sort in.txt > out.txt; echo to-out; echo to-err >&2";
    let flags = ["-n", "sort", "-i", "in.txt", "-o", "out.txt"];
    let miss = lab.sh(&flags, script).expect("miss");
    assert_eq!((miss.reasons().as_str(), &miss.stdout[..]), ("first run", &b"to-out\n"[..]));
    fs::remove_file(lab.path("out.txt")).unwrap();
    let hit = lab.sh(&flags, script).expect("hit");
    assert_eq!(lab.read("out.txt"), "a\nb\n");
    assert_eq!(hit.stdout, b"to-out\n");
    assert!(hit.stderr.starts_with("to-err\n"), "{}", hit.stderr);
}

#[test]
fn each_part_of_the_key_makes_a_miss_with_its_name() {
    let lab = Lab::new();
    lab.write("src/a", "1");
    lab.write("src/b", "2");
    let base = ["-n", "t", "-i", "src/**", "-e", "MODE", "-o", "out"];
    let script = "cat src/* > out";
    let run = |extra: &[&str], script: &str, mode: &str| {
        let flags = base.iter().chain(extra).copied().chain(["--", "sh", "-c", script]);
        crate::support::Ran::from(lab.run_command(flags).env("MODE", mode).output().unwrap())
    };
    run(&[], script, "dev").expect("miss");
    run(&[], script, "dev").expect("hit");
    let named = |ran: crate::support::Ran, reason: &str| assert_eq!(ran.expect("miss").reasons(), reason);
    named(run(&[], script, "prod"), "MODE changed");
    named(run(&[], "cat src/a src/b > out", "dev"), "argument 2 changed");
    named(run(&["--salt", "x"], script, "dev"), "salt changed");
    named(run(&["-o", "out2"], "cat src/* > out; cp out out2", "dev"), "argument 2 changed, outputs changed");
    lab.write("src/a", "3");
    named(run(&[], script, "dev"), "src/a changed");
    lab.write("src/new", "4");
    named(run(&[], script, "dev"), "src/new added");
    fs::remove_file(lab.path("src/b")).unwrap();
    named(run(&[], script, "dev"), "src/b removed");
    fs::set_permissions(lab.path("src/a"), fs::Permissions::from_mode(0o755)).unwrap();
    named(run(&[], script, "dev"), "src/a changed");
    run(&[], script, "dev").expect("hit");
}

#[test]
fn a_link_is_keyed_by_its_target() {
    let lab = Lab::new();
    lab.write("src/a", "same");
    lab.write("src/b", "same");
    symlink("a", lab.path("src/link")).unwrap();
    let flags = ["-i", "src/**"];
    lab.sh(&flags, "readlink src/link").expect("miss");
    assert_eq!(lab.sh(&flags, "readlink src/link").expect("hit").stdout, b"a\n");
    fs::remove_file(lab.path("src/link")).unwrap();
    symlink("b", lab.path("src/link")).unwrap();
    assert_eq!(lab.sh(&flags, "readlink src/link").expect("miss").stdout, b"b\n");
}

#[test]
fn undeclared_variables_are_not_seen() {
    let lab = Lab::new();
    lab.write("in", "x");
    let run = |flags: &[&str]| {
        let args = flags.iter().copied().chain(["--", "sh", "-c", "echo [$SECRET_THING]"]);
        let mut command = lab.run_command(args);
        crate::support::Ran::from(command.env("SECRET_THING", "s3cr3t").output().unwrap()).stdout
    };
    assert_eq!(run(&["-i", "in"]), b"[]\n");
    assert_eq!(run(&["-i", "in", "-e", "SECRET_*"]), b"[s3cr3t]\n");
    assert_eq!(run(&["-i", "in", "--pass-env", "SECRET_THING"]), b"[s3cr3t]\n");
    assert_eq!(run(&["-i", "in", "--env-mode", "loose"]), b"[s3cr3t]\n");
}

#[test]
fn secrets_are_neither_stored_nor_shown() {
    let lab = Lab::new();
    lab.write("in", "x");
    for token in ["hunter2-first", "hunter2-second"] {
        let args = [
            "-n",
            "t",
            "-i",
            "in",
            "-e",
            "API_TOKEN",
            "--explain",
            "--",
            "sh",
            "-c",
            "true",
            "--password=hunter2-arg",
        ];
        let output = lab.run_command(args).env("API_TOKEN", token).output().unwrap();
        assert!(!String::from_utf8_lossy(&output.stderr).contains("hunter2"));
    }
    let why = lab.command().args(["why", "t"]).output().unwrap();
    let text = String::from_utf8_lossy(&why.stdout).into_owned();
    assert!(text.contains("API_TOKEN") && !text.contains("hunter2"), "{text}");
    for file in lab.stored_files("") {
        let content = fs::read(&file).unwrap();
        let leaked = content.windows(7).any(|window| window == b"hunter2");
        assert!(!leaked, "{}", file.display());
    }
}

#[test]
fn checkouts_at_different_paths_share_results() {
    let lab = Lab::new();
    let script = "cat in/* > out; mkdir -p d; cp out d/copy";
    for tree in ["one", "two/deeper"] {
        let tree = lab.other_tree(tree);
        fs::create_dir_all(tree.join(".git")).unwrap();
        write(&tree.join("sub/in/a"), "content");
    }
    let run = |tree: &str| {
        let args = ["-i", "in/**", "-o", "out", "-o", "d/", "--", "sh", "-c", script];
        let mut command = lab.run_command(args);
        crate::support::Ran::from(command.current_dir(lab.other_tree(tree).join("sub")).output().unwrap())
    };
    run("one").expect("miss");
    run("two/deeper").expect("hit");
    assert_eq!(fs::read(lab.other_tree("two/deeper").join("sub/d/copy")).unwrap(), b"content");
}

#[test]
fn a_result_with_the_path_of_its_checkout_is_not_shared() {
    let lab = Lab::new();
    for tree in ["one", "two"] {
        write(&lab.other_tree(tree).join("in"), "same");
    }
    let run = |tree: &str, script: &str| {
        let mut command = lab.run_command(["-i", "in", "-o", "out", "--", "sh", "-c", script]);
        crate::support::Ran::from(command.current_dir(lab.other_tree(tree)).output().unwrap())
    };
    for script in ["pwd > out", ": > out; pwd"] {
        run("one", script).expect("miss");
        assert!(run("two", script).expect("miss").reasons().contains("another checkout"));
        // Both results live side by side.
        let (one, two) = (run("one", script).expect("hit"), run("two", script).expect("hit"));
        let path_of = |tree: &str| fs::read_to_string(lab.other_tree(tree).join("out")).unwrap();
        let printed = |ran: &crate::support::Ran| String::from_utf8_lossy(&ran.stdout).into_owned();
        for (tree, ran) in [("one", &one), ("two", &two)] {
            let text = path_of(tree) + &printed(ran);
            assert_eq!(text.trim(), lab.other_tree(tree).to_str().unwrap());
        }
    }
}

#[test]
fn names_that_are_not_unicode() {
    use std::os::unix::ffi::OsStrExt;
    let lab = Lab::new();
    let name = std::ffi::OsStr::from_bytes(b"in/\xff\xfe name\n");
    write(&lab.work.join(name), "content");
    let flags = ["-i", "in/**", "-o", "out/"];
    let script = "mkdir -p out; cp in/* out/; ln -sf \"$(printf '\\377')\" out/link";
    lab.sh(&flags, script).expect("miss");
    fs::remove_dir_all(lab.path("out")).unwrap();
    lab.sh(&flags, script).expect("hit");
    let restored = lab.work.join("out").join(std::ffi::OsStr::from_bytes(b"\xff\xfe name\n"));
    assert_eq!(fs::read(restored).unwrap(), b"content");
    assert_eq!(fs::read_link(lab.path("out/link")).unwrap().as_os_str().as_bytes(), b"\xff");
}

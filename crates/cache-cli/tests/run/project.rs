//! A real C project: the zstd library, whose source comes with one of our dependencies.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::support::{Lab, Ran};

/// A header that some files include, not all, and most of them by way of others.
const HEADER: &str = "compress/zstd_compress_internal.h";

fn source() -> PathBuf {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    // What only other platforms need may not have been downloaded.
    let about = Command::new("rustc").arg("-vV").output().unwrap();
    let about = String::from_utf8(about.stdout).unwrap();
    let host = about.lines().find_map(|line| line.strip_prefix("host: ")).unwrap();
    let output = Command::new(cargo)
        .args(["metadata", "--format-version", "1", "--offline", "--locked", "--filter-platform", host])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let metadata: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let packages = metadata["packages"].as_array().unwrap();
    let package = packages.iter().find(|package| package["name"] == "zstd-sys").unwrap();
    Path::new(package["manifest_path"].as_str().unwrap()).parent().unwrap().join("zstd/lib")
}

fn compile(lab: &Lab, file: &str) -> Ran {
    let stem = file.strip_suffix(".c").unwrap();
    let (object, deps) = (format!("{stem}.o"), format!("{stem}.d"));
    let gcc =
        ["gcc", "-DZSTD_DISABLE_ASM", "-I.", "-Icommon", "-MD", "-MF", &deps, "-c", file, "-o", &object];
    let flags = ["-n", file, "--depfile", &deps, "-i", file, "-o", &object, "--"];
    let ran = lab.run(flags.iter().chain(&gcc));
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    ran
}

/// Compiles everything and returns which files were really compiled.
fn build<'f>(lab: &Lab, files: &'f [String]) -> BTreeSet<&'f str> {
    let (left, right) = files.split_at(files.len() / 2);
    let missed = |files: &'f [String]| -> Vec<&'f str> {
        files.iter().filter(|file| compile(lab, file).outcome() == "miss").map(String::as_str).collect()
    };
    std::thread::scope(|scope| {
        let other = scope.spawn(|| missed(right));
        missed(left).into_iter().chain(other.join().unwrap()).collect()
    })
}

fn objects(lab: &Lab, files: &[String]) -> Vec<Vec<u8>> {
    files.iter().map(|file| fs::read(lab.path(&file.replace(".c", ".o"))).unwrap()).collect()
}

#[test]
fn exactly_what_includes_a_header_is_compiled_again() {
    let lab = Lab::new();
    let copied = Command::new("cp").arg("-rL").arg(source().join(".")).arg(&lab.work).status().unwrap();
    assert!(copied.success());
    let mut files = Vec::new();
    for dir in ["common", "compress", "decompress", "dictBuilder"] {
        for entry in fs::read_dir(lab.path(dir)).unwrap() {
            let name = entry.unwrap().file_name().into_string().unwrap();
            if Path::new(&name).extension().is_some_and(|extension| extension == "c") {
                files.push(format!("{dir}/{name}"));
            }
        }
    }
    assert!(files.len() > 25, "{files:?}");
    let all: BTreeSet<&str> = files.iter().map(String::as_str).collect();
    assert_eq!(build(&lab, &files), all);
    let first = objects(&lab, &files);

    for file in &files {
        fs::remove_file(lab.path(&file.replace(".c", ".o"))).unwrap();
    }
    assert_eq!(build(&lab, &files), BTreeSet::new());
    assert!(objects(&lab, &files) == first, "restored objects differ");

    // The compiler says, without us, what depends on the header.
    let depends = |file: &&str| {
        let output = Command::new("gcc")
            .args(["-DZSTD_DISABLE_ASM", "-I.", "-Icommon", "-MM", file])
            .current_dir(&lab.work)
            .output();
        String::from_utf8(output.unwrap().stdout).unwrap().contains(HEADER)
    };
    let expected: BTreeSet<&str> = all.iter().copied().filter(depends).collect();
    assert!(!expected.is_empty() && expected.len() < all.len());
    let header = lab.read(HEADER);
    lab.write(HEADER, format!("{header}\n/* changed */\n"));
    assert_eq!(build(&lab, &files), expected);
    lab.write(HEADER, header);
    assert_eq!(build(&lab, &files), BTreeSet::new());
}

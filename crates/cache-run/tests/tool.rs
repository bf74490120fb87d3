//! The identity of programs: what changes it, and what does not.
#![cfg(unix)]
#![allow(clippy::unwrap_used, reason = "a helper of a test fails the test")]

use std::ffi::OsString;
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::PathBuf;
use std::sync::Arc;

use cache_core::{Digest, SystemClock};
use cache_run::environment::{EnvMode, Environment};
use cache_run::memory::Memory;
use cache_run::tool::{Invocation, ToolError, ToolIdentity, ToolMode, identify};

/// A small machine: a `PATH` of one directory, a home, a working directory.
struct Machine {
    root: tempfile::TempDir,
    vars: Vec<(OsString, OsString)>,
}

impl Machine {
    fn new() -> Self {
        let root = tempfile::tempdir().unwrap();
        for dir in ["bin", "home", "work/deep/er"] {
            fs::create_dir_all(root.path().join(dir)).unwrap();
        }
        let at = |dir: &str| root.path().join(dir).into_os_string();
        let vars = vec![("PATH".into(), at("bin")), ("HOME".into(), at("home"))];
        Self { root, vars }
    }

    fn at(&self, path: &str) -> PathBuf {
        self.root.path().join(path)
    }

    fn write(&self, path: &str, content: &str) -> PathBuf {
        let path = self.at(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, content).unwrap();
        path
    }

    fn program(&self, path: &str, content: &str) -> PathBuf {
        let path = self.write(path, content);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        path
    }

    fn identify(
        &self,
        mode: &ToolMode,
        program: &str,
        args: &[&str],
        cwd: &str,
    ) -> Result<ToolIdentity, ToolError> {
        let declared = ["PYENV_VERSION", "RUSTUP_TOOLCHAIN"];
        let env = Environment::new(EnvMode::Loose, declared, [""; 0], self.vars.clone()).unwrap();
        let args: Vec<OsString> = args.iter().map(OsString::from).collect();
        let (program, cwd) = (self.at(program), self.at(cwd));
        let invocation = Invocation { program: &program, args: &args, cwd: &cwd, env: &env };
        identify(mode, invocation, &mut Memory::none(Arc::new(SystemClock)))
    }

    fn auto(&self, program: &str, args: &[&str]) -> Digest {
        self.identify(&ToolMode::Auto, program, args, "work").unwrap().digest
    }
}

/// Tells whether `act` changes what `look` sees.
fn changes(look: impl Fn() -> Digest, act: impl FnOnce()) -> bool {
    let before = look();
    assert_eq!(before, look(), "an identity that changes by itself");
    act();
    before != look()
}

#[test]
fn a_program_is_its_content_wherever_it_is() {
    let m = Machine::new();
    m.program("bin/cc", "one");
    m.program("work/tools/cc", "one");
    symlink("cc", m.at("bin/link")).unwrap();
    assert_eq!(m.auto("bin/cc", &[]), m.auto("work/tools/cc", &[]));
    assert_eq!(m.auto("bin/cc", &[]), m.auto("bin/link", &[]));
    assert!(changes(|| m.auto("bin/link", &[]), || drop(m.program("bin/cc", "two"))));
    assert!(m.identify(&ToolMode::Auto, "bin/missing", &[], "work").is_err());
}

#[test]
fn a_script_is_its_interpreter_too() {
    let m = Machine::new();
    let interpreter = m.program("bin/py", "py1");
    m.program("bin/gen", &format!("#!{} -u\n", interpreter.display()));
    assert!(changes(|| m.auto("bin/gen", &[]), || drop(m.program("bin/py", "py2"))));
    // Through env, with options and assignments in front.
    let env = m.program("opt/env", "env");
    m.program("bin/gen2", &format!("#!{} -S A=1 py\n", env.display()));
    assert!(changes(|| m.auto("bin/gen2", &[]), || drop(m.program("bin/py", "py3"))));
    assert!(changes(|| m.auto("bin/gen2", &[]), || drop(m.program("opt/env", "env2"))));
    // An interpreter that starts itself ends somewhere.
    let turns = m.at("bin/turns");
    m.program("bin/turns", &format!("#!{}\n", turns.display()));
    m.auto("bin/turns", &[]);
}

#[test]
fn a_launcher_is_what_it_starts_too() {
    let m = Machine::new();
    m.program("bin/nice", "nice");
    m.program("bin/ccache", "ccache");
    m.program("bin/gcc", "gcc1");
    let look = || m.auto("bin/nice", &["-n", "5", "ccache", "gcc", "-c", "a.c"]);
    assert!(changes(look, || drop(m.program("bin/gcc", "gcc2"))));
    assert!(changes(look, || drop(m.program("bin/ccache", "ccache2"))));
}

#[test]
fn a_compiler_cache_in_place_of_a_compiler_is_the_compiler_too() {
    let mut m = Machine::new();
    m.program("bin/ccache", "ccache");
    m.program("usr/gcc", "gcc1");
    symlink("ccache", m.at("bin/gcc")).unwrap();
    m.vars[0].1 = std::env::join_paths([m.at("bin"), m.at("usr")]).unwrap();
    assert!(changes(|| m.auto("bin/gcc", &["-c"]), || drop(m.program("usr/gcc", "gcc2"))));
}

const MANIFEST: &str = "lib/rustlib/multirust-channel-manifest.toml";

/// Installs a rustup with two toolchains, of which `stable` is the default.
fn rustup() -> Machine {
    let m = Machine::new();
    m.program("bin/rustup", "rustup");
    symlink("rustup", m.at("bin/cargo")).unwrap();
    fs::hard_link(m.at("bin/rustup"), m.at("bin/rustc")).unwrap();
    m.write("home/.rustup/settings.toml", "default_toolchain = 'stable-x86'\n");
    for name in ["stable-x86", "nightly-x86"] {
        m.write(&format!("home/.rustup/toolchains/{name}/{MANIFEST}"), &format!("{name} 1"));
    }
    m
}

fn update(m: &Machine, name: &str) {
    m.write(&format!("home/.rustup/toolchains/{name}/{MANIFEST}"), &format!("{name} 2"));
}

#[test]
fn a_rustup_proxy_is_the_toolchain_that_it_chooses() {
    for proxy in ["bin/cargo", "bin/rustc"] {
        let m = rustup();
        assert!(!changes(|| m.auto(proxy, &[]), || update(&m, "nightly-x86")), "{proxy}: not chosen");
        assert!(changes(|| m.auto(proxy, &[]), || update(&m, "stable-x86")), "{proxy}: chosen");
    }
}

/// Something that is done to a machine.
type Act<'a> = &'a dyn Fn(&mut Machine);

#[test]
fn every_way_to_choose_a_toolchain_counts() {
    let toml = "[toolchain]\nchannel = 'nightly'\n";
    let by_file =
        |content: &'static str| move |m: &mut Machine| drop(m.write("rust-toolchain.toml", content));
    let ways: [(&str, Act<'_>); 5] = [
        ("file", &by_file(toml)),
        ("plain", &|m| drop(m.write("work/rust-toolchain", "nightly\n"))),
        ("variable", &|m| m.vars.push(("RUSTUP_TOOLCHAIN".into(), "nightly".into()))),
        ("default", &|m| drop(m.write("home/.rustup/settings.toml", "default_toolchain = 'nightly'"))),
        ("unclear", &by_file("[toolchain]\ncomponents = []\n")),
    ];
    for (name, choose) in ways {
        let mut m = rustup();
        let stable = m.auto("bin/cargo", &[]);
        choose(&mut m);
        assert_ne!(stable, m.auto("bin/cargo", &[]), "{name}");
        assert!(changes(|| m.auto("bin/cargo", &[]), || update(&m, "nightly-x86")), "{name}");
    }
    let m = rustup();
    assert!(changes(|| m.auto("bin/cargo", &["+nightly", "build"]), || update(&m, "nightly-x86")));
    let dir = m.at("work");
    let over =
        format!("default_toolchain = 'stable-x86'\n[overrides]\n{:?} = 'nightly-x86'\n", dir.display());
    assert!(changes(|| m.auto("bin/cargo", &[]), || drop(m.write("home/.rustup/settings.toml", &over))));
}

#[test]
fn how_deep_a_checkout_lies_makes_no_difference() {
    let m = rustup();
    m.program("home/.pyenv/shims/python", "#!/bin/sh\n");
    for program in ["bin/cargo", "home/.pyenv/shims/python"] {
        let at = |cwd| m.identify(&ToolMode::Auto, program, &[], cwd).unwrap().digest;
        assert_eq!(at("work"), at("work/deep/er"));
    }
}

#[test]
fn a_toolchain_built_by_hand_is_its_compiler() {
    let m = rustup();
    m.write("home/.rustup/settings.toml", "default_toolchain = 'mine'");
    m.program("home/.rustup/toolchains/mine/bin/rustc", "stub");
    let library = "home/.rustup/toolchains/mine/lib/librustc_driver-1.so";
    m.write(library, "driver 1");
    assert!(changes(|| m.auto("bin/cargo", &[]), || drop(m.write(library, "driver 2"))));
}

#[test]
fn a_shim_is_what_decides_which_version_it_starts() {
    let mut m = Machine::new();
    let shim = "home/.pyenv/shims/python";
    m.program(shim, "shim");
    m.write("home/.pyenv/versions/3.12.1/bin/python", "python");
    assert!(changes(|| m.auto(shim, &[]), || drop(m.write("home/.pyenv/version", "3.12.1"))));
    assert!(changes(|| m.auto(shim, &[]), || drop(m.write("work/.python-version", "3.13.0"))));
    assert!(changes(
        || m.auto(shim, &[]),
        || drop(m.write("home/.pyenv/versions/3.13.0/bin/python", "python"))
    ));
    assert!(!changes(|| m.auto(shim, &[]), || drop(m.write("work/version", "of the project itself"))));
    let rename = || fs::rename(m.at("work/.python-version"), m.at("work/.ruby-version")).unwrap();
    assert!(changes(|| m.auto(shim, &[]), rename), "which tool a version is of");
    let before = m.auto(shim, &[]);
    m.vars.push(("PYENV_VERSION".into(), "3.11".into()));
    assert_ne!(before, m.auto(shim, &[]));
}

#[test]
fn other_ways_see_what_they_say() {
    let m = Machine::new();
    m.program("bin/cc", "one");
    let look = |mode: &ToolMode| m.identify(mode, "bin/cc", &[], "work").unwrap().digest;
    let touch = |seconds| {
        let time = std::time::UNIX_EPOCH + std::time::Duration::from_secs(seconds);
        fs::File::options().write(true).open(m.at("bin/cc")).unwrap().set_modified(time).unwrap();
    };
    touch(1_000_000);
    assert!(changes(|| look(&ToolMode::ModifiedTime), || touch(1_000_001)));
    assert!(!changes(|| look(&ToolMode::Content), || touch(1_000_002)));
    assert!(!changes(|| look(&ToolMode::None), || drop(m.program("bin/cc", "two"))));
    assert!(changes(|| look(&ToolMode::Content), || drop(m.program("bin/cc", "six"))));
}

#[test]
fn a_command_line_tells_the_version() {
    let m = Machine::new();
    m.program("bin/cc", "#!/bin/sh\necho version 1; exit 4\n");
    let mode: ToolMode = "cc --version".parse().unwrap();
    let look = || m.identify(&mode, "bin/cc", &[], "work").unwrap();
    assert_eq!(look().describe, "`cc --version`: version 1");
    assert!(!changes(
        || look().digest,
        || drop(m.program("bin/cc", "#!/bin/sh\n\necho version 1; exit 4\n"))
    ));
    assert!(changes(|| look().digest, || drop(m.program("bin/cc", "#!/bin/sh\necho version 1; exit 5\n"))));
    assert!(changes(
        || look().digest,
        || drop(m.program("bin/cc", "#!/bin/sh\necho version 2 >&2; exit 5\n"))
    ));
    let missing = m.identify(&"no-such-tool --version".parse().unwrap(), "bin/cc", &[], "work");
    assert!(matches!(missing, Err(ToolError::Command { .. })));
}

#[test]
fn only_ways_that_exist_are_taken() {
    for (text, mode) in [
        ("auto", ToolMode::Auto),
        ("content", ToolMode::Content),
        ("mtime", ToolMode::ModifiedTime),
        ("none", ToolMode::None),
        ("a b", ToolMode::Command("a b".into())),
    ] {
        assert_eq!(text.parse::<ToolMode>().unwrap(), mode);
    }
    for bad in ["", "contents", " "] {
        assert!(bad.parse::<ToolMode>().is_err(), "{bad:?}");
    }
}

//! Trouble of every kind. Never a wrong byte, never a hang, never a failed command.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::support::{Lab, Ran, is_root, kill_group, slow};

const FLAGS: [&str; 6] = ["-i", "in", "-o", "out", "-o", "dir/"];
const SCRIPT: &str =
    "cat in in > out; mkdir -p dir; cp in dir/copy; echo printed; echo complained >&2; echo x >> runs";

fn prepare() -> Lab {
    with_input(Lab::new())
}

/// The same in each layout, for tests that spoil what is stored.
fn prepare_each_layout() -> [Lab; 2] {
    Lab::of_each_layout().map(with_input)
}

fn with_input(lab: Lab) -> Lab {
    lab.write("in", "content of the input\n");
    lab
}

/// Runs, and checks that the result is right, wherever it came from.
#[track_caller]
fn right(lab: &Lab) -> Ran {
    for gone in ["out", "dir"] {
        let _ = fs::remove_file(lab.path(gone)).or_else(|_| fs::remove_dir_all(lab.path(gone)));
    }
    let ran = lab.sh(&FLAGS, SCRIPT);
    check(lab, &ran);
    ran
}

#[track_caller]
fn check(lab: &Lab, ran: &Ran) {
    assert_eq!((ran.code, &ran.stdout[..]), (0, &b"printed\n"[..]), "{}", ran.stderr);
    assert!(ran.stderr.contains("complained\n"), "{}", ran.stderr);
    assert_eq!(lab.read("out"), "content of the input\ncontent of the input\n");
    assert_eq!(lab.read("dir/copy"), "content of the input\n");
    assert_eq!(fs::read_dir(lab.path("dir")).unwrap().count(), 1);
}

/// All that is stored at a moment, to be put back.
struct Snapshot<'a> {
    lab: &'a Lab,
    files: Vec<(PathBuf, Vec<u8>)>,
}

impl<'a> Snapshot<'a> {
    fn of(lab: &'a Lab) -> Self {
        let content = |path: PathBuf| fs::read(&path).map(|content| (path, content));
        Self { lab, files: lab.stored_files("").into_iter().map(content).collect::<Result<_, _>>().unwrap() }
    }

    fn put_back(&self) {
        for path in self.lab.stored_files("") {
            if self.files.iter().all(|(kept, _)| *kept != path) {
                fs::remove_file(path).unwrap();
            }
        }
        for (path, content) in &self.files {
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, content).unwrap();
        }
    }
}

/// Returns every how many bytes of a file one is flipped: each of what leads to the result or holds it, if there is time;
/// of the bookkeeping beside it, a sample.
fn step(path: &Path) -> usize {
    let path = path.to_string_lossy();
    let is_in = |dir: &str| path.contains(dir);
    if is_in("/entries/") || is_in("/blobs/") || is_in("/log/") {
        if slow() { 1 } else { 7 }
    } else if is_in("/segments-v1/") {
        if slow() { 1 } else { 3 }
    } else {
        97
    }
}

#[test]
fn every_byte_of_everything_stored_is_flipped_in_turn() {
    for lab in prepare_each_layout() {
        right(&lab).expect("miss");
        let pristine = Snapshot::of(&lab);
        let (mut flipped, mut missed) = (0, 0);
        for (path, content) in &pristine.files {
            // Most of a segment and of an index is room for what is to come.
            let used = (0..content.len()).filter(|&at| content[at] != 0);
            let empty = (0..content.len()).filter(|&at| content[at] == 0).step_by(content.len() / 4 + 1);
            for at in used.step_by(step(path)).chain(empty).chain(content.len().checked_sub(1)) {
                let mut bad = content.clone();
                bad[at] ^= 1 << (at % 8);
                fs::write(path, bad).unwrap();
                missed += usize::from(right(&lab).outcome() == "miss");
                pristine.put_back();
                flipped += 1;
            }
        }
        assert!(missed > 50, "{missed} of {flipped}");
        right(&lab).expect("hit");
    }
}

#[test]
fn everything_stored_is_cut_short_in_turn() {
    for lab in prepare_each_layout() {
        right(&lab).expect("miss");
        for path in lab.stored_files("") {
            let Ok(content) = fs::read(&path) else { continue };
            for keep in [0, content.len() / 2, content.len().saturating_sub(1)] {
                fs::create_dir_all(path.parent().unwrap()).unwrap();
                fs::write(&path, &content[..keep]).unwrap();
                right(&lab);
            }
            // The others have gone on meanwhile.
            fs::write(&path, &content).unwrap();
        }
        right(&lab);
        right(&lab).expect("hit");
    }
}

/// A stored entry that was made to write elsewhere, with checksums that are right.
#[test]
fn a_stored_path_that_leaves_the_output_is_never_written() {
    use cache_core::{OutputKind, PutMode, RelPath};
    use cache_fs::{FsStore, Lookup, Options};
    let lab = prepare();
    right(&lab).expect("miss");
    let store = FsStore::open(&lab.cache, Options::default()).unwrap();
    let key = lab.run(FLAGS.iter().copied().chain(["--print-key", "--", "sh", "-c", SCRIPT])).stdout;
    let key: cache_core::Key = String::from_utf8(key).unwrap().trim().parse().unwrap();
    let Lookup::Hit(entry) = store.get(&key).unwrap() else { panic!("not there") };
    let secret = lab.path("secret");
    for forge in [
        |entry: &mut cache_core::Entry| entry.outputs[0].path = RelPath::new("secret").unwrap(),
        |entry: &mut cache_core::Entry| {
            entry.outputs[0].path = RelPath::new("dir").unwrap();
            entry.outputs[0].kind = OutputKind::Symlink { target: b"..".to_vec() };
            entry.outputs[1].path = RelPath::new("dir/secret").unwrap();
        },
    ] {
        let mut forged = entry.clone();
        forge(&mut forged);
        let _ = store.put(&key, &forged, PutMode::Overwrite).unwrap();
        right(&lab).expect("miss");
        assert!(!secret.exists());
    }
}

#[test]
fn a_cache_that_cannot_be_used_is_a_warning() {
    let in_place_of_cache = |make: &dyn Fn(&Path)| {
        let lab = prepare();
        make(&lab.cache);
        let ran = right(&lab);
        assert_eq!(ran.outcome(), "bypass", "{}", ran.stderr);
        let warnings = ran.status["warnings"].as_array().unwrap();
        assert_eq!(warnings.len(), 1, "{}", ran.stderr);
        ran
    };
    in_place_of_cache(&|cache| fs::write(cache, "a file").unwrap());
    in_place_of_cache(&|cache| std::os::unix::fs::symlink("/proc/nowhere", cache).unwrap());
    let open = in_place_of_cache(&|cache| {
        fs::create_dir(cache).unwrap();
        fs::set_permissions(cache, fs::Permissions::from_mode(0o777)).unwrap();
    });
    assert!(open.stderr.contains("--trust-dir"), "{}", open.stderr);
}

/// Root may do everything, so somebody else has to try.
#[test]
fn permission_denied_and_read_only() {
    if !is_root() {
        println!("skipped: needs root, to become somebody else");
        return;
    }
    let lab = prepare();
    let everything = lab.work.parent().unwrap().to_owned();
    let nobody = |lab: &Lab| {
        let mut command = Command::new("setpriv");
        command.args(["--reuid=65534", "--regid=65534", "--clear-groups", env!("CARGO_BIN_EXE_vitte-cache")]);
        command.args(["run", "--status", "json"]).args(FLAGS).args(["--", "sh", "-c", SCRIPT]);
        command.current_dir(&lab.work).env_clear().env("PATH", std::env::var_os("PATH").unwrap());
        Ran::from(command.env("VITTE_CACHE_DIR", &lab.cache).env("HOME", &lab.work).output().unwrap())
    };
    let chown = |who: &str, path: &Path| {
        assert!(Command::new("chown").args(["-R", who]).arg(path).status().unwrap().success());
    };
    // The program must be reachable for nobody, which depends on where the build directory is.
    chown("65534:65534", &everything);
    let first = nobody(&lab);
    if first.stderr.contains("Permission denied") && first.code == 126 {
        println!("skipped: the build directory cannot be read by another user");
        return;
    }
    check(&lab, &first);
    assert_eq!(first.outcome(), "miss", "{}", first.stderr);
    // Read-only: what is there is used, nothing is added.
    assert!(Command::new("chmod").args(["-R", "a-w"]).arg(&lab.cache).status().unwrap().success());
    let hit = nobody(&lab);
    check(&lab, &hit);
    assert_eq!(hit.outcome(), "hit", "{}", hit.stderr);
    fs::write(lab.path("in"), "content of the input\n").unwrap();
    // Somebody else's directory is refused.
    chown("0:0", &lab.cache);
    let refused = nobody(&lab);
    check(&lab, &refused);
    assert_eq!(refused.outcome(), "bypass");
    assert!(refused.stderr.contains("belongs to"), "{}", refused.stderr);
    // Nothing may be read at all.
    chown("65534:65534", &lab.cache);
    fs::set_permissions(&lab.cache, fs::Permissions::from_mode(0o000)).unwrap();
    let denied = nobody(&lab);
    check(&lab, &denied);
    assert_eq!(denied.outcome(), "bypass");
    fs::set_permissions(&lab.cache, fs::Permissions::from_mode(0o700)).unwrap();
}

/// A file system of a few megabytes that ends with the test.
struct SmallDisk(PathBuf);

impl SmallDisk {
    fn mount(at: &Path, size: &str) -> Option<Self> {
        fs::create_dir_all(at).unwrap();
        let option = format!("size={size},mode=0700");
        let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", &option, "tmpfs"]).arg(at).output();
        if mounted.is_ok_and(|output| output.status.success()) {
            return Some(Self(at.to_owned()));
        }
        assert!(!(is_root() && std::env::var_os("CI").is_some()), "CI must be able to mount a tmpfs");
        println!("skipped: cannot mount a tmpfs here");
        None
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

#[test]
fn a_full_disk_is_not_the_commands_trouble() {
    let lab = prepare();
    let Some(_disk) = SmallDisk::mount(&lab.cache, "1m") else { return };
    for round in 0..40 {
        // 300 kB each, of which the disk holds three.
        lab.write("in", format!("{round}\n"));
        let line = format!("line of {round}, padded to sixty bytes or so: xxxxxxxxxxxxxxxxxxxxxxxx");
        let script = format!("yes '{line}' | head -n 5000 > out; echo printed");
        let flags = ["-i", "in", "-o", "out"];
        for _ in 0..2 {
            let ran = lab.sh(&flags, &script);
            assert_eq!((ran.code, &ran.stdout[..]), (0, &b"printed\n"[..]), "{}", ran.stderr);
            assert_eq!(lab.read("out"), format!("{line}\n").repeat(5000), "round {round}");
        }
    }
    // Filled up to the last byte by somebody else.
    let _ = Command::new("sh")
        .arg("-c")
        .arg(format!("cat /dev/zero > '{}/filler' 2>/dev/null", lab.cache.display()))
        .status();
    lab.write("in", "content of the input\n");
    right(&lab);
    right(&lab);
}

#[test]
fn killed_at_random_moments() {
    let rounds = if slow() { 1000 } else { 200 };
    let lab = prepare();
    // A small limit, so that rounds evict as well.
    let big = "for i in 1 2 3 4; do head -c 120000 /dev/zero | tr '\\0' \"$(cat in | head -c 1)\" > dir/part$i; done";
    let script = format!("mkdir -p dir; rm -f dir/*; {big}; cp in out; echo printed");
    let command = |n: usize| {
        lab.write("in", format!("{}{n}", n % 10));
        let mut command = lab.run_command(FLAGS.iter().copied().chain(["--", "sh", "-c", &script]));
        command.env("VITTE_CACHE_MAX_SIZE", "3MB");
        command
    };
    let mut random = 0x2545_f491_4f6c_dd1d_u64;
    for round in 0..rounds {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        // Few inputs, so that some rounds restore and some store.
        let n = (random % 23) as usize;
        // The command dies with it: as an orphan it would go on writing the files that are looked at below.
        let mut killed = command(n);
        let mut child = killed.process_group(0).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        // The moment is what is random; nothing waits for anything.
        std::thread::sleep(std::time::Duration::from_micros(random >> 32 & 0x7fff));
        kill_group(child.id());
        child.wait().unwrap();
        if round % 4 == 0 {
            let ran = Ran::from(command(n).output().unwrap());
            assert_eq!((ran.code, &ran.stdout[..]), (0, &b"printed\n"[..]), "{}", ran.stderr);
            let digit = b'0' + (n % 10) as u8;
            for part in 1..=4 {
                let content = fs::read(lab.path(&format!("dir/part{part}"))).unwrap();
                assert!(
                    content.len() == 120_000 && content.iter().all(|&byte| byte == digit),
                    "round {round}"
                );
            }
            assert_eq!(fs::read_dir(lab.path("dir")).unwrap().count(), 4);
        }
    }
    let verify = lab.command().args(["verify"]).output().unwrap();
    assert!(verify.status.success(), "{}", String::from_utf8_lossy(&verify.stdout));
}

#[test]
fn a_clock_that_goes_backwards() {
    // Time stamps of the tree and of the cache lie in the future, as after a clock was set back.
    let lab = prepare();
    right(&lab).expect("miss");
    for path in lab.stored_files("").iter().chain(&[lab.path("in")]) {
        let later = std::time::SystemTime::now() + std::time::Duration::from_hours(24 * 365);
        fs::File::options().append(true).open(path).unwrap().set_modified(later).unwrap();
    }
    right(&lab).expect("hit");
    lab.write("in", "content of the input\n");
    right(&lab).expect("hit");
}

#[test]
fn pipes_and_links_in_place_of_stored_files() {
    for lab in prepare_each_layout() {
        right(&lab).expect("miss");
        for path in lab.stored_files("").into_iter().filter(|path| path.is_file()) {
            let content = fs::read(&path).unwrap();
            fs::remove_file(&path).unwrap();
            assert!(Command::new("mkfifo").arg(&path).status().unwrap().success());
            right(&lab);
            let _ = fs::remove_file(&path);
            std::os::unix::fs::symlink("/dev/zero", &path).unwrap();
            right(&lab);
            let _ = fs::remove_file(&path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(&path, content).unwrap();
        }
    }
}

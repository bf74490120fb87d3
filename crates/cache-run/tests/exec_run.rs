//! Real commands: their output, its order, their exit codes, and who closes what.
#![cfg(unix)]
#![allow(clippy::unwrap_used, missing_docs)]

use cache_run::exec::{
    Command, Finished, Limits, Recording, Search, Sink, SpawnError, Stdin, StdioLog, Stream, check,
    resolve_program, run,
};
use std::cell::RefCell;
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::fd::OwnedFd;
use std::path::Path;
use std::rc::Rc;

const LIMITS: Limits<'static> = Limits { max_log: 64 << 20, memory: 1 << 20, spool_dir: None };

fn shell_with(script: &str, stdin: Stdin, limits: &Limits<'_>, sink: Sink) -> Finished {
    let args: Vec<OsString> = vec!["-c".into(), script.into()];
    let env = [("PATH".into(), std::env::var_os("PATH").unwrap()), ("GIVEN".into(), "yes".into())];
    let command = Command {
        program: Path::new("/bin/sh"),
        arg0: "sh".as_ref(),
        args: &args,
        cwd: None,
        env: &env,
        stdin,
    };
    run(&command, limits, sink).unwrap()
}

fn shell(script: &str) -> Finished {
    shell_with(script, Stdin::Null, &LIMITS, Sink::discard())
}

fn complete(finished: Finished) -> StdioLog {
    match finished.recording {
        Recording::Complete(log) => log,
        other => panic!("no complete recording: {other:?}"),
    }
}

fn replayed(log: &mut StdioLog) -> (Vec<u8>, Vec<u8>) {
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let lengths = log.replay(&mut out, &mut err).unwrap();
    assert_eq!(lengths, log.lengths());
    (out, err)
}

fn pipe() -> (File, File) {
    let (read, write) = std::io::pipe().unwrap();
    (OwnedFd::from(read).into(), OwnedFd::from(write).into())
}

/// Takes what either stream gets.
struct Both(Rc<RefCell<Vec<u8>>>);

impl Write for Both {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.borrow_mut().write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[test]
fn output_is_passed_on_at_once_and_replayed_in_order() {
    const ROUNDS: usize = 300;
    let (stdin, mut ask) = pipe();
    let (out, out_sink) = pipe();
    let (err, err_sink) = pipe();
    let sink = Sink { stdout: Some(out_sink), stderr: Some(err_sink) };
    let script = "n=0; while read line; do echo out$n; read line; echo err$n >&2; n=$((n+1)); done";
    // Each line is asked for only when the one before has come through, so the order is certain.
    let asker = std::thread::spawn(move || {
        let (mut out, mut err) = (BufReader::new(out).lines(), BufReader::new(err).lines());
        for n in 0..ROUNDS {
            ask.write_all(b"\n").unwrap();
            assert_eq!(out.next().unwrap().unwrap(), format!("out{n}"));
            ask.write_all(b"\n").unwrap();
            assert_eq!(err.next().unwrap().unwrap(), format!("err{n}"));
        }
    });
    let mut log = complete(shell_with(script, Stdin::File(stdin), &LIMITS, sink));
    asker.join().unwrap();

    let order = Rc::new(RefCell::new(Vec::new()));
    log.replay(&mut Both(order.clone()), &mut Both(order.clone())).unwrap();
    let text = String::from_utf8(order.take()).unwrap();
    let expected = (0..ROUNDS).flat_map(|n| [format!("out{n}"), format!("err{n}")]);
    assert!(text.lines().eq(expected), "{text}");
}

#[test]
fn large_and_binary_output_is_complete() {
    let dir = tempfile::tempdir().unwrap();
    let bytes: Vec<u8> = (0..10_000_000_u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    std::fs::write(dir.path().join("data"), &bytes).unwrap();
    let (mut out, sink) = pipe();
    let reader = std::thread::spawn(move || {
        let mut seen = Vec::new();
        out.read_to_end(&mut seen).unwrap();
        seen
    });
    let file = File::open(dir.path().join("data")).unwrap();
    let limits = Limits { memory: 1000, spool_dir: Some(dir.path()), ..LIMITS };
    let sink = Sink { stdout: Some(sink), stderr: None };
    let mut log = complete(shell_with("cat; printf '\\377\\0' >&2", Stdin::File(file), &limits, sink));
    assert!(reader.join().unwrap() == bytes);
    let (out, err) = replayed(&mut log);
    assert!(out == bytes);
    assert_eq!(err, b"\xff\0");
    let mut encoded = Vec::new();
    log.reader().unwrap().read_to_end(&mut encoded).unwrap();
    assert_eq!(encoded.len() as u64, log.encoded_len());
    assert_eq!(check(&encoded[..]).unwrap(), log.lengths());
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1, "the temporary file has no name");
}

#[test]
fn neighbours_of_one_stream_are_one_chunk() {
    let (stdin, mut ask) = pipe();
    let (out, sink) = pipe();
    let asker = std::thread::spawn(move || {
        let mut lines = BufReader::new(out).lines();
        for _ in 0..100 {
            ask.write_all(b"\n").unwrap();
            lines.next().unwrap().unwrap();
        }
    });
    let sink = Sink { stdout: Some(sink), stderr: None };
    let log = complete(shell_with("while read line; do echo x; done", Stdin::File(stdin), &LIMITS, sink));
    asker.join().unwrap();
    // Version, a header of two bytes, 100 lines of two bytes, the end mark.
    assert_eq!(log.encoded_len(), 1 + 2 + 200 + 1);
}

#[test]
fn exit_codes_and_signals() {
    for code in [0, 1, 7, 255] {
        let finished = shell(&format!("exit {code}"));
        assert_eq!((finished.code, finished.signal, finished.interrupted), (code, None, false));
    }
    let finished = shell("echo before; kill -KILL $$");
    assert_eq!((finished.code, finished.signal, finished.interrupted), (137, Some(9), false));
    assert_eq!(replayed(&mut complete(finished)).0, b"before\n");
}

#[test]
fn the_environment_and_the_input_are_what_was_given() {
    let mut log = complete(shell(
        "env | grep -c '^GIVEN=yes$'; env | grep -v -e ^GIVEN -e ^PATH -e ^PWD -e ^_ -e ^SHLVL -e ^OLDPWD; cat",
    ));
    assert_eq!(replayed(&mut log).0, b"1\n");
}

#[test]
fn too_much_output_is_passed_on_but_not_recorded() {
    let (mut out, sink) = pipe();
    let reader = std::thread::spawn(move || std::io::copy(&mut out, &mut std::io::sink()).unwrap());
    let limits = Limits { max_log: 1000, ..LIMITS };
    let sink = Sink { stdout: Some(sink), stderr: None };
    let finished = shell_with("head -c 200000 /dev/zero; exit 3", Stdin::Null, &limits, sink);
    assert_eq!(reader.join().unwrap(), 200_000);
    assert_eq!(finished.code, 3);
    assert!(matches!(finished.recording, Recording::TooLarge { limit: 1000 }));
    let exact = shell_with("head -c 1000 /dev/zero", Stdin::Null, &limits, Sink::discard());
    assert_eq!(complete(exact).lengths().stdout, 1000);
}

#[test]
fn a_spool_that_cannot_be_written_does_not_harm_the_command() {
    let limits = Limits { memory: 10, spool_dir: Some(Path::new("/no/such/directory")), ..LIMITS };
    let finished = shell_with("head -c 200000 /dev/zero; exit 4", Stdin::Null, &limits, Sink::discard());
    assert_eq!(finished.code, 4);
    let Recording::SpoolFailed { dir, .. } = finished.recording else { panic!("{:?}", finished.recording) };
    assert_eq!(dir, Path::new("/no/such/directory"));
}

#[test]
fn a_background_process_that_holds_the_output_is_let_go() {
    let dir = tempfile::tempdir().unwrap();
    let fifo = dir.path().join("fifo");
    assert!(std::process::Command::new("mkfifo").arg(&fifo).status().unwrap().success());
    // The background process waits at the fifo until the test opens it.
    let script = format!("(read line < '{}') & echo started; exit 5", fifo.display());
    let finished = shell_with(&script, Stdin::Null, &LIMITS, Sink::discard());
    File::options().write(true).open(&fifo).unwrap();
    assert_eq!(finished.code, 5);
    assert!(matches!(finished.recording, Recording::HeldOpen), "{:?}", finished.recording);
}

#[test]
fn a_background_process_that_never_stops_writing_is_let_go() {
    let script = "yes & yes >&2 & exit 5";
    let finished = shell_with(script, Stdin::Null, &LIMITS, Sink::discard());
    assert_eq!(finished.code, 5);
    assert!(matches!(finished.recording, Recording::HeldOpen), "{:?}", finished.recording);
}

#[test]
fn a_background_process_that_ends_soon_is_recorded() {
    let dir = tempfile::tempdir().unwrap();
    let (fifo, gate) = (dir.path().join("fifo"), dir.path().join("gate"));
    for path in [&fifo, &gate] {
        assert!(std::process::Command::new("mkfifo").arg(path).status().unwrap().success());
    }
    let (out, sink) = pipe();
    // The background process speaks when the test has seen the first line, after which the shell ends at once.
    let script = format!("(read line < '{}'; echo second) & echo first", fifo.display());
    let asker = std::thread::spawn(move || {
        let mut lines = BufReader::new(out).lines();
        assert_eq!(lines.next().unwrap().unwrap(), "first");
        File::options().write(true).open(&fifo).unwrap().write_all(b"\n").unwrap();
        assert_eq!(lines.next().unwrap().unwrap(), "second");
    });
    let finished = shell_with(&script, Stdin::Null, &LIMITS, Sink { stdout: Some(sink), stderr: None });
    asker.join().unwrap();
    assert_eq!(replayed(&mut complete(finished)).0, b"first\nsecond\n");
}

#[test]
#[cfg(target_os = "linux")]
fn output_the_sink_has_not_taken_yet_is_waited_for() {
    let dir = tempfile::tempdir().unwrap();
    let fifo = dir.path().join("fifo");
    assert!(std::process::Command::new("mkfifo").arg(&fifo).status().unwrap().success());
    let (mut out, sink) = pipe();
    // More than the sink holds and less than it and the command's own pipe do: the command ends while bytes wait.
    let script = format!("head -c 100000 /dev/zero; : > '{}'", fifo.display());
    let reader = std::thread::spawn(move || {
        drop(File::open(&fifo).unwrap());
        // Not to wait for anything, but to be slower than the grace.
        std::thread::sleep(cache_run::exec::GRACE * 5 / 4);
        std::io::copy(&mut out, &mut std::io::sink()).unwrap()
    });
    let finished = shell_with(&script, Stdin::Null, &LIMITS, Sink { stdout: Some(sink), stderr: None });
    assert_eq!(reader.join().unwrap(), 100_000);
    assert_eq!(complete(finished).lengths().stdout, 100_000);
}

#[test]
fn a_closed_output_closes_that_of_the_command() {
    let (out, sink) = pipe();
    drop(out);
    let sink = Sink { stdout: Some(sink), stderr: None };
    // `yes` ends only by SIGPIPE, whose exit code the shell then shows.
    let finished = shell_with("yes; echo $? >&2; exit 6", Stdin::Null, &LIMITS, sink);
    assert_eq!(finished.code, 6);
    let Recording::NotForwarded { stream: Stream::Stdout, source } = finished.recording else {
        panic!("{:?}", finished.recording)
    };
    assert_eq!(source.kind(), std::io::ErrorKind::BrokenPipe);
}

#[test]
#[cfg(target_os = "linux")]
fn lost_output_is_told() {
    let full = File::options().write(true).open("/dev/full").unwrap();
    let finished = shell_with("echo x >&2", Stdin::Null, &LIMITS, Sink { stdout: None, stderr: Some(full) });
    let Recording::NotForwarded { stream: Stream::Stderr, source } = finished.recording else {
        panic!("{:?}", finished.recording)
    };
    assert_eq!(source.kind(), std::io::ErrorKind::StorageFull);
}

fn start(program: &Path, cwd: Option<&Path>) -> Result<Finished, SpawnError> {
    let command = Command {
        program,
        arg0: program.as_os_str(),
        args: &["arg".into()],
        cwd,
        env: &[],
        stdin: Stdin::Null,
    };
    run(&command, &LIMITS, Sink::discard())
}

fn write(path: &Path, text: &str, mode: u32) {
    std::fs::write(path, text).unwrap();
    std::fs::set_permissions(path, std::os::unix::fs::PermissionsExt::from_mode(mode)).unwrap();
}

#[test]
fn what_cannot_start_is_explained() {
    let dir = tempfile::tempdir().unwrap();
    let file = |name: &str| dir.path().join(name);
    let missing = start(&file("missing"), None).unwrap_err();
    assert!(matches!(missing, SpawnError::NotFound { .. }) && missing.exit_code() == 127, "{missing}");
    write(&file("plain"), "", 0o644);
    let plain = start(&file("plain"), None).unwrap_err();
    assert!(matches!(plain, SpawnError::NotExecutable { .. }) && plain.exit_code() == 126, "{plain}");
    write(&file("lost"), "#!/no/such/interpreter\n", 0o755);
    let lost = start(&file("lost"), None).unwrap_err();
    assert!(matches!(lost, SpawnError::NoInterpreter { .. }) && lost.exit_code() == 127, "{lost}");
    let nowhere = start(Path::new("/bin/sh"), Some(&file("missing"))).unwrap_err();
    assert!(matches!(nowhere, SpawnError::WorkingDirectory { .. }), "{nowhere}");
    for error in [missing, plain, lost, nowhere] {
        let sentence = error.to_string();
        assert!(sentence.contains('/') && !sentence.contains("os error 2);"), "{sentence}");
    }
}

#[test]
fn a_script_without_an_interpreter_line_is_run_by_the_shell() {
    let dir = tempfile::tempdir().unwrap();
    let script = dir.path().join("script");
    write(&script, "echo \"$0\" $1\nexit 9\n", 0o755);
    let finished = start(&script, None).unwrap();
    assert_eq!(finished.code, 9);
    let out = replayed(&mut complete(finished)).0;
    assert_eq!(String::from_utf8(out).unwrap(), format!("{} arg\n", script.display()));
}

#[test]
fn programs_are_found_as_a_shell_finds_them() {
    let dir = tempfile::tempdir().unwrap();
    for name in ["one", "two", "cwd"] {
        std::fs::create_dir(dir.path().join(name)).unwrap();
    }
    write(&dir.path().join("one/tool"), "", 0o644);
    write(&dir.path().join("two/tool"), "", 0o755);
    write(&dir.path().join("one/data"), "", 0o644);
    write(&dir.path().join("cwd/here"), "", 0o755);
    std::fs::create_dir(dir.path().join("one/dir")).unwrap();
    let cwd = dir.path().join("cwd");
    let path = std::env::join_paths([dir.path().join("one"), dir.path().join("two"), "".into()]).unwrap();
    let find = |name: &str, path: Option<&OsStr>| {
        resolve_program(name.as_ref(), Search { path, path_ext: None, cwd: &cwd })
    };
    assert_eq!(find("tool", Some(&path)).unwrap(), dir.path().join("two/tool"));
    assert_eq!(find("here", Some(&path)).unwrap(), cwd.join("here"));
    assert_eq!(find("here", Some("".as_ref())).unwrap(), cwd.join("here"));
    assert_eq!(find("../two/tool", None).unwrap(), cwd.join("../two/tool"));
    assert_eq!(find("tool", Some("../two".as_ref())).unwrap(), cwd.join("../two/tool"));
    assert_eq!(find("sh", None).unwrap(), Path::new("/bin/sh"));
    for (name, code) in [("data", 126), ("dir", 126), ("absent", 127), ("", 127), ("./here/x", 127)] {
        assert_eq!(find(name, Some(&path)).unwrap_err().exit_code(), code, "{name:?}");
    }
}

//! Directories: whose they are, what else is in them, and what cannot be written.

#![allow(
    clippy::unwrap_used,
    clippy::print_stderr,
    reason = "a test that cannot go on has failed; one that cannot be run says why"
)]

mod common;

use std::path::Path;

use cache_core::{Digest, Error, PutMode};
use cache_fs::{FsStore, Options};
use common::{content, entry, entry_with, hit, key, options};

#[test]
fn a_directory_is_made_for_its_owner_alone() {
    let dir = tempfile::tempdir().unwrap();
    let place = dir.path().join("deep/down/cache");
    let store = FsStore::open(&place, options()).unwrap();
    store.write_blob(b"blob").unwrap();
    let _ = store.put(&key(1), &entry("x"), PutMode::Overwrite).unwrap();
    let side = store.side_dir("journal").unwrap();
    assert!(side.is_dir() && side.starts_with(store.dir()));
    for bad in ["", "a/b", "..", "files-v2"] {
        assert!(store.side_dir(bad).is_err(), "{bad:?}");
    }
    assert!(
        std::fs::read_to_string(place.join("CACHEDIR.TAG"))
            .unwrap()
            .starts_with("Signature: 8a477f597d28d172789f06886806bc55")
    );
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        let mode = |path: &Path| path.metadata().unwrap().permissions().mode() & 0o777;
        for file in common::files(&place) {
            assert_eq!(mode(&file), 0o600, "{}", file.display());
            let mut parent = file.parent().unwrap();
            while parent.starts_with(&place) {
                assert_eq!(mode(parent), 0o700, "{}", parent.display());
                parent = parent.parent().unwrap();
            }
        }
    }
}

#[cfg(unix)]
#[test]
fn a_directory_that_anybody_may_write_to_is_refused() {
    use std::fs::Permissions;
    use std::os::unix::fs::PermissionsExt;
    let dir = tempfile::tempdir().unwrap();
    let place = dir.path().join("cache");
    FsStore::open(&place, options()).unwrap();
    let link = dir.path().join("link");
    std::os::unix::fs::symlink(&place, &link).unwrap();
    for (open, bits) in [(&place, 0o777), (&link, 0o702)] {
        std::fs::set_permissions(&place, Permissions::from_mode(bits)).unwrap();
        let refused = FsStore::open(open, options()).unwrap_err();
        assert!(matches!(refused, Error::Untrusted { .. }), "{refused:?}");
        let text = refused.to_string();
        assert!(text.contains("chmod o-w") && text.contains("--trust-dir"), "{text}");
        FsStore::open(open, Options { trust_dir: true, ..options() }).unwrap();
    }
    std::fs::set_permissions(&place, Permissions::from_mode(0o775)).unwrap();
    FsStore::open(&place, options()).unwrap();
    // What is below counts as well.
    std::fs::set_permissions(place.join("files-v1"), Permissions::from_mode(0o777)).unwrap();
    assert!(matches!(FsStore::open(&place, options()), Err(Error::Untrusted { .. })));
    let file = dir.path().join("file");
    std::fs::write(&file, b"").unwrap();
    assert!(FsStore::open(&file, options()).unwrap_err().to_string().contains(file.to_str().unwrap()));
}

#[cfg(unix)]
#[test]
fn a_directory_of_somebody_else_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let place = dir.path().join("cache");
    FsStore::open(&place, options()).unwrap();
    if std::os::unix::fs::chown(&place, Some(65_534), None).is_err() {
        eprintln!("skipped: only root can give a directory away");
        return;
    }
    let refused = FsStore::open(&place, options()).unwrap_err();
    assert!(matches!(refused, Error::Untrusted { .. }), "{refused:?}");
    assert!(refused.to_string().contains("belongs to user 65534"), "{refused}");
    FsStore::open(&place, Options { trust_dir: true, ..options() }).unwrap();
}

#[test]
fn newer_formats_are_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    let store = FsStore::open(dir.path(), options()).unwrap();
    assert_eq!(store.notes(), []);
    let newer = dir.path().join("files-v2");
    std::fs::create_dir(&newer).unwrap();
    std::fs::write(newer.join("format"), b"?").unwrap();
    let store = FsStore::open(dir.path(), options()).unwrap();
    assert_eq!(store.notes()[0].path, store.dir().join("files-v2"));
    let marker = dir.path().join("files-v1/format");
    std::fs::write(&marker, b"vitte-cache files 2\n").unwrap();
    let refused = FsStore::open(dir.path(), options()).unwrap_err();
    assert!(matches!(refused, Error::NewerFormat { found: 2, known: 1, .. }), "{refused:?}");
    std::fs::write(&marker, b"somebody's notes\n").unwrap();
    let refused = FsStore::open(dir.path(), options()).unwrap_err().to_string();
    assert!(refused.contains("move ") && refused.contains("format"), "{refused}");
    assert_eq!(std::fs::read(&marker).unwrap(), b"somebody's notes\n");
    assert_eq!(std::fs::read(newer.join("format")).unwrap(), b"?");
}

#[test]
fn reading_only_leaves_no_trace() {
    let dir = tempfile::tempdir().unwrap();
    let absent = dir.path().join("absent");
    let reading = || Options { read_only: true, ..options() };
    assert!(FsStore::open(&absent, reading()).is_err() && !absent.exists());
    let place = dir.path().join("cache");
    let writer = FsStore::open(&place, options()).unwrap();
    let digest = writer.write_blob(&content(1, 1000)).unwrap();
    let _ = writer.put(&key(1), &entry_with(&[(digest, 1000)]), PutMode::Overwrite).unwrap();
    let _ = writer.put(&key(2), &entry("damaged"), PutMode::Overwrite).unwrap();
    let is_second =
        |path: &std::path::PathBuf| std::fs::read(path).unwrap().windows(7).any(|w| w == b"damaged");
    let damaged = common::entry_files(&place).into_iter().find(is_second).unwrap();
    std::fs::write(damaged, b"damage").unwrap();
    let state = || {
        common::files(&place)
            .into_iter()
            .map(|path| (std::fs::read(&path).unwrap(), path.metadata().unwrap().modified().unwrap(), path))
            .collect::<Vec<_>>()
    };
    let before = state();
    // A year later: everything would be touched.
    let clock = common::clock();
    clock.set(
        cache_core::Timestamp::from(std::time::SystemTime::now()).plus(std::time::Duration::from_hours(9000)),
    );
    let store = FsStore::open(&place, Options { clock, ..reading() }).unwrap();
    assert!(
        hit(&store, &key(1)).is_some() && hit(&store, &key(2)).is_none() && hit(&store, &key(3)).is_none()
    );
    assert_eq!(store.read_blob(&digest, 1000).unwrap().unwrap(), content(1, 1000));
    assert!(store.open_blob(&digest).unwrap().is_some() && store.contains(&digest));
    assert_eq!(store.verify(false, &mut |_| ()).unwrap().corrupt, 1);
    let _ = (store.usage(), store.gc(true).unwrap(), store.notes());
    for refused in [
        store.put(&key(9), &entry("x"), PutMode::Overwrite).map(drop),
        store.write_blob(b"x").map(drop),
        store.import_file(&before[0].2).map(drop),
        store.remove(&key(1)).map(drop),
        store.delete_blob(&digest).map(drop),
        store.gc(false).map(drop),
    ] {
        assert!(refused.unwrap_err().to_string().contains("opened for reading only"));
    }
    assert!(state() == before);
}

/// Runs the test `name` of this program again, as a user for whom permissions count.
#[cfg(unix)]
fn as_nobody(name: &str, dir: &Path) -> bool {
    let me = std::env::current_exe().unwrap();
    let root = rustix::process::geteuid().is_root();
    let mut command = if root {
        let mut command = std::process::Command::new("setpriv");
        command.args(["--reuid=65534", "--regid=65534", "--clear-groups"]).arg(me);
        command
    } else {
        std::process::Command::new(me)
    };
    command.args(["--exact", name, "--ignored", "--nocapture"]).env("CACHE_FS_TEST_DIR", dir);
    let output = match command.output() {
        Ok(output) if !String::from_utf8_lossy(&output.stderr).contains("failed to execute") => output,
        other => {
            assert!(std::env::var("CI").is_err(), "setpriv is needed to run as another user: {other:?}");
            eprintln!("skipped: cannot run as another user: {other:?}");
            return false;
        }
    };
    assert!(
        output.status.success(),
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    assert!(String::from_utf8_lossy(&output.stdout).contains("1 passed"));
    true
}

/// Gives `dir` and all below it to nobody.
#[cfg(unix)]
fn give_away(dir: &Path, mode: u32, file_mode: u32) {
    use std::os::unix::fs::PermissionsExt;
    let is_dir = dir.is_dir();
    if is_dir {
        for item in std::fs::read_dir(dir).unwrap() {
            give_away(&item.unwrap().path(), mode, file_mode);
        }
    }
    let mode = if is_dir { mode } else { file_mode };
    std::fs::set_permissions(dir, std::fs::Permissions::from_mode(mode)).unwrap();
    if rustix::process::geteuid().is_root() {
        std::os::unix::fs::chown(dir, Some(65_534), Some(65_534)).unwrap();
    }
}

#[cfg(unix)]
fn prepared() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let store = FsStore::open(&dir.path().join("cache"), options()).unwrap();
    let digest = store.write_blob(&content(1, 1000)).unwrap();
    let _ = store.put(&key(1), &entry_with(&[(digest, 1000)]), PutMode::Overwrite).unwrap();
    dir
}

#[cfg(unix)]
#[test]
fn hits_need_no_right_to_write() {
    let dir = prepared();
    give_away(dir.path(), 0o500, 0o400);
    as_nobody("child_without_the_right_to_write", dir.path());
    give_away(dir.path(), 0o700, 0o600);
}

#[cfg(unix)]
#[test]
#[ignore = "run by hits_need_no_right_to_write"]
fn child_without_the_right_to_write() {
    use std::os::unix::fs::PermissionsExt;
    let dir = std::env::var_os("CACHE_FS_TEST_DIR").unwrap();
    let place = Path::new(&dir).join("cache");
    for read_only in [false, true] {
        let store = FsStore::open(&place, Options { read_only, ..options() }).unwrap();
        assert!(hit(&store, &key(1)).is_some());
        let digest = Digest::blake3(&content(1, 1000));
        assert!(store.read_blob(&digest, 1000).unwrap().is_some());
        let _ = store.usage();
        let refused = store.put(&key(2), &entry("x"), PutMode::Overwrite).unwrap_err().to_string();
        assert!(refused.contains(place.to_str().unwrap()), "{refused}");
    }
    // A damaged file cannot be put aside, and is a miss all the same.
    let file = common::entry_files(&place).remove(0);
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o600)).unwrap();
    std::fs::write(&file, b"damage").unwrap();
    let store = FsStore::open(&place, options()).unwrap();
    assert!(hit(&store, &key(1)).is_none());
}

#[cfg(unix)]
#[test]
fn what_may_not_be_read_is_an_error_with_its_path() {
    let dir = prepared();
    give_away(dir.path(), 0o700, 0o000);
    as_nobody("child_without_the_right_to_read", dir.path());
    give_away(dir.path(), 0o700, 0o600);
}

#[cfg(unix)]
#[test]
#[ignore = "run by what_may_not_be_read_is_an_error_with_its_path"]
fn child_without_the_right_to_read() {
    use std::os::unix::fs::PermissionsExt;
    let dir = std::env::var_os("CACHE_FS_TEST_DIR").unwrap();
    let place = Path::new(&dir).join("cache");
    let refused = FsStore::open(&place, options()).unwrap_err().to_string();
    assert!(refused.contains("files-v1/format"), "{refused}");
    let readable = std::fs::Permissions::from_mode(0o600);
    std::fs::set_permissions(place.join("files-v1/format"), readable).unwrap();
    let store = FsStore::open(&place, options()).unwrap();
    let refused = store.get(&key(1)).unwrap_err();
    assert!(
        matches!(refused, Error::Io { .. }) && refused.to_string().contains("files-v1/entries/"),
        "{refused}"
    );
    // Room for new things is there.
    let _ = store.put(&key(2), &entry("new"), PutMode::Overwrite).unwrap();
    assert_eq!(hit(&store, &key(2)).unwrap().value, "new");
}

/// The store that [`a_store_of_version_1_is_read`] opens.
const FIXTURE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/files-v1");

fn fill_fixture(store: &FsStore) {
    let blob = content(1, 5000);
    let blake3 = store.write_blob(&blob).unwrap();
    let (sha256, _) = store.write_blob_from(Some(Digest::sha256(&blob)), &blob[..]).unwrap();
    let mut entry = entry_with(&[(blake3, 5000), (sha256, 5000)]);
    entry.meta.name = "fixture".into();
    let _ = store.put(&key(1), &entry, PutMode::Overwrite).unwrap();
}

#[test]
fn a_store_of_version_1_is_read() {
    let dir = tempfile::tempdir().unwrap();
    for file in common::files(Path::new(FIXTURE)) {
        let to = dir.path().join("files-v1").join(file.strip_prefix(FIXTURE).unwrap());
        std::fs::create_dir_all(to.parent().unwrap()).unwrap();
        std::fs::copy(&file, to).unwrap();
    }
    let store = FsStore::open(dir.path(), options()).unwrap();
    let entry = hit(&store, &key(1)).expect("the entry of version 1 is there");
    assert_eq!((entry.meta.name.as_str(), entry.outputs.len()), ("fixture", 2));
    for (digest, len) in entry.blobs() {
        assert_eq!(store.read_blob(digest, len).unwrap().unwrap(), content(1, 5000));
    }
    let usage = store.usage();
    assert_eq!((usage.entries, usage.blobs), (1, 2));
    std::fs::remove_file(dir.path().join("files-v1/usage")).unwrap();
    let counted = FsStore::open(dir.path(), options()).unwrap().usage();
    assert_eq!(counted.bytes, usage.bytes, "its counters are understood");
}

#[test]
#[ignore = "writes the fixture anew: only for a new version, in a new directory"]
fn write_the_fixture() {
    let dir = tempfile::tempdir().unwrap();
    let store = FsStore::open(dir.path(), options()).unwrap();
    fill_fixture(&store);
    let root = dir.path().join("files-v1");
    for file in common::files(&root) {
        let to = Path::new(FIXTURE).join(file.strip_prefix(&root).unwrap());
        std::fs::create_dir_all(to.parent().unwrap()).unwrap();
        std::fs::copy(&file, to).unwrap();
    }
}

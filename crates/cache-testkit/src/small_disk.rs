//! A disk that can be filled.

use std::fs::{File, remove_file};
use std::io::Write as _;
use std::path::Path;
use std::process::Command;

use tempfile::TempDir;

/// The file that takes the room.
const BALLAST: &str = "ballast";

/// A file system of its own in memory, as small as a test wants it.
#[derive(Debug)]
pub struct SmallDisk(TempDir);

impl SmallDisk {
    /// Mounts one of so many MiB, or says on standard error why not: who is not root may not mount anything.
    ///
    /// # Panics
    /// If there is no directory for it, and in CI if root cannot mount it.
    #[expect(clippy::print_stderr, reason = "a test that cannot be run says why")]
    pub fn mount(mebibytes: u32) -> Option<Self> {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let options = format!("size={mebibytes}m,mode=700");
        let mount = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &options, "vitte-cache-test"])
            .arg(dir.path())
            .output();
        if mount.as_ref().is_ok_and(|output| output.status.success()) {
            return Some(Self(dir));
        }
        let must = std::env::var("CI").is_ok_and(|ci| ci == "true") && rustix::process::geteuid().is_root();
        assert!(!must, "root in CI must be able to mount a tmpfs: {mount:?}");
        eprintln!("skipped: cannot mount a tmpfs: {mount:?}");
        None
    }

    /// Returns where it is.
    pub fn path(&self) -> &Path {
        self.0.path()
    }

    /// Leaves no room at all.
    ///
    /// # Panics
    /// If the file that takes the room cannot be made.
    pub fn fill(&self) {
        let mut ballast = File::create(self.path().join(BALLAST)).expect("a file on the small disk");
        for piece in [64 << 10, 4 << 10, 1] {
            while ballast.write_all(&vec![1; piece]).is_ok() {}
        }
    }

    /// Gives the room back that [`fill`](Self::fill) took.
    ///
    /// # Panics
    /// If it took none.
    pub fn empty(&self) {
        remove_file(self.path().join(BALLAST)).expect("the file that takes the room");
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(self.0.path()).status();
    }
}

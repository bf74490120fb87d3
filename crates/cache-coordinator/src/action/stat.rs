//! What the file system says about a file, reduced to what tells one content from another.

use std::fs::Metadata;
use std::path::Path;
use std::time::Duration;

use cache_core::{Fingerprint, StatFingerprint, Timestamp};

/// How long a file must have been left alone before its time stamps are believed. FAT counts in steps of 2 s, HFS+
/// and ext3 in 1 s, and the kernel's clock ticks every 1 to 10 ms: within one step an edit leaves no trace.
const SETTLE: Duration = Duration::from_secs(2);

/// A file as the file system describes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stat {
    pub(super) len: u64,
    pub(super) executable: bool,
    pub(super) dev: u64,
    /// Of device, inode, size, mode, modification and change time.
    pub(super) fingerprint: StatFingerprint,
    /// The later of modification and change time, in nanoseconds since the epoch.
    touched: i128,
}

impl Stat {
    /// Returns what `metadata` says.
    #[cfg(unix)]
    pub(super) fn new(metadata: &Metadata) -> Self {
        use std::os::unix::fs::MetadataExt;

        let nanos = |seconds: i64, nanos: i64| i128::from(seconds) * 1_000_000_000 + i128::from(nanos);
        let modified = nanos(metadata.mtime(), metadata.mtime_nsec());
        let changed = nanos(metadata.ctime(), metadata.ctime_nsec());
        let mut bytes = [0; 60];
        bytes[..8].copy_from_slice(&metadata.dev().to_le_bytes());
        bytes[8..16].copy_from_slice(&metadata.ino().to_le_bytes());
        bytes[16..24].copy_from_slice(&metadata.size().to_le_bytes());
        bytes[24..40].copy_from_slice(&modified.to_le_bytes());
        bytes[40..56].copy_from_slice(&changed.to_le_bytes());
        bytes[56..].copy_from_slice(&metadata.mode().to_le_bytes());
        Self {
            len: metadata.size(),
            executable: metadata.mode() & 0o111 != 0,
            dev: metadata.dev(),
            fingerprint: StatFingerprint(Fingerprint::of(&bytes)),
            touched: modified.max(changed),
        }
    }

    /// Returns what `metadata` says. There is no inode and no change time in it, so it never [`settled`](Self::settled).
    #[cfg(not(unix))]
    pub(super) fn new(metadata: &Metadata) -> Self {
        let modified = metadata.modified().ok().and_then(|t| t.duration_since(std::time::UNIX_EPOCH).ok());
        let modified = modified.map_or(0, |since| since.as_nanos());
        let mut bytes = [0; 24];
        bytes[..8].copy_from_slice(&metadata.len().to_le_bytes());
        bytes[8..].copy_from_slice(&modified.to_le_bytes());
        Self {
            len: metadata.len(),
            executable: false,
            dev: 0,
            fingerprint: StatFingerprint(Fingerprint::of(&bytes)),
            touched: i128::MAX,
        }
    }

    /// Returns whether an equal fingerprint later on proves equal content, if the content is read not before `now`.
    ///
    /// This is the racy-clean rule of git (`Documentation/technical/racy-git.txt`): a file touched less than a clock
    /// step ago can be edited again without a visible change of its time stamps.
    pub(super) fn settled(&self, now: Timestamp) -> bool {
        self.touched < i128::from(now.as_millis()) * 1_000_000 - SETTLE.as_nanos() as i128
    }
}

/// Returns whether the file system that `path` is on keeps time stamps that this machine's clock can be compared
/// with, and changes them at every write. Network file systems and FUSE stamp with another clock or cache stamps; FAT
/// and exFAT know no change time. What cannot be found out is not trusted.
#[cfg(any(target_os = "linux", target_os = "android"))]
pub(super) fn is_trustworthy(path: &Path) -> bool {
    /// From `linux/magic.h` and the file systems' own headers.
    const UNTRUSTED: [u64; 15] = [
        0x6969,      // NFS
        0x517b,      // SMB
        0xff53_4d42, // CIFS
        0xfe53_4d42, // SMB2
        0x0102_1997, // 9p: WSL, QEMU, gVisor
        0x6573_5546, // FUSE and virtiofs: sshfs, s3fs, Docker Desktop
        0x00c3_6400, // Ceph
        0x5346_414f, // AFS
        0x6b41_4653, // kAFS
        0x7375_7245, // Coda
        0x0bd0_0bd0, // Lustre
        0x786f_4256, // VirtualBox shared folders
        0x4d44,      // FAT
        0x2011_bab0, // exFAT
        0x9fa0,      // procfs: sizes and stamps mean nothing
    ];
    rustix::fs::statfs(path).is_ok_and(|stat| !UNTRUSTED.contains(&(stat.f_type as u64 & 0xffff_ffff)))
}

/// Returns whether the file system that `path` is on is a local one, which keeps time stamps by this machine's clock.
#[cfg(target_vendor = "apple")]
pub(super) fn is_trustworthy(path: &Path) -> bool {
    /// `MNT_LOCAL` of `sys/mount.h`.
    const LOCAL: u32 = 0x1000;
    rustix::fs::statfs(path).is_ok_and(|stat| stat.f_flags & LOCAL != 0)
}

/// Returns false: nothing is known here about file systems and their time stamps.
#[cfg(not(any(target_os = "linux", target_os = "android", target_vendor = "apple")))]
pub(super) fn is_trustworthy(_path: &Path) -> bool {
    false
}

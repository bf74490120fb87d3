//! What the file system says about a file, reduced to what keys and memories of digests need.

mod known;

use std::fs::Metadata;
use std::path::Path;
use std::time::{Duration, SystemTime};

use crate::{Fingerprint, StatFingerprint, Timestamp};

pub use known::KnownDigests;

/// How long a file must have been left alone before its time stamps are believed. FAT counts in steps of 2 s, HFS+
/// and ext3 in 1 s, and the kernel's clock ticks every 1 to 10 ms: within one step an edit leaves no trace.
const SETTLE: Duration = Duration::from_secs(2);

/// What there is at a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A regular file.
    File,
    /// A symbolic link.
    Symlink,
    /// A directory.
    Directory,
    /// A FIFO, socket or device: nothing that has a content.
    Special,
}

/// A file as the file system describes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stat {
    /// What there is.
    pub kind: Kind,
    /// Whether anybody may execute it.
    pub executable: bool,
    /// Bytes of the content.
    pub len: u64,
    /// Number of the device that it is on.
    pub dev: u64,
    /// Of device, inode, size, mode, modification and change time.
    pub fingerprint: StatFingerprint,
    /// Modification time in nanoseconds since the epoch.
    modified: i64,
    /// The later of modification and change time, in nanoseconds since the epoch.
    touched: i64,
}

impl Stat {
    /// Returns what `metadata` says.
    #[cfg(unix)]
    pub fn new(metadata: &Metadata) -> Self {
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
            kind: kind(metadata),
            executable: metadata.mode() & 0o111 != 0,
            len: metadata.size(),
            dev: metadata.dev(),
            fingerprint: StatFingerprint(Fingerprint::of(&bytes)),
            modified: i64::try_from(modified).unwrap_or(i64::MAX),
            touched: i64::try_from(modified.max(changed)).unwrap_or(i64::MAX),
        }
    }

    /// Returns what `metadata` says. There is no inode and no change time in it, so it never [`settled`](Self::settled).
    #[cfg(not(unix))]
    pub fn new(metadata: &Metadata) -> Self {
        let modified = metadata.modified().ok().and_then(|t| t.duration_since(std::time::UNIX_EPOCH).ok());
        let modified = modified.map_or(0, |since| since.as_nanos());
        let mut bytes = [0; 24];
        bytes[..8].copy_from_slice(&metadata.len().to_le_bytes());
        bytes[8..].copy_from_slice(&modified.to_le_bytes());
        Self {
            kind: kind(metadata),
            executable: false,
            len: metadata.len(),
            dev: 0,
            fingerprint: StatFingerprint(Fingerprint::of(&bytes)),
            modified: i64::try_from(modified).unwrap_or(i64::MAX),
            touched: i64::MAX,
        }
    }

    /// Returns the modification time; none before 1970.
    pub fn modified(&self) -> Option<SystemTime> {
        let since = Duration::from_nanos(u64::try_from(self.modified).ok()?);
        SystemTime::UNIX_EPOCH.checked_add(since)
    }

    /// Returns whether an equal fingerprint later on proves equal content, if the content is read not before `now`.
    ///
    /// This is the racy-clean rule of git (`Documentation/technical/racy-git.txt`): a file touched less than a clock
    /// step ago can be edited again without a visible change of its time stamps.
    pub fn settled(&self, now: Timestamp) -> bool {
        let latest = i128::from(now.as_millis()) * 1_000_000 - SETTLE.as_nanos() as i128;
        i128::from(self.touched) < latest
    }
}

/// Returns the permission bits, as Unix has them.
#[cfg(unix)]
pub fn permissions(metadata: &Metadata) -> u32 {
    std::os::unix::fs::PermissionsExt::mode(&metadata.permissions()) & 0o777
}

/// Returns the permission bits, as Unix has them.
#[cfg(not(unix))]
pub fn permissions(metadata: &Metadata) -> u32 {
    if metadata.permissions().readonly() { 0o444 } else { 0o644 }
}

fn kind(metadata: &Metadata) -> Kind {
    let file_type = metadata.file_type();
    if file_type.is_file() {
        Kind::File
    } else if file_type.is_dir() {
        Kind::Directory
    } else if file_type.is_symlink() {
        Kind::Symlink
    } else {
        Kind::Special
    }
}

/// Returns whether the file system that `path` is on keeps time stamps that this machine's clock can be compared
/// with, and changes them at every write. Network file systems and FUSE stamp with another clock or cache stamps; FAT
/// and exFAT know no change time. What cannot be found out is not trusted.
#[cfg(any(target_os = "linux", target_os = "android"))]
pub fn is_trustworthy(path: &Path) -> bool {
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
pub fn is_trustworthy(path: &Path) -> bool {
    /// `MNT_LOCAL` of `sys/mount.h`.
    const LOCAL: u32 = 0x1000;
    rustix::fs::statfs(path).is_ok_and(|stat| stat.f_flags & LOCAL != 0)
}

/// Returns false: nothing is known here about file systems and their time stamps.
#[cfg(not(any(target_os = "linux", target_os = "android", target_vendor = "apple")))]
pub fn is_trustworthy(_path: &Path) -> bool {
    false
}

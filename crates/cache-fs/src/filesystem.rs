//! Whether the file system of a directory is one for segments.
//!
//! Segments are shared by processes through locks and through reads that see at once what another process wrote. Every
//! local file system keeps both; what several machines can use, or what another program or machine answers for, may
//! not. `docs/contributing/file-systems.md` says what was tried.

use std::borrow::Cow;
use std::path::Path;

/// What is thought of a file system.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Verdict {
    /// Whether segments are at home there.
    pub(crate) segments: bool,
    /// What people call it.
    pub(crate) name: Cow<'static, str>,
    /// What it does, to be said after its name.
    does: &'static str,
}

impl Verdict {
    /// Returns why, as a sentence without its full stop.
    pub(crate) fn reason(&self) -> String {
        format!("{} {}", self.name, self.does)
    }
}

/// Returns whether segments suit the file system of `dir`, which must exist. One system call; nothing is written.
pub(crate) fn suits_segments(dir: &Path) -> Verdict {
    look(dir).unwrap_or_else(|| unknown("the file system".into()))
}

#[cfg(any(target_os = "linux", target_os = "android"))]
fn look(dir: &Path) -> Option<Verdict> {
    // Its width and sign depend on the architecture; each magic number has 32 bits.
    Some(of_magic(rustix::fs::statfs(dir).ok()?.f_type as u32))
}

#[cfg(target_vendor = "apple")]
fn look(dir: &Path) -> Option<Verdict> {
    let stat = rustix::fs::statfs(dir).ok()?;
    let name = stat.f_fstypename.iter().take_while(|&&letter| letter != 0).map(|&letter| letter as u8);
    Some(of_name(&String::from_utf8_lossy(&name.collect::<Vec<u8>>())))
}

/// What is known of other systems is too little.
#[cfg(not(any(target_os = "linux", target_os = "android", target_vendor = "apple")))]
fn look(_: &Path) -> Option<Verdict> {
    None
}

#[cfg(any(target_os = "linux", target_os = "android", target_vendor = "apple"))]
fn local(name: &'static str) -> Verdict {
    let does = "keeps the locks and reads of all processes in step";
    Verdict { segments: true, name: name.into(), does }
}

#[cfg(any(target_os = "linux", target_os = "android", target_vendor = "apple"))]
fn network(name: &'static str) -> Verdict {
    no(name, "can be used by several machines at once, which share no page cache and often no locks")
}

#[cfg(any(target_os = "linux", target_os = "android", target_vendor = "apple"))]
fn relayed(name: &'static str) -> Verdict {
    no(name, "leaves locks and reads to another program or machine, which may not keep them in step")
}

fn unknown(name: Cow<'static, str>) -> Verdict {
    no(name, "is not known to keep the locks and reads of all processes in step")
}

fn no(name: impl Into<Cow<'static, str>>, does: &'static str) -> Verdict {
    Verdict { segments: false, name: name.into(), does }
}

/// Goes by the number that Linux gives, see `linux/magic.h` and, for what is not part of Linux, `src/fs.h` of GNU coreutils.
#[cfg(any(target_os = "linux", target_os = "android"))]
fn of_magic(magic: u32) -> Verdict {
    match magic {
        0x0000_ef53 => local("ext2/3/4"),
        0x5846_5342 => local("xfs"),
        0x9123_683e => local("btrfs"),
        0xf2f5_2010 => local("f2fs"),
        0xca45_1a4e => local("bcachefs"),
        0x2fc1_2fc1 => local("zfs"),
        0x0102_1994 => local("tmpfs"),
        // Locks are on its own inodes and reads go to the layer that holds the file now, also if it was opened before it
        // was copied up. Only what is mapped goes stale, and segments are not mapped.
        0x794c_7630 => local("overlay"),
        0x0000_6969 => network("NFS"),
        0x0000_517b | 0xff53_4d42 | 0xfe53_4d42 => network("SMB"),
        0x00c3_6400 => network("CephFS"),
        0x0bd0_0bd0 => network("Lustre"),
        0x4750_4653 => network("GPFS"),
        0x1983_0326 => network("BeeGFS"),
        0x0116_1970 => network("GFS2"),
        0x7461_636f => network("OCFS2"),
        0x5346_414f | 0x6b41_4653 => network("AFS"),
        0x7375_7245 => network("Coda"),
        // A guest sees virtiofs by this number as well.
        0x6573_5546 => relayed("FUSE"),
        0x0102_1997 => relayed("9p"),
        0x786f_4256 => relayed("vboxsf"),
        0xbacb_acbc => relayed("vmhgfs"),
        0x7c7c_6673 => relayed("prl_fs"),
        0x5346_4846 => relayed("wslfs"),
        0x00c0_ffee => relayed("hostfs"),
        other => unknown(format!("file system {other:#x}").into()),
    }
}

/// Goes by the name that Apple's systems give.
#[cfg(target_vendor = "apple")]
fn of_name(name: &str) -> Verdict {
    match name {
        "apfs" => local("APFS"),
        "nfs" => network("NFS"),
        "smbfs" => network("SMB"),
        "afpfs" => network("AFP"),
        "webdav" => network("WebDAV"),
        "macfuse" | "osxfuse" => relayed("FUSE"),
        "virtiofs" => relayed("virtiofs"),
        other => unknown(format!("file system {other}").into()),
    }
}

#[cfg(test)]
mod tests {
    use super::suits_segments;

    #[cfg(target_os = "linux")]
    #[test]
    fn what_is_not_known_keeps_files() {
        let verdict = suits_segments("/proc".as_ref());
        assert!(!verdict.segments);
        assert_eq!(verdict.name, "file system 0x9fa0");
        assert!(verdict.reason().starts_with("file system 0x9fa0 is not known to keep"), "{verdict:?}");
    }

    #[test]
    fn what_cannot_be_asked_keeps_files() {
        let dir = tempfile::tempdir().unwrap();
        let verdict = suits_segments(&dir.path().join("absent"));
        assert!(
            !verdict.segments && verdict.reason().starts_with("the file system is not known"),
            "{verdict:?}"
        );
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn machines_that_share_a_disk_keep_files() {
        for magic in [0x6969, 0xff53_4d42, 0x0102_1997, 0x6573_5546, 0x00c3_6400, 0x786f_4256, 0] {
            assert!(!super::of_magic(magic).segments, "{magic:#x}");
        }
        assert!(
            super::of_magic(0x2fc1_2fc1).segments,
            "only real mounts are tried elsewhere, and not of zfs"
        );
    }

    #[cfg(target_vendor = "apple")]
    #[test]
    fn the_disk_of_a_mac_is_for_segments() {
        assert!(super::of_name("apfs").segments && !super::of_name("smbfs").segments);
        assert_eq!(suits_segments("/".as_ref()).name, "APFS");
    }
}

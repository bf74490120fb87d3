//! How large a disk is and how much of it is free.

use std::path::Path;

/// Room on the file system that a directory is on, in bytes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Space {
    /// In all.
    pub(crate) total: u64,
    /// Left for this user.
    pub(crate) free: u64,
}

/// Returns the room on the file system of `dir`, if the system tells.
#[cfg(unix)]
pub(crate) fn space(dir: &Path) -> Option<Space> {
    let stat = rustix::fs::statvfs(dir).ok()?;
    let unit = if stat.f_frsize == 0 { stat.f_bsize } else { stat.f_frsize };
    Some(Space { total: stat.f_blocks.saturating_mul(unit), free: stat.f_bavail.saturating_mul(unit) })
}

/// The standard library does not tell. The limits are those of a large disk, and there is no free-space floor.
#[cfg(not(unix))]
pub(crate) fn space(_: &Path) -> Option<Space> {
    None
}

/// Returns `bytes` for people.
pub(crate) fn human(bytes: u64) -> String {
    const UNITS: [&str; 5] = ["kB", "MB", "GB", "TB", "PB"];
    if bytes < 1000 {
        return format!("{bytes} bytes");
    }
    let mut value = bytes as f64 / 1000.0;
    let mut unit = 0;
    while value >= 999.95 && unit + 1 < UNITS.len() {
        value /= 1000.0;
        unit += 1;
    }
    format!("{value:.1} {}", UNITS[unit])
}

#[cfg(test)]
mod tests {
    #[test]
    fn sizes_read_well() {
        for (bytes, text) in [
            (0, "0 bytes"),
            (999, "999 bytes"),
            (1000, "1.0 kB"),
            (20_000_000_000, "20.0 GB"),
            (999_999, "1.0 MB"),
        ] {
            assert_eq!(super::human(bytes), text);
        }
    }
}

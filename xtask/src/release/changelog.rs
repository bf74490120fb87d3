//! The changelog, in the form of <https://keepachangelog.com/en/1.1.0/>.

use std::fmt::Display;

/// The section that collects what the next release brings.
const UNRELEASED: &str = "## [Unreleased]";

/// Moves what is unreleased under the heading of a version, and leaves an empty section for what
/// comes next.
pub(super) fn release(log: &str, version: impl Display, date: impl Display) -> Result<String, String> {
    let (before, after) =
        log.split_once(&format!("{UNRELEASED}\n")).ok_or_else(|| format!("has no section `{UNRELEASED}`"))?;
    let changes = after.split("\n## ").next().unwrap_or_default();
    let is_change = |line: &str| !line.trim().is_empty() && !line.starts_with('#');
    if !changes.lines().any(is_change) {
        return Err(format!("the section `{UNRELEASED}` is empty: say what changed"));
    }
    if log.contains(&format!("## [{version}]")) {
        return Err(format!("there is a section for {version} already"));
    }
    Ok(format!("{before}{UNRELEASED}\n\n## [{version}] - {date}\n{after}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unreleased_changes_get_a_version_and_a_date() {
        let log = "# Changelog\n\n## [Unreleased]\n\n### Added\n- a\n\n## [0.1.0] - 2020-01-01\n- b\n";
        assert_eq!(
            release(log, "0.2.0", "2020-02-02").unwrap(),
            "# Changelog\n\n## [Unreleased]\n\n## [0.2.0] - 2020-02-02\n\n### Added\n- a\n\n\
             ## [0.1.0] - 2020-01-01\n- b\n"
        );
    }

    #[test]
    fn a_release_without_changes_is_refused() {
        let empty = "## [Unreleased]\n\n### Added\n\n## [0.1.0] - 2020-01-01\n- b\n";
        assert!(release(empty, "0.2.0", "2020-02-02").unwrap_err().contains("is empty"));
        assert!(release("# Changelog\n", "0.2.0", "2020-02-02").unwrap_err().contains("has no section"));
        let twice = "## [Unreleased]\n- a\n\n## [0.1.0] - 2020-01-01\n- b\n";
        assert!(release(twice, "0.1.0", "2020-02-02").unwrap_err().contains("already"));
    }
}

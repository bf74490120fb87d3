//! The archive of a release, with all that a person wants beside the binary.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use super::version::Version;
use crate::files;
use crate::step::Step;
use crate::stop::{Result, Stop};

/// The shells that get completions, and how their file is called.
const COMPLETIONS: &[(&str, &str)] = &[
    ("bash", "vitte-cache.bash"),
    ("elvish", "vitte-cache.elv"),
    ("fish", "vitte-cache.fish"),
    ("powershell", "_vitte-cache.ps1"),
    ("zsh", "_vitte-cache"),
];
const DOCUMENTS: &[&str] = &["README.md", "LICENSE", "CHANGELOG.md"];
const CHECKSUMS: &str = "SHA256SUMS";

/// Writes the archive and its checksum into `dist`, and returns `dist`.
pub(super) fn write(root: &Path, binary: &Path, version: Version, dist: &Path) -> Result<PathBuf> {
    let name = format!("vitte-cache-{version}-{}", host()?);
    files::fresh_dir(dist)?;
    let dir = dist.join(&name);
    files::copy(binary, &dir.join(binary.file_name().unwrap_or_default()))?;
    for document in DOCUMENTS {
        files::copy(&root.join(document), &dir.join(document))?;
    }
    for (shell, file) in COMPLETIONS {
        let script = Step::new(binary).args(["completions", shell]).stdout()?;
        files::write(&dir.join("completions").join(file), script)?;
    }
    let man = dir.join("man");
    files::create_dirs(&man)?;
    Step::new(binary).args(["man", "--out"]).arg(&man).run()?;
    let archive = format!("{name}.tar.gz");
    Step::new("tar").args(["-czf", &archive, &name]).dir(dist).run()?;
    let sums = checksum_line(&archive, &files::read_bytes(&dist.join(&archive))?);
    files::write(&dist.join(CHECKSUMS), sums)?;
    Ok(dist.to_owned())
}

/// Returns the line that `sha256sum --check` reads.
fn checksum_line(name: &str, content: &[u8]) -> String {
    let mut line = String::new();
    for byte in Sha256::digest(content) {
        write!(line, "{byte:02x}").expect("a string takes all");
    }
    line + "  " + name + "\n"
}

/// Returns the target triple that the compiler builds for.
fn host() -> Result<String> {
    let text = Step::new("rustc").args(["--version", "--verbose"]).text()?;
    let host = text.lines().find_map(|line| line.strip_prefix("host: "));
    host.map(str::to_owned).ok_or_else(|| Stop::failed("rustc does not say what it builds for"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checksums_are_in_the_form_of_sha256sum() {
        assert_eq!(
            checksum_line("a.tar.gz", b"abc"),
            "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad  a.tar.gz\n"
        );
    }
}

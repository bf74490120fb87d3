//! Maven, newer than most package managers have it, and what a build with the cache extension needs from its repository.

use std::fs;
use std::path::{Path, PathBuf};

use crate::step::Step;
use crate::stop::{Result, Stop};

/// Unpacks an artifact. The version is fixed because this very one runs with older Mavens, too.
const UNPACK: &str = "org.apache.maven.plugins:maven-dependency-plugin:3.8.1:unpack";
/// The project that is built with it, here and in the test.
const PROJECT: &str = "crates/cache-server/tests/clients/maven";
/// What building it leaves.
const RESULT: &str = "target/greeting-1.0.jar";

/// Returns what is in `dir` once everything is installed.
pub(super) fn result(dir: &Path) -> PathBuf {
    dir.join("project").join(RESULT)
}

/// Installs Maven `version` to `dir`, through the Maven and the settings of this machine, and builds the project once, so
/// that tests find whatever they need in `dir/repository`.
pub(super) fn install(dir: &Path, version: &str) -> Result {
    let option = |name: &str, path: &Path| format!("-D{name}={}", path.display());
    let repository = option("maven.repo.local", &dir.join("repository"));
    let quietly = ["--batch-mode", "--quiet"];
    fs::create_dir_all(dir).map_err(Stop::io("create", dir))?;
    // Without a project, the plugin leaves a marker in the current directory.
    Step::new("mvn")
        .args(quietly)
        .args([&repository, UNPACK, &format!("-Dartifact=org.apache.maven:apache-maven:{version}:zip:bin")])
        .arg(option("outputDirectory", dir))
        .dir(dir)
        .run()?;
    let project = dir.join("project");
    copy(Path::new(PROJECT), &project)?;
    let program = dir.join(format!("apache-maven-{version}/bin/mvn"));
    let args = [&repository, "-Dmaven.build.cache.enabled=false", "package"];
    Step::new(program).args(quietly).args(args).dir(&project).run()
}

fn copy(from: &Path, to: &Path) -> Result {
    fs::create_dir_all(to).map_err(Stop::io("create", to))?;
    for entry in fs::read_dir(from).map_err(Stop::io("read", from))? {
        let entry = entry.map_err(Stop::io("read", from))?;
        let (from, to) = (entry.path(), to.join(entry.file_name()));
        if from.is_dir() {
            copy(&from, &to)?;
        } else {
            fs::copy(&from, &to).map_err(Stop::io("copy", &from))?;
        }
    }
    Ok(())
}

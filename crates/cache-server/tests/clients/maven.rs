//! Maven with its build cache extension.

use std::path::Path;

use tokio::process::Command;

use crate::support::{is_installed, program, run, snippet, start, text, wipe, write};

const TOOL: &str = "maven-3.9.11";
/// The project that `setup` has built once, so that everything which it needs is there.
const PROJECT: &str = include_str!("maven/pom.xml");
const RESOURCE: &str = include_str!("maven/src/main/resources/stamp.txt");
const EXTENSIONS: &str = include_str!("maven/.mvn/extensions.xml");

#[tokio::test]
async fn maven_hits() {
    let Some(maven) = program(TOOL, "apache-maven-3.9.11/bin/mvn") else { return };
    let Some(repository) = program(TOOL, "repository") else { return };
    if !is_installed("java").await {
        return;
    }
    let (server, secret) = start().await;
    let dir = tempfile::tempdir().unwrap();
    let of = |file: &str| snippet("maven", file, &server);
    assert_eq!(of(".mvn/extensions.xml"), EXTENSIONS, "`setup` installs what users are told to use");
    write(
        dir.path(),
        &[
            ("pom.xml", PROJECT),
            ("src/main/resources/stamp.txt", RESOURCE),
            (".mvn/extensions.xml", EXTENSIONS),
            (".mvn/maven-build-cache-config.xml", &of(".mvn/maven-build-cache-config.xml")),
            ("settings.xml", &of("~/.m2/settings.xml")),
        ],
    );
    let option = |name: &str, path: &Path| format!("-D{name}={}", path.display());
    let maven = |run: &str| {
        let mut command = Command::new(&maven);
        command
            .current_dir(dir.path())
            .args(["--batch-mode", "--no-transfer-progress", "--global-settings", "settings.xml"])
            .arg(option("maven.repo.local", &repository))
            .arg(option("maven.build.cache.location", &dir.path().join("local")))
            .arg("-Dmaven.build.cache.remote.save.enabled=true")
            // Not among what the extension looks at: the same inputs give another result each time.
            .arg(format!("-Drun={run}"))
            .arg("package")
            .env("VITTE_TOKEN", secret.reveal());
        command
    };
    let stamp = || std::fs::read_to_string(dir.path().join("target/classes/stamp.txt")).unwrap();
    let jar = || std::fs::read(dir.path().join("target/greeting-1.0.jar")).unwrap();
    let cold = text(&run(&mut maven("cold")).await);
    assert!(!cold.contains("Found cached build"), "{cold}");
    assert_eq!(stamp(), "made in the run cold\n");
    let built = jar();
    wipe(dir.path(), &["target", "local"]);
    let warm = text(&run(&mut maven("warm")).await);
    assert!(warm.contains("Found cached build, restoring org.example:greeting from cache"), "{warm}");
    for trouble in ["Unable to save to remote", "Error downloading"] {
        assert!(!cold.contains(trouble) && !warm.contains(trouble), "{cold}\n{warm}");
    }
    assert!(jar() == built, "{warm}");
}

//! Gradle.

use tokio::process::Command;

use crate::support::{is_installed, run, snippet, start, text, wipe, write};

/// Two tasks of which one needs the other. Each writes what differs each time it runs.
const BUILD: &str = "
@CacheableTask
class Up extends DefaultTask {
    @InputFile @PathSensitive(PathSensitivity.NONE) File source
    @OutputFile File result
    @TaskAction void run() { result.text = source.text + UUID.randomUUID() + '\\n' }
}
task up1(type: Up) {
    source = file('in.txt')
    result = file('build/1.txt')
}
task up2(type: Up) {
    dependsOn up1
    source = file('build/1.txt')
    result = file('build/2.txt')
}
";

#[tokio::test]
async fn gradle_hits() {
    if !is_installed("gradle").await {
        return;
    }
    let (server, secret) = start().await;
    let dir = tempfile::tempdir().unwrap();
    let settings = snippet("gradle", "settings.gradle", &server);
    write(dir.path(), &[("in.txt", "input\n"), ("settings.gradle", &settings), ("build.gradle", BUILD)]);
    let gradle = || {
        let mut command = Command::new("gradle");
        command
            .current_dir(dir.path())
            .args(["--no-daemon", "--console", "plain", "--build-cache", "--info", "up2"])
            .env("VITTE_TOKEN", secret.reveal())
            .env("GRADLE_USER_HOME", dir.path().join("home"));
        command
    };
    let cold = text(&run(&mut gradle()).await);
    assert!(cold.contains("2 actionable tasks: 2 executed"), "{cold}");
    let built = std::fs::read_to_string(dir.path().join("build/2.txt")).unwrap();
    assert_eq!(built.lines().count(), 3);
    // The local cache is in there too.
    wipe(dir.path(), &["build", ".gradle", "home"]);
    let warm = text(&run(&mut gradle()).await);
    for proof in [":up1 FROM-CACHE", ":up2 FROM-CACHE", "2 actionable tasks: 2 from cache"] {
        assert!(warm.contains(proof), "{proof}: {warm}");
    }
    for trouble in ["was disabled", "Could not load", "Could not store"] {
        assert!(!cold.contains(trouble) && !warm.contains(trouble), "{cold}\n{warm}");
    }
    assert_eq!(std::fs::read_to_string(dir.path().join("build/2.txt")).unwrap(), built);
}

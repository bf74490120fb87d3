//! CI systems: their names for a job, folded logs, summaries, and the snippets of the manual.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Output};

use crate::server::Real;
use crate::site::Machine;

/// The page of each system, and what it sets. Jobs of one run must be told apart.
const SYSTEMS: [(&str, &[(&str, &str)]); 6] = [
    (
        "github-actions",
        &[
            ("GITHUB_ACTIONS", "true"),
            ("GITHUB_RUN_ID", "17"),
            ("GITHUB_JOB", "site"),
            ("GITHUB_STEP_SUMMARY", "summary.md"),
        ],
    ),
    ("gitlab-ci", &[("GITLAB_CI", "true"), ("CI_JOB_ID", "17")]),
    ("jenkins", &[("JENKINS_URL", "https://jenkins.example"), ("BUILD_TAG", "jenkins-site-17")]),
    ("buildkite", &[("BUILDKITE", "true"), ("BUILDKITE_JOB_ID", "17")]),
    ("circleci", &[("CIRCLECI", "true"), ("CIRCLE_WORKFLOW_JOB_ID", "17")]),
    (
        "azure-pipelines",
        &[
            ("TF_BUILD", "True"),
            ("BUILD_BUILDID", "17"),
            ("SYSTEM_JOBID", "site"),
            ("AGENT_TEMPDIRECTORY", "."),
        ],
    ),
];

/// A machine with what the snippets build, and the server that they name.
fn machine(server: &Real, system: &[(&'static str, &'static str)]) -> Machine {
    let mut machine = Machine::new(&server.url(), "readwrite").set("VITTE_CACHE_GROUP", "1");
    for (name, value) in system {
        machine = machine.set(name, value);
    }
    machine.write("src/a", "a");
    machine.write("build.sh", "#!/bin/sh\nmkdir -p site && cp src/* site && echo built\n");
    fs::set_permissions(machine.work.join("build.sh"), fs::Permissions::from_mode(0o755)).unwrap();
    machine
}

/// The shell commands of the first snippet of a page.
fn commands(page: &str) -> Vec<String> {
    let snippet = page.split("```").nth(1).unwrap();
    let command = |line: &str| {
        let line = line.trim().trim_start_matches("- ");
        let line = ["run: ", "script: ", "sh "].iter().find_map(|key| line.strip_prefix(key)).unwrap_or(line);
        let line = line.strip_prefix('"').and_then(|line| line.strip_suffix('"')).unwrap_or(line);
        line.starts_with("vitte-cache ").then(|| line.to_owned())
    };
    snippet.lines().filter_map(command).collect()
}

fn shell(machine: &Machine, line: &str) -> Output {
    let template = machine.command([""; 0]);
    let mut shell = Command::new("/bin/sh");
    shell.args(["-c", line]).current_dir(&machine.work).env_clear();
    shell.envs(template.get_envs().filter_map(|(name, value)| Some((name, value?))));
    let bin = Path::new(env!("CARGO_BIN_EXE_vitte-cache")).parent().unwrap();
    let path = std::env::join_paths(
        [bin.to_owned()].into_iter().chain(std::env::split_paths(&std::env::var_os("PATH").unwrap())),
    );
    shell.env("PATH", path.unwrap()).output().unwrap()
}

#[test]
fn the_snippets_of_the_manual_work() {
    let known = Machine::new("", "").call(["config", "--markdown"]).stdout;
    for (name, system) in SYSTEMS {
        let server = Real::start();
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("../../docs/ci/{name}.md"));
        let page = fs::read_to_string(path).unwrap();
        for word in page.split(|c: char| !c.is_ascii_alphanumeric() && c != '_') {
            let setting = word.starts_with("VITTE_REMOTE") || word.starts_with("VITTE_CACHE");
            assert!(!setting || known.contains(&format!("`{word}`")), "{name}: {word} is no setting");
        }
        let commands = commands(&page);
        assert_eq!(commands.len(), 2, "{name}: {commands:?}");
        // Two machines, one after the other: the second one has it from the server.
        let mut tables = Vec::new();
        for _ in 0..2 {
            let machine = machine(&server, system);
            let mut said = String::new();
            for command in &commands {
                let output = shell(&machine, command);
                let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
                assert!(output.status.success(), "{name}: {command}: {}", text(&output.stderr));
                said = text(&output.stdout);
            }
            assert_eq!(machine.read("site/a"), b"a", "{name}");
            let file = ["summary.md", "vitte-cache.md"].into_iter().find(|file| machine.has(file));
            tables.push(file.map_or(said, |file| String::from_utf8(machine.read(file)).unwrap()));
        }
        assert!(tables[0].contains("| site | 1 | 0 (0 %) | 0 |"), "{name}: {}", tables[0]);
        assert!(tables[1].contains("| site | 1 | 1 (100 %) | 1 |"), "{name}: {}", tables[1]);
    }
}

#[test]
fn logs_are_folded_on_standard_error_and_only_if_wanted() {
    for (name, system) in SYSTEMS {
        let server = Real::start();
        let machine = machine(&server, system);
        let run =
            |machine: &Machine| machine.call(["run", "-n", "site", "--ttl", "1h", "--", "echo", "built"]);
        let (begin, end) = match name {
            "github-actions" => ("::group::site\n", "::endgroup::\n"),
            "azure-pipelines" => ("##[group]site\n", "##[endgroup]\n"),
            "buildkite" => ("--- site\n", "site"),
            "gitlab-ci" => ("[collapsed=true]\r\x1b[0Ksite\n", "section_end:"),
            _ => ("", ""),
        };
        let done = run(&machine);
        assert_eq!(done.stdout, "built\n", "{name}");
        assert!(done.stderr.contains(begin), "{name}: {:?}", done.stderr);
        let status = done.stderr.find("miss site").unwrap();
        assert!(done.stderr.find(end).unwrap() <= status, "the status line is not folded: {:?}", done.stderr);
        let plain = run(&machine.set("VITTE_CACHE_GROUP", ""));
        assert!(plain.stderr.starts_with("● hit"), "{name}: {:?}", plain.stderr);
    }
}

#[test]
fn the_summary_of_a_job_is_one_table() {
    let server = Real::start();
    let (_, system) = SYSTEMS[0];
    let machine = machine(&server, system);
    machine.write("summary.md", "# Ours\n");
    // Runs of another job on the same machine are not part of it.
    let other = machine.set("GITHUB_JOB", "other");
    other.call(["run", "-n", "other", "--ttl", "1h", "--", "true"]);
    let machine = other.set("GITHUB_JOB", "site");
    for label in ["one", "a|b<img>"] {
        machine.call(["run", "-n", label, "--ttl", "1h", "--", "true"]);
        let done = machine.call(["stats", "--summary"]);
        assert_eq!((done.code, done.stdout.as_str()), (0, ""), "{}", done.stderr);
    }
    let text = String::from_utf8(machine.read("summary.md")).unwrap();
    assert!(text.starts_with("# Ours\n") && text.matches("### Build cache").count() == 1, "{text}");
    assert!(text.contains("| **all** | 2 | 2 (100 %)") && text.contains("| one | 1 |"), "{text}");
    assert!(text.contains("| a\\|b&lt;img&gt; | 1 | 1 (100 %)") && !text.contains("other"), "{text}");
}

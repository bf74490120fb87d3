//! What people call a job and the repository that it builds.

use cache_core::{Digest, Namespace};

use super::System;

/// Characters of the name of a job in a label: more than what people call jobs, and half a line of a terminal.
const MAX_JOB: usize = 60;

/// Characters of the name of a repository that are left where a digest has to tell it apart; with both it is a namespace.
const MAX_REPOSITORY: usize = 80;

/// Hexadecimal digits of that digest: 48 bits are enough for what nobody makes collide on purpose.
const DIGEST_DIGITS: usize = 12;

/// Returns the name of the job as its author wrote it.
pub(super) fn job(system: System, variable: impl Fn(&str) -> Option<String>) -> Option<String> {
    let names: &[&str] = match system {
        System::GitHub => &["GITHUB_JOB"],
        System::GitLab => &["CI_JOB_NAME"],
        System::Buildkite => &["BUILDKITE_STEP_KEY", "BUILDKITE_LABEL"],
        System::CircleCi => &["CIRCLE_JOB"],
        // The second one is `__default` for every job that is in no matrix.
        System::Azure => &["SYSTEM_JOBDISPLAYNAME", "SYSTEM_JOBNAME"],
        // Only pipelines have stages.
        System::Jenkins => &["STAGE_NAME"],
        System::Travis => &["TRAVIS_JOB_NAME"],
    };
    let jenkins = || {
        let project = jenkins_project(&variable).filter(|_| system == System::Jenkins)?;
        project.rsplit('/').next().map(str::to_owned)
    };
    let name = names.iter().find_map(|name| variable(name)).or_else(jenkins)?;
    let words = name.split(|c: char| c.is_whitespace() || c.is_control());
    let words: Vec<&str> = words.filter(|word| !word.is_empty()).collect();
    let name: String = words.join(" ").chars().take(MAX_JOB).collect();
    Some(name).filter(|name| !name.is_empty())
}

/// Returns the name of the repository, with what it belongs to and slashes between, and the variables that it comes from.
pub(super) fn repository(
    system: System,
    variable: impl Fn(&str) -> Option<String>,
) -> Option<(String, &'static [&'static str])> {
    let names: &[&str] = match system {
        System::GitHub => &["GITHUB_REPOSITORY"],
        System::GitLab => &["CI_PROJECT_PATH"],
        System::Buildkite => &["BUILDKITE_ORGANIZATION_SLUG", "BUILDKITE_PIPELINE_SLUG"],
        System::CircleCi => &["CIRCLE_PROJECT_USERNAME", "CIRCLE_PROJECT_REPONAME"],
        System::Azure => &["BUILD_REPOSITORY_NAME"],
        System::Jenkins => &["GIT_URL"],
        System::Travis => &["TRAVIS_REPO_SLUG"],
    };
    let values: Option<Vec<String>> = names.iter().map(|name| variable(name)).collect();
    let name = values.map(|values| values.join("/"));
    if system != System::Jenkins {
        return name.map(|name| (name, names));
    }
    // Scripted pipelines and other version control have no GIT_URL.
    let found = name.as_deref().and_then(path_of_url).map(|path| (path.to_owned(), names));
    found.or_else(|| jenkins_project(&variable).map(|project| (project, ["JOB_NAME"].as_slice())))
}

/// Returns the project of a build with its folders. The jobs of a multibranch project are its branches.
fn jenkins_project(variable: impl Fn(&str) -> Option<String>) -> Option<String> {
    let name = variable("JOB_NAME")?;
    let project = name.rsplit_once('/').filter(|_| variable("BRANCH_NAME").is_some());
    Some(project.map_or(name.as_str(), |(project, _)| project).to_owned())
}

/// Returns the path in what `git clone` takes: `https://host/path.git`, `host:path`, or a path. Who logs in is no part of it.
fn path_of_url(url: &str) -> Option<&str> {
    let path = match (url.split_once("://"), url.split_once(':')) {
        (Some((_, rest)), _) => rest.split_once('/').map_or("", |(_, path)| path),
        (None, Some((_, path))) => path,
        (None, None) => url,
    };
    let path = path.trim_matches('/');
    let path = path.strip_suffix(".git").unwrap_or(path);
    Some(path).filter(|path| !path.is_empty())
}

/// Returns the namespace of a repository: `.` in place of `/`. Where that could be the namespace of another repository as
/// well, or is none, there is a digest of the name at its end.
pub(super) fn namespace(repository: &str) -> Namespace {
    if !repository.contains('.')
        && let Ok(namespace) = Namespace::new(repository.replace('/', "."))
    {
        return namespace;
    }
    let safe = |c: char| match c {
        '/' => '.',
        c if c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-') => c,
        _ => '-',
    };
    let mut name: String = repository.chars().map(safe).take(MAX_REPOSITORY).collect();
    name.push('-');
    name.extend(Digest::blake3(repository.as_bytes()).to_hex().chars().take(DIGEST_DIGITS));
    // It ends with digits, is short enough and has only what is allowed.
    Namespace::new(name.trim_start_matches(['.', '-'])).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    type Set = &'static [(&'static str, &'static str)];

    fn of(set: Set) -> impl Fn(&str) -> Option<String> {
        |name| set.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned())
    }

    #[test]
    fn jobs_are_called_what_their_authors_call_them() {
        let table: [(System, Set, Option<&str>); 14] = [
            (System::GitHub, &[("GITHUB_JOB", "unit-tests")], Some("unit-tests")),
            (System::GitHub, &[("CI_JOB_NAME", "of another system")], None),
            (System::GitLab, &[("CI_JOB_NAME", "rspec 1/3: [a, b]")], Some("rspec 1/3: [a, b]")),
            (System::Buildkite, &[("BUILDKITE_LABEL", ":hammer: Specs")], Some(":hammer: Specs")),
            (System::Buildkite, &[("BUILDKITE_LABEL", "a"), ("BUILDKITE_STEP_KEY", "b")], Some("b")),
            (System::CircleCi, &[("CIRCLE_JOB", "build")], Some("build")),
            (
                System::Azure,
                &[("SYSTEM_JOBDISPLAYNAME", "Build"), ("SYSTEM_JOBNAME", "__default")],
                Some("Build"),
            ),
            (System::Azure, &[("SYSTEM_JOBNAME", "linux")], Some("linux")),
            (System::Jenkins, &[("STAGE_NAME", "Test"), ("JOB_NAME", "team/site")], Some("Test")),
            (System::Jenkins, &[("JOB_NAME", "team/site")], Some("site")),
            (System::Jenkins, &[("JOB_NAME", "team/site/a%2Fb"), ("BRANCH_NAME", "a/b")], Some("site")),
            (System::Travis, &[("TRAVIS_JOB_NAME", "lint")], Some("lint")),
            (System::GitLab, &[("CI_JOB_NAME", " a\n\x1b[31m b\u{85}")], Some("a [31m b")),
            (System::GitLab, &[("CI_JOB_NAME", " \n ")], None),
        ];
        for (system, set, expected) in table {
            assert_eq!(job(system, of(set)).as_deref(), expected, "{system:?} {set:?}");
        }
        let long = job(System::GitLab, |_| Some("é".repeat(1000))).unwrap();
        assert_eq!(long.chars().count(), MAX_JOB);
    }

    #[test]
    fn repositories_have_their_owners_in_their_names() {
        let table: [(System, Set, Option<&str>); 13] = [
            (System::GitHub, &[("GITHUB_REPOSITORY", "acme/site")], Some("acme/site")),
            (System::GitLab, &[("CI_PROJECT_PATH", "acme/web/site")], Some("acme/web/site")),
            (
                System::Buildkite,
                &[("BUILDKITE_ORGANIZATION_SLUG", "acme"), ("BUILDKITE_PIPELINE_SLUG", "site")],
                Some("acme/site"),
            ),
            (System::Buildkite, &[("BUILDKITE_PIPELINE_SLUG", "site")], None),
            (
                System::CircleCi,
                &[("CIRCLE_PROJECT_USERNAME", "acme"), ("CIRCLE_PROJECT_REPONAME", "site")],
                Some("acme/site"),
            ),
            (System::Azure, &[("BUILD_REPOSITORY_NAME", "acme/site")], Some("acme/site")),
            (System::Travis, &[("TRAVIS_REPO_SLUG", "acme/site")], Some("acme/site")),
            (System::Jenkins, &[("GIT_URL", "https://me:secret@host/acme/site.git")], Some("acme/site")),
            (System::Jenkins, &[("GIT_URL", "git@host:acme/site.git")], Some("acme/site")),
            (System::Jenkins, &[("GIT_URL", "/srv/git/site")], Some("srv/git/site")),
            (System::Jenkins, &[("GIT_URL", "https://host"), ("JOB_NAME", "acme/site")], Some("acme/site")),
            (System::Jenkins, &[("JOB_NAME", "acme/site/a%2Fb"), ("BRANCH_NAME", "a/b")], Some("acme/site")),
            (System::Jenkins, &[], None),
        ];
        for (system, set, expected) in table {
            let found = repository(system, of(set));
            let (name, variables) = found.unzip();
            assert_eq!(name.as_deref(), expected, "{system:?} {set:?}");
            let variables = variables.unwrap_or_default();
            assert!(variables.iter().all(|name| set.iter().any(|(known, _)| known == name)), "{variables:?}");
        }
    }

    #[test]
    fn every_repository_has_a_namespace_of_its_own() {
        assert_eq!(namespace("acme/site").as_str(), "acme.site");
        assert_eq!(namespace("acme/web_2/site-a").as_str(), "acme.web_2.site-a");
        let long = format!("acme/{}", "x".repeat(200));
        let longer = format!("{long}y");
        let names = [
            "acme/next.js",
            "acme/next/js",
            "acme.next/js",
            "acme/a b",
            "acme/a-b",
            "ACME/a-b",
            "-/a",
            "..",
            ".",
            "",
            "é",
            "ü",
            long.as_str(),
            longer.as_str(),
        ];
        let all: std::collections::BTreeSet<Namespace> = names.into_iter().map(namespace).collect();
        assert_eq!(all.len(), names.len(), "{all:?}");
        assert!(!all.contains(&Namespace::default()), "{all:?}");
        assert!(namespace("acme/next.js").as_str().starts_with("acme.next.js-"));
    }
}

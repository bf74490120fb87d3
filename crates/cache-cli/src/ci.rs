//! The CI system that we run in: what it calls a job, how it folds logs, and where it takes summaries.

mod names;

use std::env;
use std::path::PathBuf;

use cache_core::Namespace;

/// A CI system.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum System {
    GitHub,
    GitLab,
    Buildkite,
    CircleCi,
    Azure,
    Jenkins,
    Travis,
}

/// The systems, each with the variables that name a job together. The first of them is set nowhere else.
pub(crate) const SYSTEMS: [(System, &[&str]); 7] = [
    (System::GitHub, &["GITHUB_RUN_ID", "GITHUB_RUN_ATTEMPT", "GITHUB_JOB", "RUNNER_NAME"]),
    (System::GitLab, &["CI_JOB_ID"]),
    (System::Buildkite, &["BUILDKITE_JOB_ID"]),
    (System::CircleCi, &["CIRCLE_WORKFLOW_JOB_ID"]),
    (System::Azure, &["BUILD_BUILDID", "SYSTEM_JOBID", "SYSTEM_JOBATTEMPT"]),
    (System::Jenkins, &["BUILD_TAG"]),
    (System::Travis, &["TRAVIS_JOB_ID"]),
];

/// Characters of the title of a folded part.
const MAX_TITLE: usize = 100;

/// A job of a CI system.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Job {
    pub(crate) system: System,
    /// What tells it apart from all others.
    pub(crate) name: String,
    /// What its author calls it: short, in one line.
    title: Option<String>,
    /// The namespace of the repository that it builds, and the variables that name that.
    repository: Option<(Namespace, &'static [&'static str])>,
}

impl Job {
    /// Returns the job that this process belongs to.
    pub(crate) fn current() -> Option<Self> {
        Self::of(|name| env::var(name).ok().filter(|value| !value.is_empty()))
    }

    /// Returns the label of a run that has none, from that of its program.
    pub(crate) fn label(&self, program: &str) -> Option<String> {
        self.title.as_ref().map(|title| format!("{title}/{program}"))
    }

    /// Returns the namespace of the repository that it builds, and the variables that name that.
    pub(crate) fn repository(&self) -> Option<(&Namespace, &'static [&'static str])> {
        self.repository.as_ref().map(|(namespace, variables)| (namespace, *variables))
    }

    fn of(variable: impl Fn(&str) -> Option<String>) -> Option<Self> {
        SYSTEMS.iter().find_map(|(system, names)| {
            let first = names.first()?;
            let id = variable(first)?;
            let more = names[1..].iter().filter_map(|name| variable(name));
            let parts: Vec<String> = std::iter::once(id).chain(more).collect();
            let repository = names::repository(*system, &variable);
            Some(Self {
                system: *system,
                name: format!("{first}={}", parts.join("/")),
                title: names::job(*system, &variable),
                repository: repository.map(|(name, variables)| (names::namespace(&name), variables)),
            })
        })
    }

    /// Returns the line that begins a part of the log that is folded, if the system folds any. `seconds` is the time since the
    /// epoch, and `number` tells parts apart.
    pub(crate) fn begin_group(&self, title: &str, seconds: u64, number: u32) -> Option<String> {
        // What comes after a line end could be a command to the system.
        let title: String = title.chars().filter(|c| !c.is_control()).take(MAX_TITLE).collect();
        match self.system {
            System::GitHub => Some(format!("::group::{title}")),
            System::Azure => Some(format!("##[group]{title}")),
            System::Buildkite => Some(format!("--- {title}")),
            System::GitLab => {
                let name = format!("vitte_cache_{number}[collapsed=true]");
                Some(format!("\x1b[0Ksection_start:{seconds}:{name}\r\x1b[0K{title}"))
            }
            System::CircleCi | System::Jenkins | System::Travis => None,
        }
    }

    /// Returns the line that ends it, if it needs one.
    pub(crate) fn end_group(&self, seconds: u64, number: u32) -> Option<String> {
        match self.system {
            System::GitHub => Some("::endgroup::".to_owned()),
            System::Azure => Some("##[endgroup]".to_owned()),
            System::GitLab => Some(format!("\x1b[0Ksection_end:{seconds}:vitte_cache_{number}\r\x1b[0K")),
            System::Buildkite | System::CircleCi | System::Jenkins | System::Travis => None,
        }
    }

    /// Returns the file that takes a summary of the job, and whether the system has to be told of it.
    pub(crate) fn summary_file(&self) -> Option<(PathBuf, bool)> {
        match self.system {
            System::GitHub => Some((env::var_os("GITHUB_STEP_SUMMARY")?.into(), false)),
            System::Azure => {
                let dir = PathBuf::from(env::var_os("AGENT_TEMPDIRECTORY")?);
                Some((dir.join("vitte-cache.md"), true))
            }
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn jobs_have_names_of_their_own() {
        let job = |set: &[(&str, &str)]| {
            let find =
                |name: &str| set.iter().find(|(known, _)| *known == name).map(|(_, v)| (*v).to_owned());
            Job::of(find)
        };
        assert_eq!(job(&[]), None);
        let github =
            job(&[("GITHUB_RUN_ID", "7"), ("GITHUB_JOB", "test"), ("GITHUB_RUN_ATTEMPT", "2")]).unwrap();
        assert_eq!((github.system, github.name.as_str()), (System::GitHub, "GITHUB_RUN_ID=7/2/test"));
        assert_eq!(github.label("cargo").as_deref(), Some("test/cargo"));
        assert_eq!(github.repository(), None);
        let gitlab = job(&[("CI_JOB_ID", "9"), ("CI_PIPELINE_ID", "1")]).unwrap();
        assert_eq!((gitlab.system, gitlab.name.as_str()), (System::GitLab, "CI_JOB_ID=9"));
        assert_eq!(gitlab.label("cargo"), None);
        assert_eq!(job(&[("BUILD_TAG", "jenkins-x-1")]).unwrap().system, System::Jenkins);
    }

    #[test]
    fn a_title_gives_no_commands() {
        for (system, _) in SYSTEMS {
            let job = Job { system, name: String::new(), title: None, repository: None };
            let title = "a\n::set-output name=x::y\r##vso[task]\x1b[0Kb";
            let Some(begin) = job.begin_group(title, 5, 1) else { continue };
            assert!(!begin.contains('\n'), "{begin:?}");
            let escapes = if system == System::GitLab { 2 } else { 0 };
            assert_eq!(begin.matches('\x1b').count(), escapes, "{begin:?}");
        }
    }
}

//! Which runs belong together.

use crate::config::Config;
use crate::settings::{Id, Value};

/// Variables by which CI systems name a job, the commoner first.
pub(crate) const CI_JOBS: [&str; 7] = [
    "GITHUB_RUN_ID",
    "CI_PIPELINE_ID",
    "BUILDKITE_BUILD_ID",
    "CIRCLE_WORKFLOW_ID",
    "BUILD_BUILDID",
    "BUILD_TAG",
    "TRAVIS_BUILD_ID",
];

/// Returns the name of this session: what the user says, else the CI job, else the terminal.
pub(crate) fn current(config: &Config) -> String {
    if let Some(Value::Text(name)) = config.given(Id::Session) {
        return name.clone();
    }
    let job = |name: &&str| std::env::var(name).ok().filter(|id| !id.is_empty());
    CI_JOBS.iter().find_map(|name| Some(format!("{name}={}", job(name)?))).unwrap_or_else(terminal)
}

/// The number is 0 where the session began outside of this process's PID namespace, as in many containers: rustix, which
/// holds that for impossible, cannot be asked.
#[cfg(unix)]
fn terminal() -> String {
    nix::unistd::getsid(None).map_or_else(|_| String::new(), |id| format!("terminal {id}"))
}

/// Other systems number no sessions that a terminal has to itself.
#[cfg(not(unix))]
fn terminal() -> String {
    String::new()
}

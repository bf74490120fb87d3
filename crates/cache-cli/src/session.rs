//! Which runs belong together.

use crate::ci::Job;
use crate::config::Config;
use crate::settings::{Id, Value};

/// Returns the name of this session: what the user says, else the CI job, else the terminal.
pub(crate) fn current(config: &Config) -> String {
    if let Some(Value::Text(name)) = config.given(Id::Session) {
        return name.clone();
    }
    Job::current().map_or_else(terminal, |job| job.name)
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

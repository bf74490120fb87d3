//! The command in a PID namespace that its session began outside of, as `docker exec` and sandboxes make it.

use std::process::Command;

use crate::support::{Place, finish};

/// Session and process group have the number 0 there.
#[test]
fn a_session_from_outside_the_pid_namespace_is_no_trouble() {
    const UNSHARE: [&str; 4] = ["--user", "--map-root-user", "--pid", "--fork"];
    let allowed =
        Command::new("unshare").args(UNSHARE).arg("true").output().is_ok_and(|done| done.status.success());
    if !allowed {
        // Kernels and sandboxes may forbid it; it is the system's answer, not the command's.
        return;
    }
    let place = Place::new();
    let program = place.command::<&str>([]);
    let mut command = place.command::<&str>([]);
    let mut inside = Command::new("unshare");
    inside.args(UNSHARE).arg(program.get_program()).args(["run", "--ttl", "1h", "--", "echo", "hello"]);
    inside.current_dir(&place.work).env_clear();
    for (name, value) in command.get_envs() {
        inside.envs(value.map(|value| (name, value)));
    }
    command = inside;
    assert_eq!(finish(&mut command).ok().stdout, "hello\n");
    assert_eq!(finish(&mut command).ok().stdout, "hello\n");
}

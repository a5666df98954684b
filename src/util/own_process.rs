//! Runs a unit test again in its own process, for tests of process-wide state.
#![expect(clippy::disallowed_methods, reason = "a variable marks the child process")]

use std::env;
use std::process::Command;

const MARK: &str = "TRACER_REGISTRY_TEST_PROCESS";

/// Runs the named test alone in a child process with the given variables, and asserts that it
/// passes. Returns true in that child, where the test then runs its body.
pub(crate) fn is_own_process(test: &str, variables: &[(&str, &str)]) -> bool {
    if env::var_os(MARK).is_some() {
        return true;
    }
    let output = Command::new(env::current_exe().expect("path of the test binary"))
        .args(["--exact", "--nocapture", "--test-threads=1", test])
        .env(MARK, "")
        .envs(variables.iter().copied())
        .output()
        .expect("child process");
    let printed = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success() && printed.contains("1 passed"),
        "{printed}\n{output:?}"
    );
    false
}

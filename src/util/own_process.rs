//! Runs a unit test once more in a process of its own, for what a process has only one of.
#![expect(clippy::disallowed_methods, reason = "a variable marks the child process")]

use std::env;
use std::process::Command;

const MARK: &str = "TRACER_REGISTRY_TEST_PROCESS";

/// Runs the test with this full name alone in a child process with these variables, and asserts
/// that it passes. Returns true in that child, where the test then does its work.
pub(crate) fn is_own_process(test: &str, variables: &[(&str, &str)]) -> bool {
    if env::var_os(MARK).is_some() {
        return true;
    }
    let output = Command::new(env::current_exe().expect("a test knows its binary"))
        .args(["--exact", "--nocapture", "--test-threads=1", test])
        .env(MARK, "")
        .envs(variables.iter().copied())
        .output()
        .expect("it starts");
    let printed = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success() && printed.contains("1 passed"),
        "{printed}\n{output:?}"
    );
    false
}

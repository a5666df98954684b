//! Runs a test in a child process, to isolate process-wide state such as environment variables.
#![expect(clippy::disallowed_methods, reason = "a variable marks the child process")]

use std::env;
use std::ffi::OsStr;
use std::process::{Command, Output};

/// Environment variable with the label of the test that the child runs.
const LABEL_VARIABLE: &str = "SUITE_CHILD_OF";

/// Runs a test of this binary in a child process with only `variables` and `PATH` set.
///
/// `test` is the full test name. Returns true in the child, which runs the test, and false in the
/// parent, which must return. Panics if the child fails.
pub(crate) fn is_child<V: AsRef<OsStr>>(test: &str, variables: &[(&str, V)]) -> bool {
    is_started_by(&[], test, variables)
}

/// `starter` is a command that runs the command in its trailing arguments; empty to start directly.
fn is_started_by<V: AsRef<OsStr>>(starter: &[&str], test: &str, variables: &[(&str, V)]) -> bool {
    let label = label(test, variables);
    if let Some(own_label) = env::var_os(LABEL_VARIABLE) {
        return *own_label == *label;
    }
    let output = run(starter, test, variables, &label);
    let stdout = String::from_utf8_lossy(&output.stdout);
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success() && stdout.contains("1 passed"),
        "{stdout}\n{stderr}"
    );
    false
}

/// As [`is_child`], but returns the output of a child that may fail. Returns `None` in the child.
#[cfg(unix)]
pub(crate) fn child_output<V: AsRef<OsStr>>(test: &str, variables: &[(&str, V)]) -> Option<Output> {
    let is_parent = env::var_os(LABEL_VARIABLE).is_none();
    is_parent.then(|| run(&[], test, variables, &label(test, variables)))
}

fn label<V>(test: &str, variables: &[(&str, V)]) -> String {
    let names = variables.iter().map(|(name, _)| name);
    names.fold(test.to_owned(), |label, name| format!("{label} {name}"))
}

fn run<V: AsRef<OsStr>>(starter: &[&str], test: &str, variables: &[(&str, V)], label: &str) -> Output {
    let binary = env::current_exe().expect("the path of this binary");
    let mut command = match starter.split_first() {
        Some((program, arguments)) => {
            let mut command = Command::new(program);
            command.args(arguments).arg(binary);
            command
        }
        None => Command::new(binary),
    };
    command
        .args(["--exact", test, "--nocapture"])
        .env_clear()
        .envs(env::var_os("PATH").map(|path| ("PATH", path)))
        .envs(variables.iter().map(|(name, value)| (name, value.as_ref())))
        .env(LABEL_VARIABLE, label)
        .output()
        .expect("the binary starts")
}

/// Returns whether this process is a child.
#[cfg(target_os = "linux")]
pub(crate) fn is_in_child() -> bool {
    env::var_os(LABEL_VARIABLE).is_some()
}

/// Returns a variable that the parent set.
pub(crate) fn variable(name: &str) -> String {
    env::var(name).expect("set by the parent")
}

/// As [`is_child`], with SIGCHLD ignored, as some supervisors and C programs start processes.
#[cfg(target_os = "linux")]
pub(crate) fn is_child_ignoring_sigchld(test: &str) -> bool {
    is_started_by(&["env", "--ignore-signal=CHLD"], test, &[] as &[(&str, &str)])
}

/// As [`is_child`], with the address space limited to `mebibytes`.
#[cfg(target_os = "linux")]
pub(crate) fn is_child_with_memory(test: &str, mebibytes: u64) -> bool {
    let limited = format!("ulimit -v {} && exec \"$@\"", mebibytes * 1024);
    is_started_by(&["sh", "-c", &limited, "sh"], test, &[] as &[(&str, &str)])
}

//! A test in a process of its own, for what a process has only one of: its variables.
#![expect(clippy::disallowed_methods, reason = "a variable tells a test that it is the child")]

use std::env;
use std::ffi::OsStr;
use std::process::{Command, Output};

/// Tells the process which test it was started for.
const MARK: &str = "SUITE_CHILD_OF";

/// Runs a test of this binary, by its full name, once more in a process with these variables and `PATH` only; gives whether this is that
/// process. The caller goes on where it is, and returns where it is not.
pub(crate) fn is_child<V: AsRef<OsStr>>(test: &str, variables: &[(&str, V)]) -> bool {
    is_started_by(&[], test, variables)
}

/// `starter` is a command that starts the one that its further arguments say; none for no such command.
fn is_started_by<V: AsRef<OsStr>>(starter: &[&str], test: &str, variables: &[(&str, V)]) -> bool {
    let label = label(test, variables);
    if let Some(mark) = env::var_os(MARK) {
        return *mark == *label;
    }
    let output = run(starter, test, variables, &label);
    let said = String::from_utf8_lossy(&output.stdout);
    let complained = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success() && said.contains("1 passed"),
        "{said}\n{complained}"
    );
    false
}

/// As [`is_child`], for a process that does not end as a test does: how it ended; nothing where this is that process.
#[cfg(unix)]
pub(crate) fn ended_child<V: AsRef<OsStr>>(test: &str, variables: &[(&str, V)]) -> Option<Output> {
    let is_parent = env::var_os(MARK).is_none();
    is_parent.then(|| run(&[], test, variables, &label(test, variables)))
}

fn label<V>(test: &str, variables: &[(&str, V)]) -> String {
    let names = variables.iter().map(|(name, _)| name);
    names.fold(test.to_owned(), |label, name| format!("{label} {name}"))
}

fn run<V: AsRef<OsStr>>(starter: &[&str], test: &str, variables: &[(&str, V)], label: &str) -> Output {
    let binary = env::current_exe().expect("a test knows its binary");
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
        .env(MARK, label)
        .output()
        .expect("the binary starts")
}

/// Whether this process was started for a test.
#[cfg(target_os = "linux")]
pub(crate) fn is_in_child() -> bool {
    env::var_os(MARK).is_some()
}

/// What the parent tells its child.
pub(crate) fn variable(name: &str) -> String {
    env::var(name).expect("given")
}

/// As [`is_child`], in a process that was started with SIGCHLD ignored, as some supervisors and programs of C have it.
#[cfg(target_os = "linux")]
pub(crate) fn is_child_that_ignores_children(test: &str) -> bool {
    is_started_by(&["env", "--ignore-signal=CHLD"], test, &[] as &[(&str, &str)])
}

/// As [`is_child`], in a process that has so much address space in all.
#[cfg(target_os = "linux")]
pub(crate) fn is_child_with_memory(test: &str, mebibytes: u64) -> bool {
    let limited = format!("ulimit -v {} && exec \"$@\"", mebibytes * 1024);
    is_started_by(&["sh", "-c", &limited, "sh"], test, &[] as &[(&str, &str)])
}

//! Commands that print keys: environment, leftover processes and errors.
//!
//! Tests of process-wide state (children, threads, descriptors, variables) run in a child process.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;
use tracer_registry::config::Binding;
use tracer_registry::secret::{KeyCommand, SecretError, SecretErrorKind, SecretSources};
use tracer_registry::{KeySource, LookupError, TracerRegistry};

use super::is_key;
use crate::child_process::{is_child, is_child_ignoring_sigchld, variable};
use crate::support::{LONG, wait_for};

/// Environment variable passed to commands, to find their processes.
const MARK: &str = "SUITE_MARK";
/// Timeout that no test reaches.
const NEVER: Duration = Duration::from_secs(3600);
/// Timeout that the tests wait for.
const BRIEF: Duration = Duration::from_millis(50);

fn sh(script: &str, timeout: Duration) -> KeyCommand {
    KeyCommand::new(["sh", "-c", script]).timeout(timeout).pass_env([MARK])
}

fn error(command: KeyCommand) -> SecretError {
    let read = KeySource::Exec(command).read(&SecretSources::default());
    read.expect_err("no key")
}

/// Returns the other processes with the mark: process id and command line.
fn marked() -> Vec<(u32, String)> {
    let own_id = std::process::id();
    let processes = fs::read_dir("/proc").expect("a readable /proc").flatten();
    let pids = processes.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    let found = pids.filter(|pid| *pid != own_id).filter_map(|pid: u32| {
        let environment = fs::read(format!("/proc/{pid}/environ")).ok()?;
        let mark = format!("{MARK}={}", variable(MARK));
        let is_marked = environment
            .split(|byte| *byte == 0)
            .any(|variable| variable == mark.as_bytes());
        let command_line = fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        is_marked.then(|| (pid, command_line.replace('\0', " ")))
    });
    found.collect()
}

/// Returns the children of this process, including zombies.
fn children() -> BTreeSet<String> {
    let tasks = fs::read_dir("/proc/self/task").expect("a readable /proc").flatten();
    let children = tasks.filter_map(|task| fs::read_to_string(task.path().join("children")).ok());
    children
        .flat_map(|list| list.split_whitespace().map(str::to_owned).collect::<Vec<_>>())
        .collect()
}

/// Returns the number of threads and descriptors of this process.
fn threads_and_descriptors() -> (usize, usize) {
    let count = |folder: &str| fs::read_dir(folder).expect("a readable /proc").count();
    (count("/proc/self/task"), count("/proc/self/fd"))
}

/// Kills the background process whose id a command wrote to `agent`. A successful command leaves
/// its background processes running.
fn kill(agent: &Path) {
    let pid = fs::read_to_string(agent).expect("written");
    let agent = pid.trim().parse().ok().and_then(Pid::from_raw).expect("a process");
    kill_process(agent, Signal::TERM).expect("the agent is running");
}

/// As [`is_child`], with a unique mark for the commands of this test.
fn is_marked_child(test: &str) -> bool {
    is_child(test, &[(MARK, format!("{} {test}", std::process::id()))])
}

#[test]
fn a_failed_command_leaves_no_process_thread_or_descriptor() {
    let test = "keys::commands::a_failed_command_leaves_no_process_thread_or_descriptor";
    if !is_marked_child(test) {
        return;
    }
    let scripts = [
        ("sleep 600", BRIEF),
        ("sleep 600 & sleep 600", BRIEF),
        (
            "trap '' TERM HUP INT; (trap '' TERM HUP INT; sleep 600) & sleep 600",
            BRIEF,
        ),
        ("sleep 600 & exit 0", BRIEF),
        ("printf half; sleep 600 & exit 0", BRIEF),
        ("sleep 600 & while :; do echo flood; done", NEVER),
        ("sleep 600 & exit 3", NEVER),
        ("sleep 600 & printf 'two\\nlines\\n'", NEVER),
    ];
    error(sh("exit 1", NEVER));
    let before = threads_and_descriptors();
    for round in 0..10 {
        for (script, timeout) in scripts {
            for command in [sh(script, timeout), sh(script, timeout).show_stderr(true)] {
                let error = error(command);
                let fault = error.kind();
                let expected = match (timeout, script.contains("flood")) {
                    (BRIEF, _) => matches!(
                        fault,
                        SecretErrorKind::TimedOut(BRIEF) | SecretErrorKind::OutputHeldOpen(BRIEF)
                    ),
                    (_, true) => *fault == SecretErrorKind::TooLarge(8 * 1024),
                    _ => matches!(
                        fault,
                        SecretErrorKind::Failed { .. } | SecretErrorKind::ControlCharacter(3)
                    ),
                };
                assert!(expected, "{script}: {error}");
                assert_eq!(children(), BTreeSet::new(), "round {round}, {script}");
            }
        }
        // The processes are killed when reading ends. They disappear asynchronously.
        wait_for("no process", marked, Vec::is_empty);
        assert_eq!(
            threads_and_descriptors(),
            before,
            "threads and descriptors, round {round}"
        );
    }
}

#[test]
fn a_subreaper_reaps_orphaned_processes_of_a_command() {
    let test = "keys::commands::a_subreaper_reaps_orphaned_processes_of_a_command";
    if !is_marked_child(test) {
        return;
    }
    let own_id = rustix::process::getpid();
    // Like the first process of a container.
    rustix::process::set_child_subreaper(Some(own_id)).expect("a subreaper");
    for script in [
        "(sleep 600 & sleep 600) & sleep 600",
        "(sleep 600 & sleep 600) & exit 0",
    ] {
        error(sh(script, BRIEF));
        assert_eq!((children(), marked()), (BTreeSet::new(), Vec::new()), "{script}");
    }
}

#[test]
fn a_full_line_is_read_at_once_while_a_descendant_holds_the_output() {
    let folder = TempDir::new().expect("a temporary folder");
    let agent = folder.path().join("agent");
    let script = format!("sleep 600 & echo $! > '{}'; echo hh_key", agent.display());
    let (done, read) = mpsc::channel();
    thread::spawn(move || done.send(is_key(&KeySource::Exec(sh(&script, NEVER)), "hh_key")));
    assert!(read.recv_timeout(LONG).expect("before the timeout"));
    kill(&agent);
}

#[test]
fn a_command_with_unknown_exit_status_is_judged_by_its_output() {
    let test = "keys::commands::a_command_with_unknown_exit_status_is_judged_by_its_output";
    if !is_child_ignoring_sigchld(test) {
        return;
    }
    let status = fs::read_to_string("/proc/self/status").expect("a readable /proc");
    let ignored = status
        .lines()
        .find_map(|line| line.strip_prefix("SigIgn:"))
        .expect("there");
    let ignored = u64::from_str_radix(ignored.trim(), 16).expect("hexadecimal");
    assert_ne!(ignored & (1 << 16), 0, "SIGCHLD (17) is not ignored");
    let folder = TempDir::new().expect("a temporary folder");
    let agent = folder.path().join("agent");
    let with_agent = format!("sleep 600 & echo $! > '{}'; echo hh_key", agent.display());
    for script in ["echo hh_key", "printf hh_key", &with_agent] {
        assert!(is_key(&KeySource::Exec(sh(script, NEVER)), "hh_key"), "{script}");
    }
    kill(&agent);
    let unknown = error(sh("exit 3", NEVER));
    assert_eq!(unknown.kind(), &SecretErrorKind::StatusUnknown);
    assert_eq!(
        unknown.to_string(),
        "command sh: printed nothing, and its exit status is lost: this program ignores SIGCHLD or reaps child processes"
    );
    let before = threads_and_descriptors();
    for script in ["sleep 600", "sleep 600 & sleep 600", "sleep 600 & exit 0"] {
        let error = error(sh(script, BRIEF));
        let fault = error.kind();
        assert!(
            matches!(fault, SecretErrorKind::TimedOut(_) | SecretErrorKind::OutputHeldOpen(_)),
            "{script}: {error}"
        );
        wait_for("no process", children, BTreeSet::is_empty);
    }
    assert_eq!(threads_and_descriptors(), before);
}

#[test]
fn a_command_gets_the_standard_and_the_named_variables() {
    let test = "keys::commands::a_command_gets_the_standard_and_the_named_variables";
    let variables = [
        ("HOME", "/home/service"),
        ("LANG", "C"),
        ("VAULT_TOKEN", "hvs.token"),
        ("OTHER_TENANTS_KEY", "hh_canary"),
        ("LD_PRELOAD_NOT", "1"),
    ];
    if !is_child(test, &variables) {
        return;
    }
    // Without the variables that the shell adds.
    let names = "env | cut -d= -f1 | grep -v -e ^PWD -e ^OLDPWD -e ^SHLVL -e ^_ | sort | tr '\\n' ,";
    let command = || KeyCommand::new(["sh", "-c", names]).timeout(NEVER);
    assert!(is_key(&KeySource::Exec(command()), "HOME,LANG,PATH,"));
    let passed = command().pass_env(["VAULT_TOKEN", "NOT_SET"]);
    assert!(is_key(&KeySource::Exec(passed), "HOME,LANG,PATH,VAULT_TOKEN,"));
    let token = KeyCommand::new(["sh", "-c", "echo $VAULT_TOKEN"]).pass_env(["VAULT_TOKEN"]);
    assert!(is_key(&KeySource::Exec(token.timeout(NEVER)), "hvs.token"));
}

#[test]
fn the_variables_of_a_command_are_configured_in_a_file() {
    let test = "keys::commands::the_variables_of_a_command_are_configured_in_a_file";
    if !is_child(test, &[("VAULT_TOKEN", "hvs.token"), ("HOME", "/")]) {
        return;
    }
    let folder = TempDir::new().expect("a temporary folder");
    let file = folder.path().join("default.toml");
    let script = "test \"$VAULT_TOKEN\" && echo hh_key || { echo no token >&2; exit 2; }";
    let table = |more: &str| format!("[tenants.acme.api_key]\nexec = ['sh', '-c', '{script}']\ntimeout = '1h'\n{more}");
    for (more, expected) in [
        ("pass_env = ['VAULT_TOKEN']", Ok(())),
        ("", Err("command sh: failed with exit status: 2")),
        (
            "show_stderr = true",
            Err("command sh: failed with exit status: 2: no token"),
        ),
    ] {
        fs::write(&file, table(more)).expect("written");
        let registry = TracerRegistry::from_config(&file).expect("valid");
        let result = registry.tenant("acme").map(drop).map_err(|error| error.to_string());
        let expected = expected.map_err(|message| format!("the key cannot be read: {message}"));
        assert_eq!(result, expected, "{more}");
    }
    for wrong in [
        "pass_env = ['{tenant}']",
        "pass_env = ['']",
        "pass_env = ['A=B']",
        "pass_env = 'A'",
    ] {
        fs::write(&file, table(wrong)).expect("written");
        let error = TracerRegistry::from_config(&file).expect_err(wrong).to_string();
        assert!(error.contains("tenants.acme.api_key"), "{error}");
    }
}

#[test]
fn stderr_of_a_command_is_shown_only_with_show_stderr() {
    let token = "echo 'token abcdefghijklmnopqrstuvw\\033[2J is old' >&2; exit 3";
    assert_eq!(
        error(sh(token, NEVER)).to_string(),
        "command sh: failed with exit status: 3"
    );
    for (script, expected) in [
        (
            "printf 'permission\\ndenied \\033[31mhere' >&2; exit 3",
            "exit status: 3: permission denied [31mhere",
        ),
        ("printf '\\342\\200\\256abc' >&2; exit 3", "exit status: 3: abc"),
        ("exit 3", "exit status: 3"),
        (
            "echo half of the key; echo half of the key is wrong >&2; exit 3",
            "exit status: 3",
        ),
        ("kill -9 $$", "signal: 9 (SIGKILL)"),
    ] {
        let shown = error(sh(script, NEVER).show_stderr(true)).to_string();
        assert_eq!(shown, format!("command sh: failed with {expected}"), "{script}");
    }
    let much = "i=0; while [ $i -lt 3000 ]; do echo much; i=$((i+1)); done >&2; exit 3";
    let shown = error(sh(much, NEVER).show_stderr(true)).to_string();
    assert!(
        shown.starts_with("command sh: failed with exit status: 3: much much"),
        "{shown}"
    );
    assert!(shown.len() < 300, "{shown}");
}

#[test]
fn a_command_is_killed_if_reading_its_key_is_cancelled() {
    let test = "keys::commands::a_command_is_killed_if_reading_its_key_is_cancelled";
    if !is_marked_child(test) {
        return;
    }
    let folder = TempDir::new().expect("a temporary folder");
    let first = folder.path().join("first");
    let once = format!(
        "test -e '{0}' && exec sleep 600; : > '{0}'; echo hh_key",
        first.display()
    );
    // Longer than the test waits, but finite, so that leftovers end.
    let (hanging, renewed) = (sh("sleep 600 & sleep 600", 5 * LONG), sh(&once, 5 * LONG));
    let registry = TracerRegistry::builder()
        .tenant("hanging", Binding::new().api_key(KeySource::Exec(hanging)))
        .tenant("brief", Binding::new().api_key(KeySource::Exec(sh("sleep 600", BRIEF))))
        .tenant(
            "renewed",
            Binding::new().api_key(KeySource::Exec(renewed.lifetime(BRIEF))),
        )
        .build()
        .expect("valid");
    // A dropped look-up: its command runs until its timeout.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .expect("a runtime");
    runtime.block_on(async {
        let lookup = registry.tenant_async("brief");
        tokio::select! {
            biased;
            _ = lookup => panic!("the command prints no key"),
            () = async {} => {}
        }
    });
    drop(runtime);
    wait_for("no process", marked, Vec::is_empty);
    // A look-up and a renewal during shutdown.
    let running = |count| {
        move |found: &Vec<(u32, String)>| {
            found
                .iter()
                .filter(|(_, command_line)| command_line.starts_with("sleep"))
                .count()
                == count
        }
    };
    registry.tenant("renewed").expect("its first key");
    wait_for("the renewal", marked, running(1));
    thread::scope(|threads| {
        let looked_up = threads.spawn(|| registry.tenant("hanging"));
        wait_for("the look-up's processes", marked, running(3));
        assert!(registry.shutdown(LONG).is_complete());
        match looked_up.join().expect("no panic") {
            Err(LookupError::Secret(error)) => assert_eq!(error.kind(), &SecretErrorKind::Cancelled),
            other => panic!("{other:?}"),
        }
    });
    wait_for("no process", marked, Vec::is_empty);
    wait_for("no child", children, BTreeSet::is_empty);
}

#[test]
fn a_missing_command_or_one_without_a_key_is_an_error() {
    let read = |words: &[&str]| error(KeyCommand::new(words.to_vec()).timeout(NEVER));
    let missing = read(&["/nonexistent/program"]);
    let spawn_error = std::process::Command::new("/nonexistent/program").spawn();
    let spawn_error = spawn_error.expect_err("no such program").into();
    assert_eq!(missing.kind(), &SecretErrorKind::NotStarted(spawn_error));
    assert_eq!(
        read(&[]).kind(),
        &SecretErrorKind::NotStarted(std::io::ErrorKind::InvalidInput.into())
    );
    assert_eq!(read(&["true"]).kind(), &SecretErrorKind::Empty);
    assert_eq!(read(&["printf", "a\\nb"]).kind(), &SecretErrorKind::ControlCharacter(1));
    let literal = KeyCommand::new(["printf", "%s", "$HOME;id"]).timeout(NEVER);
    assert!(
        is_key(&KeySource::Exec(literal), "$HOME;id"),
        "arguments are not interpreted by a shell"
    );
}

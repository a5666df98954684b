//! Commands that print keys: what they get, what they leave behind, and what is said of them. What a process has only one of (its
//! children, threads, descriptors and variables) is looked at in a process of its own.

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
use crate::child::{is_child, is_child_that_ignores_children, variable};
use crate::support::{LONG, wait_for};

/// A variable that is passed to commands, to find them and what they start.
const MARK: &str = "SUITE_MARK";
/// A time that no test waits for.
const ETERNAL: Duration = Duration::from_secs(3600);
/// A time that is over soon.
const BRIEF: Duration = Duration::from_millis(50);

fn sh(script: &str, timeout: Duration) -> KeyCommand {
    KeyCommand::new(["sh", "-c", script]).timeout(timeout).pass_env([MARK])
}

fn error(command: KeyCommand) -> SecretError {
    let read = KeySource::Exec(command).read(&SecretSources::default());
    read.expect_err("no key")
}

/// Processes with the mark, this one excepted: by number, with what they run.
fn marked() -> Vec<(u32, String)> {
    let own = std::process::id();
    let processes = fs::read_dir("/proc").expect("a readable /proc").flatten();
    let numbers = processes.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    let found = numbers.filter(|number| *number != own).filter_map(|number: u32| {
        let environment = fs::read(format!("/proc/{number}/environ")).ok()?;
        let mark = format!("{MARK}={}", variable(MARK));
        let is_marked = environment
            .split(|byte| *byte == 0)
            .any(|variable| variable == mark.as_bytes());
        let runs = fs::read_to_string(format!("/proc/{number}/cmdline")).unwrap_or_default();
        is_marked.then(|| (number, runs.replace('\0', " ")))
    });
    found.collect()
}

/// Children of this process, those that ended and were not reaped among them.
fn children() -> BTreeSet<String> {
    let tasks = fs::read_dir("/proc/self/task").expect("a readable /proc").flatten();
    let children = tasks.filter_map(|task| fs::read_to_string(task.path().join("children")).ok());
    children
        .flat_map(|list| list.split_whitespace().map(str::to_owned).collect::<Vec<_>>())
        .collect()
}

/// Threads and descriptors of this process.
fn held() -> (usize, usize) {
    let count = |folder: &str| fs::read_dir(folder).expect("a readable /proc").count();
    (count("/proc/self/task"), count("/proc/self/fd"))
}

/// Kills the process in the background whose number a command wrote to a file. What a command that gave a key left there is not killed with it.
fn kill(agent: &Path) {
    let number = fs::read_to_string(agent).expect("written");
    let agent = number.trim().parse().ok().and_then(Pid::from_raw).expect("a process");
    kill_process(agent, Signal::TERM).expect("the agent is still there");
}

/// Starts a test once more in a process of its own, whose commands have a mark of their own.
fn is_marked_child(test: &str) -> bool {
    is_child(test, &[(MARK, format!("{} {test}", std::process::id()))])
}

#[test]
fn a_command_that_gives_no_key_leaves_no_process_thread_or_descriptor() {
    let test = "keys::commands::a_command_that_gives_no_key_leaves_no_process_thread_or_descriptor";
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
        ("sleep 600 & while :; do echo flood; done", ETERNAL),
        ("sleep 600 & exit 3", ETERNAL),
        ("sleep 600 & printf 'two\\nlines\\n'", ETERNAL),
    ];
    error(sh("exit 1", ETERNAL));
    let before = held();
    for round in 0..10 {
        for (script, timeout) in scripts {
            for command in [sh(script, timeout), sh(script, timeout).show_stderr(true)] {
                let error = error(command);
                let fault = error.fault();
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
        // Killed when the reading ended, and gone when the system has come to it.
        wait_for("no process", marked, Vec::is_empty);
        assert_eq!(held(), before, "threads and descriptors, round {round}");
    }
}

#[test]
fn what_a_command_left_is_reaped_by_a_process_that_is_its_parent_then() {
    let test = "keys::commands::what_a_command_left_is_reaped_by_a_process_that_is_its_parent_then";
    if !is_marked_child(test) {
        return;
    }
    let own = rustix::process::getpid();
    // As the first process of a container is.
    rustix::process::set_child_subreaper(Some(own)).expect("the system has it");
    for script in [
        "(sleep 600 & sleep 600) & sleep 600",
        "(sleep 600 & sleep 600) & exit 0",
    ] {
        error(sh(script, BRIEF));
        assert_eq!((children(), marked()), (BTreeSet::new(), Vec::new()), "{script}");
    }
}

#[test]
fn a_full_line_is_the_key_at_once_if_a_descendant_holds_the_output() {
    let folder = TempDir::new().expect("a temporary folder");
    let agent = folder.path().join("agent");
    let script = format!("sleep 600 & echo $! > '{}'; echo hh_key", agent.display());
    let (done, read) = mpsc::channel();
    thread::spawn(move || done.send(is_key(&KeySource::Exec(sh(&script, ETERNAL)), "hh_key")));
    assert!(read.recv_timeout(LONG).expect("not after its whole time"));
    kill(&agent);
}

#[test]
fn a_command_that_is_reaped_elsewhere_is_judged_by_its_output() {
    let test = "keys::commands::a_command_that_is_reaped_elsewhere_is_judged_by_its_output";
    if !is_child_that_ignores_children(test) {
        return;
    }
    let status = fs::read_to_string("/proc/self/status").expect("a readable /proc");
    let ignored = status
        .lines()
        .find_map(|line| line.strip_prefix("SigIgn:"))
        .expect("there");
    let ignored = u64::from_str_radix(ignored.trim(), 16).expect("hexadecimal");
    assert_ne!(ignored & (1 << 16), 0, "SIGCHLD, which is 17, is ignored");
    let folder = TempDir::new().expect("a temporary folder");
    let agent = folder.path().join("agent");
    let with_agent = format!("sleep 600 & echo $! > '{}'; echo hh_key", agent.display());
    for script in ["echo hh_key", "printf hh_key", &with_agent] {
        assert!(is_key(&KeySource::Exec(sh(script, ETERNAL)), "hh_key"), "{script}");
    }
    kill(&agent);
    let unknown = error(sh("exit 3", ETERNAL));
    assert_eq!(unknown.fault(), &SecretErrorKind::StatusUnknown);
    assert_eq!(
        unknown.to_string(),
        "command sh: printed nothing, and its exit status is unknown: the program ignores SIGCHLD, or reaps children itself"
    );
    let before = held();
    for script in ["sleep 600", "sleep 600 & sleep 600", "sleep 600 & exit 0"] {
        let error = error(sh(script, BRIEF));
        let fault = error.fault();
        assert!(
            matches!(fault, SecretErrorKind::TimedOut(_) | SecretErrorKind::OutputHeldOpen(_)),
            "{script}: {error}"
        );
        wait_for("no process", children, BTreeSet::is_empty);
    }
    assert_eq!(held(), before);
}

#[test]
fn a_command_gets_the_usual_variables_and_those_that_are_named() {
    let test = "keys::commands::a_command_gets_the_usual_variables_and_those_that_are_named";
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
    // `env` itself, since a shell adds variables of its own.
    let names = "env | cut -d= -f1 | grep -v -e ^PWD -e ^OLDPWD -e ^SHLVL -e ^_ | sort | tr '\\n' ,";
    let command = || KeyCommand::new(["sh", "-c", names]).timeout(ETERNAL);
    assert!(is_key(&KeySource::Exec(command()), "HOME,LANG,PATH,"));
    let passed = command().pass_env(["VAULT_TOKEN", "NOT_SET"]);
    assert!(is_key(&KeySource::Exec(passed), "HOME,LANG,PATH,VAULT_TOKEN,"));
    let token = KeyCommand::new(["sh", "-c", "echo $VAULT_TOKEN"]).pass_env(["VAULT_TOKEN"]);
    assert!(is_key(&KeySource::Exec(token.timeout(ETERNAL)), "hvs.token"));
}

#[test]
fn the_variables_of_a_command_are_read_from_a_file() {
    let test = "keys::commands::the_variables_of_a_command_are_read_from_a_file";
    if !is_child(test, &[("VAULT_TOKEN", "hvs.token"), ("HOME", "/")]) {
        return;
    }
    let folder = TempDir::new().expect("a temporary folder");
    let file = folder.path().join("default.toml");
    let script = "test \"$VAULT_TOKEN\" && echo hh_key || { echo no token >&2; exit 2; }";
    let table = |more: &str| format!("[tenants.acme.api_key]\nexec = ['sh', '-c', '{script}']\ntimeout = '1h'\n{more}");
    for (more, expected) in [
        ("pass_env = ['VAULT_TOKEN']", Ok(())),
        ("", Err("command sh: ended with exit status: 2")),
        (
            "show_stderr = true",
            Err("command sh: ended with exit status: 2: no token"),
        ),
    ] {
        fs::write(&file, table(more)).expect("written");
        let registry = TracerRegistry::from_config(&file).expect("valid");
        let made = registry.tenant("acme").map(drop).map_err(|error| error.to_string());
        let expected = expected.map_err(|said| format!("the key cannot be read: {said}"));
        assert_eq!(made, expected, "{more}");
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
fn what_a_command_writes_to_its_standard_error_is_shown_only_if_that_is_asked_for() {
    let token = "echo 'token abcdefghijklmnopqrstuvw\\033[2J is old' >&2; exit 3";
    assert_eq!(
        error(sh(token, ETERNAL)).to_string(),
        "command sh: ended with exit status: 3"
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
        let shown = error(sh(script, ETERNAL).show_stderr(true)).to_string();
        assert_eq!(shown, format!("command sh: ended with {expected}"), "{script}");
    }
    let much = "i=0; while [ $i -lt 3000 ]; do echo much; i=$((i+1)); done >&2; exit 3";
    let shown = error(sh(much, ETERNAL).show_stderr(true)).to_string();
    assert!(
        shown.starts_with("command sh: ended with exit status: 3: much much"),
        "{shown}"
    );
    assert!(shown.len() < 300, "{shown}");
}

#[test]
fn a_command_is_ended_if_the_reading_of_its_key_is_given_up() {
    let test = "keys::commands::a_command_is_ended_if_the_reading_of_its_key_is_given_up";
    if !is_marked_child(test) {
        return;
    }
    let folder = TempDir::new().expect("a temporary folder");
    let first = folder.path().join("first");
    let once = format!(
        "test -e '{0}' && exec sleep 600; : > '{0}'; echo hh_key",
        first.display()
    );
    // Not for ever: if they were not ended, the test would fail only then.
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
    // A look-up that nobody waits for any longer: its command has its time, and no more.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .expect("a runtime");
    runtime.block_on(async {
        let given_up = registry.tenant_async("brief");
        tokio::select! {
            biased;
            _ = given_up => panic!("it cannot have a key"),
            () = async {} => {}
        }
    });
    drop(runtime);
    wait_for("no process", marked, Vec::is_empty);
    // A look-up and a renewal while the registry is shut down.
    let running = |count| {
        move |found: &Vec<(u32, String)>| found.iter().filter(|(_, runs)| runs.starts_with("sleep")).count() == count
    };
    registry.tenant("renewed").expect("its first key");
    wait_for("the renewal", marked, running(1));
    thread::scope(|threads| {
        let looked_up = threads.spawn(|| registry.tenant("hanging"));
        wait_for("the look-up's processes", marked, running(3));
        assert!(registry.shutdown(LONG).is_complete());
        match looked_up.join().expect("no panic") {
            Err(LookupError::Secret(error)) => assert_eq!(error.fault(), &SecretErrorKind::GivenUp),
            other => panic!("{other:?}"),
        }
    });
    wait_for("no process", marked, Vec::is_empty);
    wait_for("no child", children, BTreeSet::is_empty);
}

#[test]
fn a_command_that_is_not_there_or_prints_no_key_is_refused() {
    let read = |words: &[&str]| error(KeyCommand::new(words.to_vec()).timeout(ETERNAL));
    let missing = read(&["/nonexistent/program"]);
    let not_there = std::process::Command::new("/nonexistent/program").spawn();
    let not_there = not_there.expect_err("not there").into();
    assert_eq!(missing.fault(), &SecretErrorKind::NotStarted(not_there));
    assert_eq!(
        read(&[]).fault(),
        &SecretErrorKind::NotStarted(std::io::ErrorKind::InvalidInput.into())
    );
    assert_eq!(read(&["true"]).fault(), &SecretErrorKind::Empty);
    assert_eq!(
        read(&["printf", "a\\nb"]).fault(),
        &SecretErrorKind::ControlCharacter(1)
    );
    let literal = KeyCommand::new(["printf", "%s", "$HOME;id"]).timeout(ETERNAL);
    assert!(
        is_key(&KeySource::Exec(literal), "$HOME;id"),
        "no shell reads its arguments"
    );
}

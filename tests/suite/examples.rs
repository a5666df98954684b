//! Runs each example as a process and checks its output.

use std::path::PathBuf;
use std::process::Command;

/// Runs an example. Expects success and the `expected` lines in this order, among others.
fn expect_lines(example: &str, expected: &[&str]) {
    let output = command(example, "tower,tracing").output().expect("the example starts");
    let (stdout, stderr) = (
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr),
    );
    assert!(
        output.status.success(),
        "{example}: {}\n{stdout}\n{stderr}",
        output.status
    );
    let mut lines = stdout.lines();
    for line in expected {
        assert!(
            lines.any(|found| found == *line),
            "{example} did not print {line:?} in order:\n{stdout}"
        );
    }
}

/// Returns the command of an example: the binary built next to this test, or `cargo run`.
pub(crate) fn command(example: &str, feature: &str) -> Command {
    let test_binary = std::env::current_exe().expect("the path of this binary");
    let built = test_binary
        .parent()
        .and_then(|deps| deps.parent())
        .map(|profile| profile.join("examples"));
    let built: Option<PathBuf> = built.map(|folder| folder.join(format!("{example}{}", std::env::consts::EXE_SUFFIX)));
    if let Some(binary) = built.filter(|binary| binary.is_file()) {
        return Command::new(binary);
    }
    let mut cargo = Command::new(env!("CARGO"));
    cargo.args(["run", "--quiet", "--features", feature, "--example", example, "--"]);
    cargo.current_dir(env!("CARGO_MANIFEST_DIR"));
    cargo
}

#[test]
fn each_environment_has_its_own_project() {
    expect_lines(
        "environments",
        &[
            "refused: environment \"prod\" is not configured; did you mean production?",
            "project development",
            "try an idea",
            "project staging",
            "rehearse the release",
            "└─ charge test card",
            "project production",
            "charge card",
        ],
    );
}

#[test]
fn each_concurrent_tenant_has_its_own_project() {
    expect_lines(
        "tenants",
        &[
            "refused: the key cannot be read: provider vault, secret tenants/hooli: no such secret",
            "project acme",
            "audit initech",
            "project globex",
            "answer",
            "└─ retrieve",
            "project initech",
            "answer",
            "└─ retrieve",
        ],
    );
}

#[test]
fn features_and_a_route_each_have_their_own_project() {
    expect_lines(
        "features",
        &[
            "project customer_experience",
            "handle query",
            "└─ format answer",
            "project search",
            "search",
            "└─ rank",
            "project acme-search",
            "search for acme",
            "acme-search: index \"v2\", plan \"enterprise\"",
        ],
    );
}

#[test]
fn sessions_are_counted_per_ab_test_variant() {
    expect_lines(
        "ab_test",
        &["friendly: 10 sessions, 10 helpful", "terse: 20 sessions, 10 helpful"],
    );
}

#[test]
fn each_request_can_have_its_own_tracer() {
    expect_lines(
        "per_request",
        &[
            "tenant:acme: 8 spans delivered",
            "project acme",
            "request 1: 2 spans, outputs 1",
            "request 2: 2 spans, outputs 2",
            "request 3: 2 spans, outputs 3",
        ],
    );
}

#[test]
fn a_serverless_function_flushes_inline_after_each_invocation() {
    expect_lines(
        "serverless",
        &[
            "tenant:acme: 1 span delivered",
            "tenant:acme: 1 span delivered",
            "tenant:acme: 1 span delivered",
            "received: 3",
        ],
    );
}

#[test]
fn a_session_follows_captured_threads_and_tasks() {
    expect_lines(
        "threads",
        &[
            "in the session: from a channel, in a blocking task, in a task, on a thread, on scoped thread 1, on scoped thread 2",
            "outside: not in the session",
        ],
    );
}

#[test]
fn functions_are_traced_by_the_trace_attribute() {
    expect_lines(
        "traced",
        &[
            r#"Ok("WHY-NOT (7)") Err("nothing was asked")"#,
            r#"Ok("WHO (7)")"#,
            "calls without a tracer: 1",
            "project acme",
            "serve",
            "└─ ask",
            "   └─ retrieve",
            r#"question "why not", token "[redacted]", status Unset """#,
            "project globex",
            "serve",
            "└─ ask",
            r#"question "", token "[redacted]", status Error "nothing was asked""#,
        ],
    );
}

#[test]
fn a_trace_and_a_session_continue_in_another_process_that_trusts_them() {
    expect_lines(
        "propagation",
        &[
            "acme, by both services:",
            "ask",
            "└─ POST /answer",
            "globex, which trusts no headers:",
            "POST /answer",
        ],
    );
}

#[cfg(feature = "tracing")]
#[test]
fn code_without_tenants_follows_the_scope() {
    expect_lines(
        "tracing_layer",
        &[
            "unrouted: 0",
            "project acme",
            "POST /ask",
            "└─ retrieve",
            "   └─ query",
            "retrieve: event found",
            "project globex",
            "POST /ask",
            "└─ retrieve",
            "   └─ query",
            "retrieve: event found",
            "project production",
            "housekeeping",
            "└─ query",
        ],
    );
}

#[cfg(feature = "tower")]
#[test]
fn each_axum_request_lands_in_the_project_of_its_tenant() {
    expect_lines(
        "axum_service",
        &[
            "POST /ask: 200 \"42\"",
            "POST /ask: 200 \"42\"",
            "GET /stories/7: 200 \"once upon a time\"",
            "GET /stories/7: 401 \"\"",
            "project acme, 1 sessions",
            "POST /ask",
            "└─ POST",
            "   └─ POST",
            "      └─ think",
            "project globex, 2 sessions",
            "POST /ask",
            "└─ POST",
            "   └─ POST",
            "      └─ think",
            "GET /stories/{id}",
            "├─ find a word",
            "├─ find a word",
            "└─ find a word",
        ],
    );
}

#[test]
fn configuration_files_are_layered() {
    expect_lines(
        "config_file",
        &[
            "refused: the key cannot be read: file <folder>/keys/hooli: no such file",
            "acme has {\"plan\":\"enterprise\",\"region\":\"eu\"}, globex has {\"plan\":\"free\"}",
            "project production",
            "start up",
            "project acme",
            "request of acme",
            "project globex",
            "request of globex",
        ],
    );
}

/// The example is a service. The test stops it with SIGTERM, as an init system does.
#[cfg(unix)]
#[test]
fn a_service_loses_no_spans_on_sigterm() {
    use std::io::{BufRead, BufReader};
    use std::process::Stdio;

    use rustix::process::{Pid, Signal, kill_process};
    use tracer_registry_collector::LocalCollector;

    let collector = LocalCollector::builder().project("acme", "key-of-acme");
    let collector = collector.start().expect("a free port");
    let mut service = command("sigterm", "")
        .arg(collector.url())
        .stdout(Stdio::piped())
        .spawn()
        .expect("the example starts");
    let lines = BufReader::new(service.stdout.take().expect("piped")).lines();
    let mut lines = lines.map(|line| line.expect("text"));
    let process = lines.next().expect("a line");
    let process = process.strip_prefix("process ").and_then(|id| id.parse().ok());
    let process = process.and_then(Pid::from_raw).expect("a process id");
    assert_eq!(lines.next().as_deref(), Some("10 requests are answered"));
    kill_process(process, Signal::TERM).expect("the service runs");
    assert_eq!(lines.next().as_deref(), Some("SIGTERM"));
    let summary = lines.next().expect("a line");
    assert!(service.wait().expect("the service exits").success());
    let requests = summary
        .strip_suffix(" requests, complete: true")
        .and_then(|count| count.parse().ok());
    let requests: usize = requests.unwrap_or_else(|| panic!("{summary}"));
    assert!(requests >= 10);
    assert_eq!(collector.project("acme").expect("named").spans().len(), requests);
}

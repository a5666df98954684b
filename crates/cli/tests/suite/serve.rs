//! The gateway as a program.

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::thread;

use serde_json::Value;
use tracer_registry_collector::{Fault, LocalCollector};

use crate::support::LONG;
use crate::{binary, run, signal, text};

/// A running `serve`.
pub(crate) struct Served {
    pub(crate) process: Child,
    lines: std::io::Lines<BufReader<ChildStdout>>,
    log: Receiver<String>,
    pub(crate) http: String,
}

impl Served {
    pub(crate) fn start(arguments: &[&str]) -> Self {
        Self::spawn(binary().args(["serve", "--until-end-of-input"]).args(arguments))
    }

    /// Starts it with a command that may have variables.
    pub(crate) fn spawn(command: &mut Command) -> Self {
        let mut process = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the binary was built with the tests");
        let mut lines = BufReader::new(process.stdout.take().expect("piped")).lines();
        let stderr = BufReader::new(process.stderr.take().expect("piped"));
        let (sender, log) = mpsc::channel();
        thread::spawn(move || {
            let lines = stderr.lines().map_while(Result::ok);
            lines.for_each(|line| sender.send(line + "\n").unwrap_or_default());
        });
        let http = lines
            .by_ref()
            .map_while(Result::ok)
            .find_map(|line| line.split("OTLP/HTTP      http://").nth(1).map(str::to_owned));
        let Some(http) = http else {
            panic!("no address: {}", log.iter().collect::<String>());
        };
        Self {
            process,
            lines,
            log,
            http,
        }
    }

    pub(crate) fn line(&mut self, wanted: &str) -> String {
        let mut lines = self.lines.by_ref().map_while(Result::ok);
        lines.find(|line| line.contains(wanted)).expect(wanted)
    }

    /// Waits for a line of the log.
    pub(crate) fn wait_for_log(&self, wanted: &str) {
        while !self.log.recv_timeout(LONG).expect(wanted).contains(wanted) {}
    }

    /// Posts a span, and returns the answer.
    fn post(&self, token: &str) -> String {
        let body = r#"{"resourceSpans":[{"scopeSpans":[{"spans":[{"traceId":"5b8efff798038103d269b633813fc60c","spanId":"eee19b7ec3c1b174","name":"hello"}]}]}]}"#;
        self.send(&format!("authorization: Bearer {token}\r\n"), body)
    }

    /// Posts spans in JSON with further header lines, and returns the answer.
    pub(crate) fn send(&self, headers: &str, body: &str) -> String {
        let mut stream = TcpStream::connect(&self.http).expect("it listens");
        write!(
            stream,
            "POST /v1/traces HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n{headers}\
             content-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        )
        .expect("written");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("text");
        answer
    }

    /// Stops it, and returns its exit code, further output and further log.
    pub(crate) fn stop(mut self) -> (Option<i32>, String, String) {
        signal(&self.process, "TERM");
        let output: Vec<String> = self.lines.map_while(Result::ok).collect();
        let log = self.log.iter().collect();
        let status = self.process.wait().expect("it ends");
        (status.code(), output.join("\n"), log)
    }
}

#[test]
fn the_demo_prints_how_to_send_and_then_the_spans_of_each_project() {
    let mut demo = Served::start(&[
        "--demo",
        "--http",
        "127.0.0.1:0",
        "--grpc",
        "127.0.0.1:0",
        "--admin",
        "127.0.0.1:0",
    ]);
    let endpoint = demo.line("export OTEL_EXPORTER_OTLP_ENDPOINT=");
    assert!(endpoint.ends_with(&demo.http), "{endpoint}");
    let headers = demo.line("export OTEL_EXPORTER_OTLP_HEADERS=");
    let token = headers.rsplit("Bearer%20").next().expect("a token").to_owned();
    let answer = demo.post(&token);
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    assert_eq!(demo.line("project "), "project acme:");
    assert!(demo.line("hello").starts_with("  hello"));
    assert!(demo.post("no-such-token").starts_with("HTTP/1.1 401 "));
    let (code, output, log) = demo.stop();
    assert_eq!(code, Some(0), "{log}");
    assert!(output.contains("tenant:acme: 1 span delivered"), "{output}");
    assert!(
        log.contains("request of caller unknown from 127.0.0.1 refused with 401"),
        "{log}"
    );
    assert!(!log.contains(&token));
}

pub(crate) fn configuration(folder: &Path, collector: &LocalCollector, tenant: &str) {
    let url = collector.url();
    let config = format!(
        "[defaults]\nbackend = \"otlp\"\nendpoint = \"{url}\"\napi_key = {{ file = \"key\" }}\n[tenants.acme]\n\
         [gateway]\nhttp = \"127.0.0.1:0\"\ngrpc = false\n\
         [gateway.callers.acme]\ntoken = {{ file = \"token\" }}\ntenant = \"{tenant}\"\n"
    );
    fs::write(folder.join("key"), "key-of-acme").expect("written");
    fs::write(folder.join("gateway.toml"), config).expect("written");
}

#[test]
fn lost_data_has_its_own_exit_code_and_a_hang_up_reads_the_configuration_again() {
    let collector = LocalCollector::builder()
        .project("acme", "key-of-acme")
        .start()
        .expect("started");
    let folder = tempfile::tempdir().expect("a folder");
    configuration(folder.path(), &collector, "acme");
    fs::write(folder.path().join("token"), "first-token-of-acme").expect("written");
    let file = folder.path().join("gateway.toml");
    let served = Served::start(&["--config", file.to_str().expect("UTF-8")]);
    assert!(served.post("first-token-of-acme").starts_with("HTTP/1.1 200 "));
    assert!(collector.wait_until(LONG, |collector| {
        collector.project("acme").is_some_and(|acme| acme.spans().len() == 1)
    }));
    fs::write(folder.path().join("token"), "second-token-of-acme").expect("written");
    signal(&served.process, "HUP");
    let deadline = std::time::Instant::now() + LONG;
    while !served.post("second-token-of-acme").starts_with("HTTP/1.1 200 ") {
        assert!(std::time::Instant::now() < deadline);
    }
    assert!(served.post("first-token-of-acme").starts_with("HTTP/1.1 401 "));
    collector.fault(Fault::status(400));
    assert!(served.post("second-token-of-acme").starts_with("HTTP/1.1 200 "));
    let (code, output, log) = served.stop();
    assert_eq!(code, Some(3), "{output}\n{log}");
    assert!(log.contains("the configuration was read again"), "{log}");
}

#[test]
fn the_log_names_a_tenant_of_a_caller_that_is_not_configured() {
    let collector = LocalCollector::start().expect("started");
    let folder = tempfile::tempdir().expect("a folder");
    configuration(folder.path(), &collector, "acmee");
    fs::write(folder.path().join("token"), "a-token-of-a-caller").expect("written");
    let file = folder.path().join("gateway.toml");
    let served = Served::start(&["--config", file.to_str().expect("UTF-8")]);
    let answer = served.post("a-token-of-a-caller");
    assert!(answer.starts_with("HTTP/1.1 403 "), "{answer}");
    assert!(!answer.contains("configured"), "{answer}");
    let (_, _, log) = served.stop();
    assert!(log.contains("a tenant that is not configured"), "{log}");
    assert!(log.contains("acmee"), "{log}");
}

#[test]
fn a_stop_waits_for_no_reload() {
    let collector = LocalCollector::builder().start().expect("started");
    let folder = tempfile::tempdir().expect("a folder");
    let path = |name: &str| folder.path().join(name).to_str().expect("UTF-8").to_owned();
    configuration(folder.path(), &collector, "acme");
    let read = format!(
        "if [ -e {slow} ]; then touch {slow}ed; sleep 20; fi; printf token-of-acme",
        slow = path("slow")
    );
    let config = fs::read_to_string(path("gateway.toml")).expect("written before");
    let config = config.replace(
        r#"{ file = "token" }"#,
        &format!("{{ exec = [\"sh\", \"-c\", \"{read}\"] }}"),
    );
    fs::write(path("gateway.toml"), config).expect("written");
    let served = Served::start(&["--config", &path("gateway.toml")]);
    fs::write(path("slow"), "").expect("written");
    signal(&served.process, "HUP");
    let deadline = std::time::Instant::now() + LONG;
    while !Path::new(&path("slowed")).exists() {
        assert!(std::time::Instant::now() < deadline);
    }
    let (code, output, log) = served.stop();
    assert_eq!(code, Some(0), "{output}\n{log}");
    assert!(!log.contains("configuration"), "the reload ended first: {log}");
}

#[test]
fn a_demo_whose_address_is_in_use_names_the_options_for_others() {
    let taken = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = taken.local_addr().expect("bound").to_string();
    let output = run(&[
        "serve",
        "--demo",
        "--http",
        &address,
        "--grpc",
        "127.0.0.1:0",
        "--admin",
        "127.0.0.1:0",
    ]);
    assert_eq!(output.status.code(), Some(1));
    let stderr = text(&output.stderr);
    assert!(
        stderr.contains("use --http, --grpc and --admin for other addresses"),
        "{stderr}"
    );
    assert!(stderr.contains(&address), "{stderr}");
}

#[test]
fn a_configuration_without_callers_is_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("gateway.toml");
    fs::write(&file, "[gateway]\nhttp = \"127.0.0.1:0\"\n").expect("written");
    let output = run(&["serve", "--config", file.to_str().expect("UTF-8")]);
    assert_eq!(output.status.code(), Some(1));
    let stderr = text(&output.stderr);
    assert!(stderr.contains("gateway.callers: no caller"), "{stderr}");
}

#[test]
fn it_stops_at_the_end_of_standard_input_if_asked_to() {
    let collector = LocalCollector::start().expect("started");
    let folder = tempfile::tempdir().expect("a folder");
    configuration(folder.path(), &collector, "acme");
    fs::write(folder.path().join("token"), "a-token-of-a-caller").expect("written");
    let process = binary()
        .args(["serve", "--until-end-of-input", "--config"])
        .arg(folder.path().join("gateway.toml"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the binary was built with the tests");
    // Closes standard input.
    let output = process.wait_with_output().expect("it ends");
    let (stdout, log) = (text(&output.stdout), text(&output.stderr));
    assert_eq!(output.status.code(), Some(0), "{stdout}{log}");
    assert!(
        stdout.contains("the gateway listens") && log.contains("stopping within"),
        "{stdout}{log}"
    );
}

/// Runs a gateway with a table `[gateway.log]` and a token that gets a warning, to its end. Returns
/// what it printed and logged.
fn logged(table: &str) -> (String, String) {
    let collector = LocalCollector::start().expect("started");
    let folder = tempfile::tempdir().expect("a folder");
    configuration(folder.path(), &collector, "acme");
    fs::write(folder.path().join("token"), "short-token").expect("written");
    let file = folder.path().join("gateway.toml");
    let config = fs::read_to_string(&file).expect("written before");
    fs::write(&file, format!("{config}[gateway.log]\n{table}\n")).expect("written");
    let process = binary()
        .args(["serve", "--until-end-of-input", "--config"])
        .arg(file)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the binary was built with the tests");
    // Closes standard input.
    let output = process.wait_with_output().expect("it ends");
    let (stdout, log) = (text(&output.stdout), text(&output.stderr));
    assert_eq!(output.status.code(), Some(0), "{stdout}{log}");
    (stdout, log)
}

#[test]
fn a_json_log_has_an_object_for_each_line_and_all_other_output() {
    let (stdout, log) = logged("format = \"json\"");
    assert_eq!(stdout, "");
    let lines: Vec<Value> = log
        .lines()
        .map(|line| serde_json::from_str(line).expect("JSON"))
        .collect();
    for line in &lines {
        let time = line["timestamp"].as_str().expect("a time");
        assert!(time.len() == 27 && time.ends_with('Z'), "{line}");
        assert!(
            line["target"]
                .as_str()
                .is_some_and(|target| target.starts_with("tracer_registry"))
        );
    }
    let find = |text: &str| {
        let found = lines.iter().find(|line| {
            line["message"]
                .as_str()
                .is_some_and(|message| message.starts_with(text))
        });
        found.unwrap_or_else(|| panic!("{text}: {log}"))["level"].clone()
    };
    assert_eq!(find("gateway.callers.acme.token: "), "WARN");
    assert_eq!(find("OTLP/HTTP http://127.0.0.1:"), "INFO");
    assert_eq!(find("stopping within"), "INFO");
}

#[test]
fn the_level_leaves_lines_out() {
    let (stdout, log) = logged("level = \"warn\"");
    assert!(stdout.contains("the gateway listens"), "{stdout}");
    assert_eq!(log.lines().count(), 1, "{log}");
    assert!(log.contains(" WARN gateway.callers.acme.token: "), "{log}");
}

#[test]
fn an_address_of_the_demo_without_the_demo_is_wrong_usage() {
    for address in ["--http", "--grpc", "--admin"] {
        for config in [&[][..], &["--config", "no-such-folder"]] {
            let output = run(&[&["serve", address, "127.0.0.1:0"], config].concat());
            assert_eq!(output.status.code(), Some(2), "{address} {config:?}");
        }
    }
}

//! Runs the built binary as a user would.

#[cfg(unix)]
mod admin;
#[cfg(unix)]
mod admin_docs;
#[path = "../../../../tests/suite/collector/client.rs"]
#[cfg(target_os = "linux")]
#[expect(dead_code, reason = "these tests use only part of it")]
mod client;
#[cfg(unix)]
mod clients;
#[cfg(all(feature = "jetstream", unix))]
mod cluster;
#[cfg(all(feature = "jetstream", unix))]
mod cluster_operations;
#[cfg(target_os = "linux")]
mod collect_memory;
#[cfg(target_os = "linux")]
mod full_disk;
#[cfg(unix)]
mod kill;
#[cfg(unix)]
mod load;
mod redact;
#[cfg(unix)]
mod serve;
#[cfg(unix)]
mod spool;
#[cfg(all(feature = "jetstream", unix))]
mod stream;
#[path = "../../../../tests/suite/support.rs"]
#[expect(dead_code, reason = "these tests use only part of it")]
mod support;
#[cfg(target_os = "linux")]
mod systemd;
#[cfg(unix)]
mod terminal;
mod verify;

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Output, Stdio};
#[cfg(target_os = "linux")]
use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;
use tracer_registry::Selector;
use tracer_registry::config::Export;
use tracer_registry_collector::{Fault, LocalCollector};

use crate::support::{LONG, World, key_of, quick};

/// Longer than a response takes; reached only if something is broken.
#[cfg(target_os = "linux")]
const PATIENCE: Duration = Duration::from_secs(20);

fn binary() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tracer-registry"));
    command.env_remove("ENVIRONMENT").stdin(Stdio::null());
    command
}

fn run(arguments: &[&str]) -> Output {
    binary()
        .args(arguments)
        .output()
        .expect("the binary was built with the tests")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).expect("text")
}

/// Writes a configuration and, next to it, a key file for each name.
fn configuration(toml: &str, keys: &[&str]) -> (TempDir, String) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    for name in keys {
        fs::write(folder.path().join(name), format!("{}\n", key_of(name))).expect("written");
    }
    let file = folder.path().join("tracing.toml");
    fs::write(&file, toml).expect("written");
    let file = file.to_str().expect("UTF-8").to_owned();
    (folder, file)
}

#[test]
fn the_demo_finds_every_span_in_its_own_project() {
    let output = run(&["demo", "--requests", "60"]);
    let (stdout, stderr) = (text(&output.stdout), text(&output.stderr));
    assert!(output.status.success(), "{stdout}{stderr}");
    assert!(stdout.ends_with("isolated: 0 lost, 0 leaked\n"), "{stdout}");
    assert!(
        stdout.contains("POST /ask\n├─ retrieve\n│  └─ check permissions\n"),
        "{stdout}"
    );
    assert!(!stdout.contains('\x1b'), "no colours in a pipe: {stdout}");
    assert!(!stdout.contains("hh_demo_"), "no keys");
    assert_eq!(stderr, "");
}

#[test]
fn demo_json_is_one_consistent_document() {
    let output = run(&["demo", "--requests", "30", "--json"]);
    assert!(output.status.success());
    let found: Value = serde_json::from_slice(&output.stdout).expect("JSON and nothing else");
    assert_eq!((&found["lost"], &found["leaked"]), (&Value::from(0), &Value::from(0)));
    let projects = found["projects"].as_array().expect("a list");
    assert_eq!(projects.len(), 9);
    for project in projects {
        project["selector"]
            .as_str()
            .expect("a text")
            .parse::<Selector>()
            .expect("a selector");
        assert_eq!(project["fingerprint"].as_str().map(str::len), Some(12));
        assert!(project["spans_sent"].as_u64() > Some(0), "{project}");
        assert_eq!(project["spans_sent"], project["spans_received"], "{project}");
        assert_eq!(project["spans_foreign"], 0, "{project}");
        assert!(project["sessions"].is_u64() && project["traces"].is_u64(), "{project}");
    }
}

#[test]
fn a_kept_collector_serves_requests_until_it_is_terminated() {
    let mut demo = binary()
        .args(["demo", "--requests", "6", "--keep"])
        .stdout(Stdio::piped())
        .spawn()
        .expect("the binary was built with the tests");
    let stdout = BufReader::new(demo.stdout.take().expect("piped"));
    let kept = stdout
        .lines()
        .map_while(Result::ok)
        .find(|line| line.starts_with("the collector keeps running"));
    let kept = kept.expect("a line with the URL");
    assert!(kept.ends_with('/'), "the URL can be clicked: {kept}");
    let address = kept
        .split("http://")
        .nth(1)
        .and_then(|rest| rest.split('/').next())
        .expect("an address");
    let projects = get(address, "/api/projects");
    assert!(projects.contains("tenant:acme"), "{projects}");
    terminate(&demo);
    assert!(demo.wait().expect("it ends").success());
}

/// Sends one request and returns the response with its headers.
fn get(address: &str, path: &str) -> String {
    use std::io::{Read, Write};

    let mut stream = std::net::TcpStream::connect(address).expect("it listens");
    write!(
        stream,
        "GET {path} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\r\n"
    )
    .expect("written");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("text");
    answer
}

fn terminate(process: &std::process::Child) {
    signal(process, "TERM");
}

fn signal(process: &std::process::Child, name: &str) {
    let sent = Command::new("kill")
        .args([&format!("-{name}"), &process.id().to_string()])
        .status();
    assert!(sent.expect("kill is installed").success());
}

#[test]
fn check_names_every_binding_and_shows_no_key() {
    let world = World::new(&["up"]);
    let url = world.collector.url();
    let (folder, file) = configuration(
        &format!(
            "[defaults]\nendpoint = \"{url}\"\n[tenants.up]\napi_key = {{ file = \"up\" }}\n\
             [environments.production]\napi_key = {{ env = \"TRACER_TEST_UNSET\" }}\n\
             [tenants.\"*\"]\napi_key = {{ file = \"{{tenant}}\" }}\n"
        ),
        &["up"],
    );
    let output = run(&["check", "--config", &file, "--json"]);
    assert_eq!(output.status.code(), Some(1), "one of the keys is missing");
    let found: Value = serde_json::from_slice(&output.stdout).expect("JSON and nothing else");
    let bindings = found["bindings"].as_array().expect("a list");
    let by = |selector: &str| {
        bindings
            .iter()
            .find(|binding| binding["selector"] == selector)
            .expect("listed")
    };
    assert_eq!(
        by("environment:production")["error"],
        "the key cannot be read: environment variable TRACER_TEST_UNSET: not set in the environment of this process"
    );
    assert_eq!(by("tenant:up")["error"], Value::Null);
    assert_eq!(by("tenant:up")["connection"], "not_tried");
    assert!(
        by("tenant:*")["key_source"]
            .as_str()
            .expect("a text")
            .ends_with("{tenant}")
    );
    let table = run(&["check", "--config", &file]);
    assert!(!format!("{}{}", text(&output.stdout), text(&table.stdout)).contains(&key_of("up")));
    drop(folder);
}

#[test]
fn check_tests_a_wildcard_route_for_each_known_tenant() {
    let (folder, file) = configuration(
        "tenants_dir = \"tenants\"\n[tenants.\"*\"]\napi_key = { file = \"{tenant}\" }\n[tenants.acme]\n\
         api_key = { file = \"acme\" }\n[[routes]]\nwhen = { tenant = \"*\", feature = \"search\" }\n\
         api_key = { file = \"{tenant}-search\" }\n",
        &["acme", "filed", "acme-search"],
    );
    fs::create_dir(folder.path().join("tenants")).expect("made");
    fs::write(folder.path().join("tenants/filed.toml"), "source = \"x\"\n").expect("written");
    let output = run(&["check", "--config", &file, "--json"]);
    assert_eq!(output.status.code(), Some(1), "one of the keys is missing");
    let found: Value = serde_json::from_slice(&output.stdout).expect("JSON and nothing else");
    let bindings = found["bindings"].as_array().expect("a list");
    let shown: Vec<(&str, bool)> = bindings
        .iter()
        .map(|binding| {
            (
                binding["selector"].as_str().expect("a text"),
                binding["error"].is_null(),
            )
        })
        .collect();
    let expected = [
        ("tenant:acme", true),
        ("feature:search,tenant:acme", true),
        ("feature:search,tenant:filed", false),
        ("tenant:filed", true),
        ("tenant:*", true),
        ("feature:search,tenant:*", true),
    ];
    assert_eq!(shown, expected);
    let any = bindings.last().expect("the last")["key_source"]
        .as_str()
        .expect("a text");
    assert!(any.ends_with("{tenant}-search"), "{any}");
}

#[cfg(unix)]
#[test]
fn check_warns_of_a_world_readable_key_file_and_succeeds() {
    use std::os::unix::fs::PermissionsExt;
    let (folder, file) = configuration(
        "[tenants.open]\napi_key = { file = \"open\" }\n[tenants.closed]\napi_key = { file = \"closed\" }\n",
        &["open", "closed"],
    );
    for (name, mode) in [("open", 0o644), ("closed", 0o640)] {
        fs::set_permissions(folder.path().join(name), fs::Permissions::from_mode(mode)).expect("its owner may");
    }
    let open = folder.path().join("open").display().to_string();
    let warning = format!("key file {open} is open to every user (mode 0644); close it with chmod o-rw");
    let table = run(&["check", "--config", &file]);
    let stdout = text(&table.stdout);
    assert!(table.status.success(), "{stdout}");
    let warnings: Vec<&str> = stdout.lines().filter(|line| line.starts_with("warning")).collect();
    assert_eq!(warnings, [format!("warning: tenant:open: {warning}")]);
    let json = run(&["check", "--config", &file, "--json"]);
    assert!(json.status.success());
    let found: Value = serde_json::from_slice(&json.stdout).expect("JSON and nothing else");
    let bindings = found["bindings"].as_array().expect("a list");
    let warnings: Vec<_> = bindings
        .iter()
        .map(|binding| (&binding["selector"], &binding["warnings"]))
        .collect();
    let expected = [
        (&Value::from("tenant:closed"), &serde_json::json!([])),
        (&Value::from("tenant:open"), &serde_json::json!([warning])),
    ];
    assert_eq!(warnings, expected);
}

#[test]
fn check_covers_the_callers_of_the_gateway() {
    let (folder, file) = configuration("[tenants.acme]\napi_key = { file = \"acme\" }\n", &["acme"]);
    fs::rename(file, folder.path().join("default.toml")).expect("renamed");
    let file = folder.path().join("gateway.toml").display().to_string();
    let gateway = |text: &str| fs::write(folder.path().join("gateway.toml"), text).expect("written");
    let caller = "[gateway.callers.backend]\ntoken = { file = \"token\" }\n";
    gateway(&format!(
        "{caller}tenant = {{ path = true, allow = [\"acme\", \"team-*\"] }}"
    ));
    fs::write(folder.path().join("token"), "token-of-backend-1").expect("written");
    let table = run(&["check", "--config", &file]);
    let stdout = text(&table.stdout);
    assert!(table.status.success(), "{stdout}");
    let warning = "gateway.callers.backend.tenant: \"team-*\" matches no configured tenant";
    assert!(
        stdout.ends_with(&format!("warning: {warning}\n1 caller of the gateway, 0 failed\n")),
        "{stdout}"
    );
    let json = run(&["check", "--config", folder.path().to_str().expect("UTF-8"), "--json"]);
    let found: Value = serde_json::from_slice(&json.stdout).expect("JSON and nothing else");
    assert_eq!(
        found["gateway"],
        serde_json::json!({"callers": 1, "faults": [], "warnings": [warning]})
    );
    // With the table "*", every tenant is configured.
    gateway(&format!(
        "{caller}tenant = {{ path = true, allow = [\"team-*\"] }}\n[tenants.\"*\"]\napi_key = {{ file = \"acme\" }}"
    ));
    fs::write(folder.path().join("token"), "short").expect("written");
    let table = run(&["check", "--config", &file]);
    let (stdout, token) = (text(&table.stdout), folder.path().join("token"));
    let fault = format!(
        "gateway.callers.backend.token: file {}: shorter than 8 bytes",
        token.display()
    );
    assert_eq!(table.status.code(), Some(1), "{stdout}");
    assert!(
        stdout.ends_with(&format!("{fault}\n1 caller of the gateway, 1 failed\n")),
        "{stdout}"
    );
    assert!(
        !stdout.contains("short\n") && !stdout.contains("warning: gateway"),
        "{stdout}"
    );
    gateway("[gateway]\nhtp = false");
    let output = run(&["check", "--config", &file, "--json"]);
    let found: Value = serde_json::from_slice(&output.stdout).expect("JSON and nothing else");
    assert_eq!(found["faults"][0]["key"], "gateway.htp");
    assert_eq!(output.status.code(), Some(1));
}

#[test]
fn check_connects_only_if_requested() {
    let collector = LocalCollector::builder().start().expect("a free port");
    let (_folder, file) = configuration(
        &format!(
            "[defaults]\nendpoint = \"{}\"\n[tenants.taken]\napi_key = {{ file = \"taken\" }}\n\
             [tenants.refused]\napi_key = {{ file = \"refused\" }}\n",
            collector.url()
        ),
        &["taken", "refused"],
    );
    collector.fault(Fault::reject_key().only(key_of("refused")));
    let output = run(&["check", "--config", &file, "--connect"]);
    let stdout = text(&output.stdout);
    assert_eq!(output.status.code(), Some(1), "{stdout}");
    let line = |name: &str| {
        stdout
            .lines()
            .find(|line| line.starts_with(name))
            .expect("a line")
            .to_owned()
    };
    assert!(
        line("tenant:taken").ends_with("ok, the endpoint accepted the key"),
        "{stdout}"
    );
    assert!(line("tenant:refused").contains("answered 401"), "{stdout}");
    assert!(stdout.contains("an empty export checks only the key"), "{stdout}");
    assert_eq!(text(&output.stderr), "");
}

#[test]
fn check_announces_the_span_that_it_sends_and_reports_the_result() {
    let collector = LocalCollector::builder()
        .record_requests(1 << 20)
        .start()
        .expect("a free port");
    let (_folder, file) = configuration(
        &format!(
            "[defaults]\nendpoint = \"{}\"\nbackend = \"mlflow\"\nauth = {{ scheme = \"bearer\" }}\n\
             [tenants.taken]\nproject = \"1\"\napi_key = {{ file = \"taken\" }}\n\
             [tenants.refused]\nproject = \"2\"\napi_key = {{ file = \"refused\" }}\n",
            collector.url()
        ),
        &["taken", "refused"],
    );
    collector.fault(Fault::status(404).only(key_of("refused")));
    for json in [false, true] {
        let arguments = ["check", "--config", &file, "--connect=send", "--json"];
        let output = run(&arguments[..if json { 5 } else { 4 }]);
        let (stdout, stderr) = (text(&output.stdout), text(&output.stderr));
        assert_eq!(output.status.code(), Some(1), "{stdout}");
        assert_eq!(
            stderr,
            "sending one span named tracer_registry.check to the project of each binding with a readable key\n"
        );
        if json {
            let found: Value = serde_json::from_slice(&output.stdout).expect("JSON and nothing else");
            assert_eq!(
                found["bindings"][0]["connection"]["not_delivered"]["fate"]["dropped"],
                "refused"
            );
            assert_eq!(found["bindings"][0]["project"], "2");
            assert_eq!(found["bindings"][1]["connection"], "delivered");
        } else {
            let line = |name: &str| stdout.lines().find(|line| line.starts_with(name)).expect("a line");
            assert!(
                line("tenant:taken").ends_with("  1        ok, the endpoint accepted a span"),
                "{stdout}"
            );
            assert!(
                line("tenant:refused").contains("the span is dropped as refused: ")
                    && line("tenant:refused").contains("404"),
                "{stdout}"
            );
        }
    }
    assert_eq!(collector.requests().len(), 4, "one for each binding, twice");
}

#[test]
fn check_warns_of_tenants_that_share_a_project_and_succeeds() {
    let (_folder, file) = configuration(
        "[defaults]\nbackend = \"phoenix\"\nendpoint = \"http://127.0.0.1:26006\"\n\
         [tenants.a]\napi_key = { file = \"a\" }\n[tenants.b]\napi_key = { file = \"b\" }\n",
        &["a", "b"],
    );
    let output = run(&["check", "--config", &file]);
    let stdout = text(&output.stdout);
    assert!(output.status.success(), "{stdout}");
    for (one, other) in [("a", "b"), ("b", "a")] {
        let warning = format!(
            "warning: tenant:{one}: its spans land in the same project as those of tenant:{other} (\"default\"): give each its own `project`, because keys \
             do not select the project on this backend\n"
        );
        assert!(stdout.contains(&warning), "{stdout}");
    }
}

#[test]
fn check_reports_all_faults_of_a_configuration_at_once() {
    let (_folder, file) = configuration(
        r#"
            unknown = 1
            [defaults]
            backend = "nowhere"
            endpoint = "https://user:canary@host/"
            [environments.production]
            api_key = "canary_literal"
            [tenants.ACME]
            api_key = { env = "X", file = "/y" }
            [tenants.globex]
            sampling = { ratio = 1.5 }
            headers = { authorization = "Bearer canary" }
            metdata = { a = 1 }
            [export]
            scheduled_delay = 5
            max_export_batch_size = 0
        "#,
        &[],
    );
    let output = run(&["check", "--config", &file]);
    let stderr = text(&output.stderr);
    assert_eq!(output.status.code(), Some(1));
    for key in [
        "unknown",
        "defaults.backend",
        "defaults.endpoint",
        "environments.production.api_key",
        "tenants.ACME.api_key",
        "tenants.ACME",
        "tenants.globex.sampling.ratio",
        "tenants.globex.headers.authorization",
        "tenants.globex.metdata",
        "export.scheduled_delay",
        "export.max_export_batch_size",
    ] {
        assert!(
            stderr.contains(&format!("tracing.toml: {key}: ")),
            "{key} is not in {stderr}"
        );
    }
    assert!(
        stderr.contains("caused by: 11 errors in the configuration\n"),
        "{stderr}"
    );
    assert_eq!(stderr.matches("tracing.toml: ").count(), 11, "one line each: {stderr}");
    assert!(!stderr.contains("canary"), "{stderr}");
    assert_eq!(text(&output.stdout), "");
}

#[test]
fn the_environment_chooses_which_variables_hold_the_keys() {
    let (_folder, file) = configuration(
        "active_environment = { env = \"ENVIRONMENT\", default = \"development\" }\n\
         [environments.development]\napi_key = { env = \"TRACER_TEST_KEY\" }\n",
        &[],
    );
    let checked = |value: Option<&str>| {
        let mut command = binary();
        command.args(["check", "--config", &file]);
        if let Some(value) = value {
            command.env("TRACER_TEST_KEY", value);
        }
        let output = command.output().expect("the binary was built with the tests");
        (output.status.code(), text(&output.stdout))
    };
    let (code, stdout) = checked(Some("hh_canary"));
    assert_eq!(code, Some(0), "{stdout}");
    assert!(!stdout.contains("hh_canary"));
    for (value, fault) in [
        (None, "not set"),
        (Some(""), "empty"),
        (Some("hh_can\nary"), "control character at byte 6"),
    ] {
        let (code, stdout) = checked(value);
        assert_eq!(code, Some(1));
        assert!(
            stdout.contains("environment variable TRACER_TEST_KEY") && stdout.contains(fault),
            "{stdout}"
        );
        assert!(!stdout.contains("hh_can"), "{stdout}");
    }
}

#[test]
fn collect_prints_a_line_for_each_batch_until_it_is_terminated() {
    let mut collect = binary()
        .args(["collect", "--listen", "127.0.0.1:0"])
        .stdout(Stdio::piped())
        .spawn()
        .expect("the binary was built with the tests");
    let mut lines = BufReader::new(collect.stdout.take().expect("piped"))
        .lines()
        .map_while(Result::ok);
    let first = lines.next().expect("a line with the address");
    let url = first
        .split_whitespace()
        .find(|word| word.starts_with("http://"))
        .expect("a URL");
    let fingerprinter = tracer_registry::secret::Fingerprinter::new();
    // Only the flush sends both spans.
    let export = Export {
        scheduled_delay: Some(LONG),
        ..quick()
    };
    let registry = crate::support::registry(url, &["a"], &fingerprinter)
        .export(export)
        .build()
        .expect("valid");
    let tracer = registry.tenant("a").expect("configured");
    drop(tracer.start_span("one"));
    drop(tracer.start_span("two"));
    assert!(registry.force_flush(LONG).is_complete());
    let endpoint = format!("  tracer-registry    endpoint = \"{url}\"");
    assert!(lines.any(|line| line == endpoint), "the endpoint for a configuration");
    let batch = lines
        .find(|line| line.contains("/opentelemetry/v1/traces"))
        .expect("a line per batch");
    assert!(
        batch.contains(" (tenant:a)  /opentelemetry/v1/traces 200: 2 spans"),
        "{batch}"
    );
    let address = url.trim_start_matches("http://");
    let second = run(&["collect", "--listen", address]);
    let stderr = text(&second.stderr);
    assert!(
        stderr.starts_with("error: cannot start the local collector; use --listen for another address\n"),
        "{stderr}"
    );
    terminate(&collect);
    assert!(collect.wait().expect("it ends").success());
    assert!(lines.all(|line| !line.contains(&key_of("a"))));
}

#[test]
fn wrong_usage_exits_with_2_and_a_missing_file_with_1() {
    assert_eq!(run(&["demo", "--requests", "many"]).status.code(), Some(2));
    assert_eq!(run(&["nothing"]).status.code(), Some(2));
    let missing = run(&["check", "--config", "/nonexistent/tracing.toml"]);
    assert_eq!(missing.status.code(), Some(1));
    let stderr = text(&missing.stderr);
    assert!(
        stderr.starts_with("error: invalid configuration\n  caused by: /nonexistent/tracing.toml: "),
        "{stderr}"
    );
}

#[test]
fn the_schema_is_printed_as_json() {
    let output = run(&["schema"]);
    assert!(output.status.success());
    let schema: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!(schema, tracer_registry::config::json_schema());
}

#[test]
fn a_closed_output_pipe_is_not_an_error() {
    let script = format!("'{}' demo --requests 3 | true", env!("CARGO_BIN_EXE_tracer-registry"));
    assert!(Path::new("/bin/sh").exists());
    let output = Command::new("sh").args(["-c", &script]).output().expect("a shell");
    assert_eq!(text(&output.stderr), "");
}

#[test]
fn check_reports_an_untrusted_setting_with_the_line_that_would_allow_it() {
    let folder = tempfile::tempdir().expect("a folder");
    let tenants = folder.path().join("t");
    fs::create_dir(&tenants).expect("made");
    let operators = "tenants_dir = \"t\"\n[defaults]\nbackend = \"otlp\"\nendpoint = \"http://127.0.0.1:9\"\napi_key = { env = \"K\" }\n";
    let file = folder.path().join("default.toml");
    let check = |text: &str| {
        fs::write(&file, text).expect("written");
        let mut command = binary();
        command.args(["check", "--config"]).arg(&file);
        let keys = [
            ("K", "hh_of_the_operator_canary"),
            ("HH_API_KEY_GLOBEX", "hh_of_globex_canary"),
        ];
        let output = command
            .envs(keys)
            .output()
            .expect("the binary was built with the tests");
        let text = String::from_utf8(output.stdout).expect("text");
        assert!(!text.contains("canary"), "{text}");
        (output.status.code(), text)
    };
    fs::write(tenants.join("acme.toml"), "endpoint = \"https://attacker.example\"\n").expect("written");
    fs::write(
        tenants.join("thief.toml"),
        "api_key = { env = \"HH_API_KEY_GLOBEX\" }\n",
    )
    .expect("written");
    let (code, text) = check(operators);
    assert_eq!(code, Some(1), "{text}");
    let endpoint = "untrusted.endpoints = [\"https://attacker.example\"]";
    let key = "untrusted.keys = [\"env:HH_API_KEY_GLOBEX\"]";
    for (tenant, setting, line) in [("acme", "endpoint", endpoint), ("thief", "api_key", key)] {
        let location = format!("t/{tenant}.toml: tenants.{tenant}.{setting}: an untrusted layer may not ");
        let row = text
            .lines()
            .find(|row| row.contains(&location))
            .expect("the file and the key path");
        assert!(row.trim_end().ends_with(&format!("to allow it: {line}")), "{row}");
    }
    // The printed lines allow both settings, but the operator's key is still not sent to another
    // endpoint.
    let (code, text) = check(&format!("{endpoint}\n{key}\n{operators}"));
    assert_eq!(code, Some(1), "{text}");
    let acme = text.lines().find(|row| row.starts_with("tenant:acme")).expect("a row");
    assert!(acme.contains("changes the endpoint, which discards the key"), "{acme}");
    let thief = text.lines().find(|row| row.starts_with("tenant:thief")).expect("a row");
    assert!(thief.trim_end().ends_with("ok"), "{thief}");
}

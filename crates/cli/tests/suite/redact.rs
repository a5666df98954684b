//! `redact`: shows what the rules of a tenant leave of a request.

use std::fs;
use std::io::Write as _;
use std::process::{Output, Stdio};

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use prost::Message as _;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::{binary, configuration, text};

const CONFIG: &str = r#"
[defaults]
backend = "otlp"
endpoint = "http://127.0.0.1:9"
api_key = { file = "no-such-file" }

[tenants.acme.redact]
key = { file = "hashes" }
[tenants.acme.redact.rules.mail]
patterns = ["email"]
[tenants.acme.redact.rules.secrets]
attributes = ["*.password"]
action = "drop"
[tenants.acme.redact.rules.users]
attributes = ["user.id"]
action = "hash"

[tenants.globex]

[environments.staging.redact.rules.mail]
patterns = ["email"]

[gateway]
max_request = "64KiB"
memory = "1MiB"
insecure = true
[gateway.callers.acme]
token = { file = "no-such-file" }
tenant = "acme"
"#;

fn start() -> (TempDir, String) {
    let (folder, file) = configuration(CONFIG, &[]);
    fs::write(folder.path().join("hashes"), "a key of hashes with many bytes").expect("written");
    (folder, file)
}

fn redact(file: &str, arguments: &[&str], input: &[u8]) -> Output {
    let mut child = binary()
        .args(["redact", "--config", file])
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the binary was built with the tests");
    let mut stdin = child.stdin.take().expect("a pipe");
    // The command may end before it has read everything.
    drop(stdin.write_all(input));
    drop(stdin);
    child.wait_with_output().expect("ended")
}

fn request() -> Value {
    let attribute = |key: &str, text: &str| json!({"key": key, "value": {"stringValue": text}});
    json!({"resourceSpans": [{
        "resource": {"attributes": [attribute("user.id", "u-1")]},
        "scopeSpans": [{"spans": [{
            "traceId": "0af7651916cd43dd8448eb211c80319c", "spanId": "b7ad6b7169203331", "name": "chat",
            "attributes": [attribute("question", "mail to alice@example.com, please"), attribute("user.password", "hunter2")],
            "status": {"message": "no such user: alice@example.com"},
        }]}],
    }]})
}

#[test]
fn a_request_is_printed_as_it_would_leave() {
    let (_folder, file) = start();
    let output = redact(&file, &["--tenant", "acme"], request().to_string().as_bytes());
    let (stdout, stderr) = (text(&output.stdout), text(&output.stderr));
    assert!(output.status.success(), "{stderr}");
    let printed: Value = serde_json::from_str(&stdout).expect("JSON");
    let block = &printed["resourceSpans"][0];
    let span = &block["scopeSpans"][0]["spans"][0];
    let attributes = json!([{"key": "question", "value": {"stringValue": "mail to [redacted], please"}}]);
    assert_eq!(span["attributes"], attributes);
    assert_eq!(span["status"]["message"], "no such user: [redacted]");
    assert_eq!(
        (&span["traceId"], &span["name"]),
        (&json!("0af7651916cd43dd8448eb211c80319c"), &json!("chat"))
    );
    let hash = block["resource"]["attributes"][0]["value"]["stringValue"]
        .as_str()
        .expect("a text");
    assert!(!hash.contains("u-1") && hash.len() > 15, "{hash}");
    assert_eq!(
        stderr,
        "tenant:acme: 1 span, 3 rules\n  mail: 2 values changed\n  secrets: 1 value changed\n  users: 1 value changed\n"
    );
    // As the gateway does it: what it prints is not changed again, except for hashes.
    let again = redact(&file, &["--environment", "staging"], &output.stdout);
    assert_eq!(text(&again.stdout), stdout);
    let none = redact(&file, &["--tenant", "globex"], &output.stdout);
    assert_eq!(text(&none.stdout), stdout);
    assert_eq!(text(&none.stderr), "tenant:globex: 1 span, no rules\n");
}

#[test]
fn protobuf_is_detected_and_printed_on_demand() {
    let (_folder, file) = start();
    let json = request().to_string();
    let protobuf = redact(&file, &["--tenant", "globex", "--output", "protobuf"], json.as_bytes());
    let decoded = ExportTraceServiceRequest::decode(&protobuf.stdout[..]).expect("protobuf");
    assert_eq!(decoded.resource_spans[0].scope_spans[0].spans[0].name, "chat");
    let printed = |input: &[u8], arguments: &[&str]| {
        let output = redact(&file, &[&["--tenant", "acme"], arguments].concat(), input);
        assert!(output.status.success(), "{}", text(&output.stderr));
        text(&output.stdout)
    };
    let expected = printed(json.as_bytes(), &[]);
    assert_eq!(printed(&protobuf.stdout, &[]), expected);
    assert_eq!(printed(&protobuf.stdout, &["--format", "protobuf"]), expected);
    assert_eq!(printed(json.as_bytes(), &["--format", "json"]), expected);
}

#[test]
fn what_cannot_be_redacted_is_an_error_and_prints_nothing() {
    let (folder, file) = start();
    let json = request().to_string();
    let large = json.replace("chat", &"x".repeat(64 << 10));
    let cases: [(&[&str], &[u8], i32, &str); 8] = [
        (&[], b"{}", 2, "required arguments"),
        (&["--tenant", "no/slug"], b"{}", 1, "invalid selector"),
        (&["--tenant", "initech"], b"{}", 1, "cannot redact for tenant:initech"),
        (&["--tenant", "acme"], b"{\"resourceSpans\": 7}", 1, "resourceSpans: "),
        (
            &["--tenant", "acme"],
            b"text",
            1,
            "standard input is no OTLP trace request: ",
        ),
        (
            &["--tenant", "acme", "--format", "protobuf"],
            json.as_bytes(),
            1,
            "standard input is no OTLP trace request: ",
        ),
        (&["--tenant", "acme"], b"\x1f\x8b\x08", 1, "compressed with gzip"),
        (
            &["--tenant", "acme"],
            large.as_bytes(),
            1,
            "larger than 65536 bytes (gateway.max_request)",
        ),
    ];
    for (arguments, input, code, message) in cases {
        let output = redact(&file, arguments, input);
        assert_eq!(output.status.code(), Some(code), "{arguments:?}");
        assert!(text(&output.stderr).contains(message), "{}", text(&output.stderr));
        assert!(output.stdout.is_empty());
    }
    fs::remove_file(folder.path().join("hashes")).expect("removed");
    let output = redact(&file, &["--tenant", "acme"], json.as_bytes());
    assert_eq!(output.status.code(), Some(1));
    assert!(
        text(&output.stderr).contains("the key of hashes cannot be read"),
        "{}",
        text(&output.stderr)
    );
    assert!(output.stdout.is_empty());
}

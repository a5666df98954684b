//! Text from outside cannot control the terminal, in any field of any command.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;
use std::process::{Output, Stdio};

use serde_json::{Value, json};
use tracer_registry_collector::{Fault, LocalCollector};

use super::{binary, configuration, terminate};

/// Escape sequences (title, colours, clear screen), a forged line, bidirectional overrides and
/// zero-width characters.
pub(crate) const EVIL: &str =
    "\u{1b}]0;title\u{7}\u{1b}[35m\u{9b}2J\r\nforged\n\u{202e}\u{2066}\u{200b}\u{feff}\u{2028}\u{7f}end";

/// Runs the binary as on a terminal: escape sequences are kept.
fn run(arguments: &[&str], variables: &[(&str, &str)]) -> Output {
    let mut command = binary();
    command.args(arguments).envs(variables.iter().copied());
    command
        .env("CLICOLOR_FORCE", "1")
        .output()
        .expect("the binary was built with the tests")
}

/// Returns all output, after a check that it is harmless.
#[track_caller]
fn harmless(output: &Output) -> String {
    let written = [&output.stdout[..], &output.stderr].concat();
    let text = String::from_utf8(written).expect("text");
    assert_harmless(&text);
    text
}

#[track_caller]
pub(crate) fn assert_harmless(text: &str) {
    // Sequences of the program and of clap.
    let own = [
        "\u{1b}[1m",
        "\u{1b}[31m",
        "\u{1b}[32m",
        "\u{1b}[33m",
        "\u{1b}[4m",
        "\u{1b}[0m",
    ];
    let bare = own.iter().fold(text.to_owned(), |text, own| text.replace(own, ""));
    for line in bare.lines() {
        assert!(!line.starts_with("forged") && !line.starts_with("end"), "{text:?}");
        let is_harmful = |c: char| c.is_control() || "\u{202e}\u{2066}\u{200b}\u{feff}\u{2028}".contains(c);
        assert!(!line.contains(is_harmful), "{line:?}");
    }
}

#[test]
fn collect_escapes_session_ids_and_paths() {
    let mut collect = binary()
        .args(["collect", "--listen", "127.0.0.1:0"])
        .env("CLICOLOR_FORCE", "1")
        .stdout(Stdio::piped())
        .spawn()
        .expect("the binary was built with the tests");
    let mut stdout = BufReader::new(collect.stdout.take().expect("piped"));
    let mut first = String::new();
    stdout.read_line(&mut first).expect("a line with the address");
    let address = first
        .split("http://")
        .nth(1)
        .and_then(|rest| rest.split([':', '/', ' ']).nth(1));
    let address = format!("127.0.0.1:{}", address.expect("a port"));
    let post = |method: &str, path: &str, body: &Value| {
        let mut stream = TcpStream::connect(&address).expect("it listens");
        let body = body.to_string();
        let head = format!(
            "{method} {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nAuthorization: Bearer key\r\n"
        );
        let length = format!(
            "Content-Type: application/json\r\nContent-Length: {}\r\n\r\n",
            body.len()
        );
        stream.write_all((head + &length + &body).as_bytes()).expect("written");
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).expect("answered");
        String::from_utf8_lossy(&answer).into_owned()
    };
    let span = |session: &str| {
        json!({
            "traceId": "5b8efff798038103d269b633813fc60c", "spanId": "eee19b7ec3c1b174", "name": EVIL,
            "attributes": [{ "key": "session.id", "value": { "stringValue": session } }],
        })
    };
    let resource = json!({ "attributes": [{ "key": "tracer_registry.selector", "value": { "stringValue": EVIL } }] });
    let export =
        |spans: Vec<Value>| json!({ "resourceSpans": [{ "resource": resource, "scopeSpans": [{ "spans": spans }] }] });
    for path in ["/v1/traces", "/\u{202e}\u{200b}/v1/traces", "/%1b%0a/v1/traces"] {
        post("POST", path, &export(vec![span(EVIL)]));
    }
    post(
        "POST",
        "/events",
        &json!({ "event": { "session_id": EVIL, "event_name": EVIL } }),
    );
    post(
        "PUT",
        "/events",
        &json!({ "event_id": EVIL, "metadata": { EVIL: EVIL } }),
    );
    let many: Vec<Value> = (0..1000)
        .map(|number| span(&format!("{number}{}", "x".repeat(1000))))
        .collect();
    post("POST", "/last/v1/traces", &export(many));

    let mut text = first;
    while !text.lines().any(|line| line.contains("/last/v1/traces")) {
        assert!(stdout.read_line(&mut text).expect("text") > 0, "{text}");
    }
    terminate(&collect);
    assert!(collect.wait().expect("it ends").success());
    assert_harmless(&text);
    assert!(
        text.contains(r" (\u{1b}]0;title\u{7}\u{1b}[35m\u{9b}2J\r\nforged\n"),
        "{text}"
    );
    assert!(
        text.contains(r"session \u{1b}]0;title\u{7}\u{1b}[35m\u{9b}2J\r\nforged\n"),
        "{text}"
    );
    let last = text.lines().last().expect("a line");
    assert!(last.ends_with("and 997 more") && last.len() < 1000, "{last}");
}

#[test]
fn check_escapes_every_field_of_a_configuration() {
    let evil = serde_json::to_string(EVIL).expect("a JSON string is also a TOML string");
    let escaped = evil.replace("\u{9b}", "\\u009b").replace('\u{7f}', "\\u007f");
    // A valid configuration: the text is in the table.
    let (folder, file) = configuration(
        &format!(
            "[defaults]\nendpoint = \"http://127.0.0.1:9\"\n\
             [tenants.b]\napi_key = {{ file = {escaped} }}\n\
             [tenants.c]\napi_key = {{ credential = {escaped} }}\n\
             [tenants.d]\napi_key = {{ provider = {escaped}, name = {escaped} }}\n\
             [tenants.e]\napi_key = {{ exec = [{escaped}, {escaped}] }}\n\
             [tenants.p]\napi_key = {{ file = \"f\" }}\nbackend = \"phoenix\"\n\
             project = \"\\u202e\\u200btitle\"\n\
             [tenants.g]\napi_key = {{ file = {escaped} }}\n\
             [tenants.h]\napi_key = {{ file = \"f\" }}\nsource = {escaped}\nmetadata = {{ {escaped} = {escaped} }}\n"
        ),
        &["f"],
    );
    let evil_key = folder.path().join(EVIL);
    fs::write(&evil_key, "key\n").expect("written");
    fs::set_permissions(&evil_key, fs::Permissions::from_mode(0o644)).expect("its owner may");
    for arguments in [
        &["check", "--config", &file][..],
        &["check", "--config", &file, "--json"],
    ] {
        let text = harmless(&run(arguments, &[]));
        assert!(text.contains("title"), "{text}");
    }

    // Invalid configurations, with the text in every position.
    for toml in [
        format!("{escaped} = 1\n"),
        format!("[{escaped}]\na = 1\n"),
        format!("active_environment = {escaped}\n"),
        format!("active_environment = {{ env = {escaped}, default = {escaped} }}\n"),
        format!("tenants_dir = {escaped}\n"),
        format!("[tenants.a]\nproject = {escaped}\n"),
        format!("[tenants.{escaped}]\nsource = 'x'\n"),
        format!("[tenants.a]\n{escaped} = 1\n"),
        format!("[tenants.a]\nbackend = {escaped}\n"),
        format!("[tenants.a]\nendpoint = {escaped}\n"),
        format!("[tenants.a]\nendpoint = \"http://\" \n[tenants.a.proxy]\nenv = {escaped}\n"),
        format!("[tenants.a]\napi_key = {{ env = {escaped} }}\n"),
        format!("[tenants.a]\napi_key = {{ {escaped} = {escaped} }}\n"),
        format!("[tenants.a.headers]\n{escaped} = {escaped}\nx-a = {escaped}\n"),
        format!("[tenants.a.tls]\ncert = {escaped}\n"),
        format!("[tenants.a]\nauth = {{ header = {escaped}, scheme = {escaped} }}\n"),
        format!("[tenants.a.proxy]\nurl = {escaped}\n"),
        format!("[tenants.a.resource]\n{escaped} = []\n"),
        format!("[[routes]]\nwhen = {{ tenant = {escaped}, feature = {escaped} }}\n"),
        format!("[untrusted]\nkeys = [{escaped}]\nendpoints = [{escaped}]\naddresses = [{escaped}]\n"),
        format!("[export]\nscheduled_delay = {escaped}\nprotocol = {escaped}\n"),
        format!("[routing]\ndefault = {{ environment = {escaped} }}\n"),
        EVIL.to_owned(),
        format!("a = '{EVIL}\n"),
    ] {
        let (_folder, file) = configuration(&toml, &[]);
        for arguments in [
            &["check", "--config", &file][..],
            &["check", "--config", &file, "--json"],
        ] {
            let output = run(arguments, &[]);
            harmless(&output);
            assert_eq!(output.status.code(), Some(1), "{toml:?}: {output:?}");
        }
    }
}

#[test]
fn check_escapes_names_of_files_and_variables() {
    let (folder, file) = configuration(
        "tenants_dir = 'tenants'\n[defaults]\napi_key = { file = 'f' }\n",
        &["f"],
    );
    let tenants = folder.path().join("tenants");
    fs::create_dir(&tenants).expect("made");
    fs::write(tenants.join(format!("{EVIL}.toml")), "source = 'x'\n").expect("written");
    fs::write(tenants.join("acme.toml"), format!("{EVIL} = 1\n")).expect("written");
    let text = harmless(&run(&["check", "--config", &file], &[]));
    assert!(text.contains("title"), "{text}");

    let variable = format!("TRACER_REGISTRY__TENANTS__{EVIL}__SOURCE");
    for variables in [
        (&*variable, "x"),
        ("TRACER_REGISTRY__ACTIVE_ENVIRONMENT", EVIL),
        ("TRACER_REGISTRY__EXPORT__TIMEOUT", EVIL),
    ] {
        harmless(&run(&["check", "--config", &file], &[variables]));
    }

    // An existing folder and file with such names, and missing ones.
    let evil_folder = folder.path().join(EVIL);
    fs::create_dir(&evil_folder).expect("made");
    fs::write(evil_folder.join("default.toml"), "a = 1\n").expect("written");
    let evil_folder = evil_folder.to_str().expect("UTF-8");
    for config in [
        evil_folder,
        &format!("{evil_folder}/default.toml"),
        &format!("{evil_folder}/none.toml"),
        EVIL,
    ] {
        for arguments in [
            &["check", "--config", config][..],
            &["check", "--config", config, "--json"],
        ] {
            let output = run(arguments, &[]);
            assert!(harmless(&output).contains("title"), "{output:?}");
            assert_eq!(output.status.code(), Some(1));
        }
    }
}

#[test]
fn check_escapes_response_bodies() {
    let collector = LocalCollector::start().expect("a free port");
    collector.fault(Fault::status(400).body(EVIL));
    let url = collector.url();
    let (_folder, file) = configuration(
        &format!("[defaults]\nendpoint = '{url}'\n[tenants.a]\napi_key = {{ file = 'a' }}\n"),
        &["a"],
    );
    for arguments in [
        &["check", "--config", &file, "--connect"][..],
        &["check", "--config", &file, "--connect", "--json"],
        &["check", "--config", &file, "--connect=send"],
        &["check", "--config", &file, "--connect=send", "--json"],
    ] {
        let text = harmless(&run(arguments, &[]));
        assert!(text.contains("answered 400"), "{text}");
    }
}

#[test]
fn usage_errors_escape_the_arguments() {
    let assigned = format!("--listen={EVIL}");
    for arguments in [
        &[EVIL][..],
        &["collect", "--listen", EVIL],
        &["collect", &assigned],
        &["collect", "--listen", "127.0.0.1:0", "--key-header", EVIL],
        &["collect", EVIL],
        &["check", EVIL],
        &["check", "--config", "x", &format!("--{EVIL}")],
        &["demo", "--requests", EVIL],
        &["verify", "--seed", EVIL],
        &["verify", "--limit", EVIL],
        &["schema", EVIL],
    ] {
        let output = run(arguments, &[]);
        assert!(!output.status.success(), "{arguments:?}");
        assert!(harmless(&output).contains("title"), "{arguments:?}: {output:?}");
    }
}

#[test]
fn demo_and_verify_escape_text_from_the_environment() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let missing = folder.path().join(EVIL);
    let missing = missing.to_str().expect("UTF-8");
    let variables = [("TMPDIR", missing), ("ENVIRONMENT", EVIL), ("HH_API_KEY", EVIL)];
    let demo = run(&["demo", "--requests", "1"], &variables);
    harmless(&demo);
    assert_eq!(demo.status.code(), Some(1), "the temporary folder is missing: {demo:?}");
    fs::create_dir(missing).expect("made");
    for arguments in [
        &["demo", "--requests", "3"][..],
        &["demo", "--requests", "3", "--json"],
        &["verify", "--operations", "200", "--tenants", "2", "--chaos"],
        &["verify", "--operations", "200", "--tenants", "2", "--json"],
        &["schema"],
    ] {
        let output = run(arguments, &variables);
        harmless(&output);
        assert!(output.status.success(), "{arguments:?}: {output:?}");
    }
}

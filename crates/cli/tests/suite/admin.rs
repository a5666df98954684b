//! `admin` and `explain` against a running `serve`.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::process::{Output, Stdio};
use std::thread;

use serde_json::{Value, json};
use tempfile::TempDir;
use tracer_registry_collector::{Fault, LocalCollector};

use crate::serve::Served;
use crate::terminal::{EVIL, assert_harmless};
use crate::{binary, run, text};

const VARIABLE: &str = "TRACER_REGISTRY_ADMIN_TOKEN";
const TOKEN: &str = "token-of-the-admin";
const TRACE: &str = "5b8efff798038103d269b633813fc60c";

/// A gateway for three tenants: spans of `globex` are sampled out, and `callers` may send.
struct Gateway {
    served: Served,
    url: String,
    collector: LocalCollector,
    folder: TempDir,
}

impl Gateway {
    fn start() -> Self {
        let collector = LocalCollector::builder()
            .project("acme", "key-of-acme")
            .project("globex", "key-of-globex")
            .start()
            .expect("started");
        let folder = tempfile::tempdir().expect("a folder");
        // A command's key changes only when it is asked for again: no file is watched.
        let config = format!(
            "[defaults]\nbackend = \"otlp\"\nendpoint = \"{}\"\napi_key = {{ exec = [\"cat\", \"{}/keys/{{tenant}}\"] }}\n\
             [tenants.acme]\nquota.spans_per_day = 100\n[tenants.globex]\nsampling.ratio = 0.0\n[tenants.initech]\n\
             [export]\nscheduled_delay = \"50ms\"\nexplain.max_traces = 1000\ndead_letters.max_batches = 4\n\
             [gateway]\nhttp = \"127.0.0.1:0\"\ngrpc = false\n\
             admin = {{ listen = \"127.0.0.1:0\", token = {{ file = \"admin\" }} }}\n\
             [gateway.callers.all]\ntoken = {{ file = \"token\" }}\ntenant = {{ header = \"x-tenant\", allow = [\"*\"] }}\n",
            collector.url(),
            folder.path().display()
        );
        fs::create_dir(folder.path().join("keys")).expect("made");
        for (file, content) in [
            ("keys/acme", "key-of-acme"),
            ("keys/globex", "key-of-globex"),
            ("admin", TOKEN),
            ("token", "token-of-the-caller"),
            ("gateway.toml", &config),
        ] {
            fs::write(folder.path().join(file), content).expect("written");
        }
        let mut served = Served::start(&["--config", &path(&folder, "gateway.toml")]);
        let url = admin_of(&mut served);
        Self {
            served,
            url,
            collector,
            folder,
        }
    }

    /// Posts a span of this trace, and returns the status of the answer.
    fn post(&self, tenant: &str, trace: &str) -> u16 {
        let body = format!(
            r#"{{"resourceSpans":[{{"scopeSpans":[{{"spans":[{{"traceId":"{trace}","spanId":"eee19b7ec3c1b174","name":"hello"}}]}}]}}]}}"#
        );
        let token = "token-of-the-caller";
        let answer = self.served.send(
            &format!("authorization: Bearer {token}\r\nx-tenant: {tenant}\r\n"),
            &body,
        );
        answer.split(' ').nth(1).expect("a status").parse().expect("a number")
    }

    fn run(&self, arguments: &[&str]) -> Output {
        let mut command = binary();
        command.args(arguments).args(["--url", &self.url]).env(VARIABLE, TOKEN);
        command.output().expect("the binary was built with the tests")
    }

    /// Returns the exit code and the output of a command that writes no error.
    fn says(&self, arguments: &[&str]) -> (i32, String) {
        let output = self.run(arguments);
        assert_eq!(text(&output.stderr), "", "{arguments:?}");
        (output.status.code().expect("a code"), text(&output.stdout))
    }

    fn json(&self, arguments: &[&str]) -> Value {
        let (_, text) = self.says(&[arguments, &["--json"]].concat());
        assert_eq!(text.lines().count(), 1, "{text}");
        serde_json::from_str(&text).expect("JSON")
    }

    /// Returns the error of a command that fails.
    fn refused(&self, arguments: &[&str]) -> String {
        let output = self.run(arguments);
        assert_eq!(
            (output.status.code(), text(&output.stdout).as_str()),
            (Some(1), ""),
            "{arguments:?}"
        );
        text(&output.stderr)
    }

    /// Waits until the receiver's answer to everything is known.
    fn flush(&self, tenant: &str) {
        assert_eq!(
            self.says(&["admin", "flush", tenant]),
            (0, format!("{tenant}: nothing waits\n"))
        );
    }
}

fn path(folder: &TempDir, file: &str) -> String {
    folder.path().join(file).to_str().expect("UTF-8").to_owned()
}

/// Returns the address of the admin listener.
pub(crate) fn admin_of(served: &mut Served) -> String {
    let line = served.line("  admin ");
    line.split_whitespace().last().expect("an address").to_owned()
}

#[test]
fn pages_have_the_same_content_as_text_and_as_json() {
    let gateway = Gateway::start();
    assert_eq!(gateway.post("acme", TRACE), 200);
    gateway.flush("acme");

    let (code, tenants) = gateway.says(&["admin", "tenants"]);
    assert_eq!(code, 0);
    let lines: Vec<&str> = tenants.lines().collect();
    assert!(lines[0].starts_with("selector     accepted  delivered"), "{tenants}");
    let words: Vec<&str> = lines[1].split_whitespace().collect();
    assert_eq!(words, ["tenant:acme", "1", "1", "0", "0", "-", "-"], "{tenants}");
    assert_eq!(lines[2..], ["1 of 1 found"]);
    let tenants = gateway.json(&["admin", "tenants"]);
    assert_eq!(tenants["found"], 1);
    assert_eq!(tenants["tenants"][0]["spans"]["delivered"], 1);

    let (_, tenant) = gateway.says(&["admin", "tenant", "acme"]);
    assert!(tenant.starts_with("tenant:acme\n"), "{tenant}");
    assert!(
        tenant.contains("  spans           1 accepted, 1 delivered\n"),
        "{tenant}"
    );
    assert!(
        tenant.contains("  quota used      spans_per_day 1 of 100\n"),
        "{tenant}"
    );
    assert_eq!(gateway.json(&["admin", "tenant", "tenant:acme"]), tenants["tenants"][0]);

    let (_, callers) = gateway.says(&["admin", "callers"]);
    assert!(
        callers.contains("all ") && callers.contains("header x-tenant"),
        "{callers}"
    );
    assert_eq!(gateway.json(&["admin", "callers"])["callers"][0]["spans"], 1);

    let (_, endpoints) = gateway.says(&["admin", "endpoints"]);
    assert!(
        endpoints.contains(&gateway.collector.url()) && endpoints.contains("works"),
        "{endpoints}"
    );
    assert_eq!(gateway.json(&["admin", "endpoints"])["found"], 1);

    let (_, config) = gateway.says(&["admin", "config"]);
    assert!(
        config
            .lines()
            .any(|line| line.starts_with("tables.tenants ") && line.ends_with(" 3")),
        "{config}"
    );
    assert!(gateway.json(&["admin", "config"])["settings"].is_object());
    assert!(
        gateway
            .refused(&["admin", "metrics", "--json"])
            .contains("has no --json")
    );
    gateway.served.stop();
}

#[test]
fn metrics_are_printed_as_text() {
    let gateway = Gateway::start();
    assert_eq!(gateway.post("acme", TRACE), 200);
    gateway.flush("acme");
    let (code, metrics) = gateway.says(&["admin", "metrics"]);
    assert_eq!(code, 0);
    assert!(
        metrics.contains("\notel_sdk_exporter_span_exported_total{"),
        "{metrics}"
    );
    gateway.served.stop();
}

#[test]
fn attention_names_what_is_wrong_and_exits_with_1_only_for_an_error() {
    let gateway = Gateway::start();
    let attention = || gateway.says(&["admin", "attention"]);
    assert_eq!(attention(), (0, "nothing needs attention\n".to_owned()));
    assert_eq!(gateway.json(&["admin", "attention"]), json!({"attention": []}));
    gateway.says(&["admin", "pause", "acme"]);
    let (code, notice) = attention();
    assert!(code == 0 && notice.starts_with("notice paused: "), "{notice}");
    assert!(notice.ends_with("\n  tenants (1): tenant:acme\n"), "{notice}");
    gateway.says(&["admin", "resume", "acme"]);
    gateway.collector.fault(Fault::reject_key());
    assert_eq!(gateway.post("acme", TRACE), 200);
    gateway.says(&["admin", "flush", "acme", "--timeout", "2s"]);
    let (code, error) = attention();
    assert!(code == 1 && error.contains("error key_refused: "), "{error}");
    // So that the stop waits for nothing.
    gateway.collector.clear_faults();
    gateway.served.stop();
}

#[test]
fn a_long_list_is_read_page_by_page() {
    let gateway = Gateway::start();
    for tenant in ["acme", "globex"] {
        assert_eq!(gateway.post(tenant, TRACE), 200);
    }
    let (_, first) = gateway.says(&["admin", "tenants", "--limit", "1"]);
    assert!(
        first.ends_with("1 of 2 found\nnext page: --after tenant:acme\n"),
        "{first}"
    );
    let (_, second) = gateway.says(&["admin", "tenants", "--limit", "1", "--after", "tenant:acme"]);
    assert!(
        second.contains("tenant:globex ") && second.ends_with("found\n"),
        "{second}"
    );
    let (_, named) = gateway.says(&["admin", "tenants", "--order", "queued-bytes", "--contains", "glob"]);
    assert!(named.ends_with("1 of 1 found\n") && !named.contains("acme"), "{named}");
    gateway.served.stop();
}

#[test]
fn each_action_reports_what_it_did() {
    let gateway = Gateway::start();
    assert_eq!(gateway.post("acme", TRACE), 200);
    gateway.flush("acme");
    let says = |arguments: &[&str]| gateway.says(&[&["admin"], arguments].concat());
    let done = |text: &str| (0, format!("{text}\n"));

    assert_eq!(says(&["pause", "acme"]), done("acme: paused"));
    assert_eq!(says(&["pause", "acme"]), done("acme: paused, as before"));
    assert_eq!(gateway.post("acme", TRACE), 200);
    let waits = "acme: 1 still waiting\n";
    assert_eq!(says(&["flush", "acme", "--timeout", "100ms"]), (1, waits.to_owned()));
    assert!(says(&["tenants", "--only", "paused"]).1.contains(" paused\n"));
    assert_eq!(
        gateway.json(&["admin", "resume", "acme"]),
        json!({"paused": false, "changed": true})
    );
    gateway.flush("acme");

    let key = says(&["rotate", "acme"]).1;
    assert!(
        key.starts_with("acme: key ") && key.ends_with(" is the current one\n"),
        "{key}"
    );
    fs::write(gateway.folder.path().join("keys/acme"), "another-key-of-acme").expect("written");
    gateway.collector.fault(Fault::reject_key());
    let (code, dry_run) = says(&["rotate", "acme", "--dry-run"]);
    assert!(code == 1 && dry_run.contains(" would become "), "{dry_run}");
    assert!(dry_run.contains("; the endpoint does not accept it: "), "{dry_run}");
    gateway.collector.clear_faults();
    let accepted = says(&["rotate", "acme", "--dry-run"]).1;
    assert!(accepted.ends_with("; the endpoint accepts it\n"), "{accepted}");
    let (code, rotated) = says(&["rotate", "acme"]);
    assert!(code == 0 && rotated.contains(" became "), "{rotated}");

    assert_eq!(says(&["remove", "acme"]), done("acme: removed"));
    assert_eq!(says(&["remove", "acme"]), done("acme: had no tracer"));

    assert_eq!(
        says(&["reload"]),
        done("the configuration was read again, and nothing changed")
    );
    let folder_file = |name: &str| gateway.folder.path().join(name);
    let file = folder_file("gateway.toml");
    let config = fs::read_to_string(&file).expect("written before");
    fs::write(&file, format!("{config}[tenants.hooli]\n")).expect("written");
    assert_eq!(says(&["reload"]), done("added: tenant:hooli"));
    let lines = "[gateway]\nmax_connections = 77\nlog.format = \"json\"\n";
    fs::write(&file, config.replace("[gateway]\n", lines)).expect("written");
    assert_eq!(
        says(&["reload"]),
        done("removed: tenant:hooli\napplied: gateway.max_connections\ntakes effect at the next start: gateway.log")
    );
    fs::write(folder_file("token"), "second-token-of-the-caller").expect("written");
    fs::write(
        &file,
        config.replace("[gateway]\n", "[gateway]\nmax_connections = 77\n"),
    )
    .expect("written");
    assert_eq!(
        says(&["reload"]),
        done("applied: gateway.callers\ntheir tokens: 1 added, 1 removed")
    );
    fs::write(&file, config.replace("[export]\n", "[export]\nno_setting = 1\n")).expect("written");
    let fault = gateway.refused(&["admin", "reload"]);
    assert!(fault.contains("no_setting"), "{fault}");
    gateway.served.stop();
}

#[test]
fn changes_are_printed_as_they_happen_and_again_from_a_number() {
    let gateway = Gateway::start();
    assert_eq!(gateway.post("acme", TRACE), 200);
    let mut follow = binary()
        .args(["admin", "events", "--json", "--url", &gateway.url])
        .env(VARIABLE, TOKEN)
        .stdout(Stdio::piped())
        .spawn()
        .expect("the binary was built with the tests");
    let mut lines = std::io::BufRead::lines(std::io::BufReader::new(follow.stdout.take().expect("piped")));
    for action in ["pause", "resume"] {
        gateway.says(&["admin", action, "acme"]);
    }
    let kinds = ["paused", "resumed"].map(|_| {
        let line = lines.next().expect("a line").expect("text");
        let change: Value = serde_json::from_str(&line).expect("JSON");
        assert_eq!(change["selector"], "tenant:acme");
        (
            change["kind"].as_str().expect("a kind").to_owned(),
            change["number"].as_u64().expect("a number"),
        )
    });
    assert_eq!((kinds[0].0.as_str(), kinds[1].0.as_str()), ("paused", "resumed"));
    // The stream ends with the gateway.
    gateway.served.stop();
    assert!(follow.wait().expect("it ends").success());
}

#[test]
fn explain_shows_the_fate_of_a_trace() {
    let gateway = Gateway::start();
    let explain = |trace: &str| gateway.says(&["explain", trace]);
    let id = |number: u32| format!("{number:032x}");
    let [delivered, sampled, refused] = [1, 2, 3].map(id);

    assert_eq!(gateway.post("acme", &delivered), 200);
    gateway.flush("acme");
    let (code, fate) = explain(&delivered);
    let lines: Vec<&str> = fate.lines().collect();
    assert_eq!(code, 0);
    assert!(
        lines[0].starts_with("tenant:acme, sent by all, ") && lines[0].ends_with(" UTC"),
        "{fate}"
    );
    assert_eq!(
        lines[1..],
        [
            "  spans     1 accepted",
            "  requests  1 batch, 1 attempt",
            "  answers   200 (1)",
            "  outcome   1 delivered"
        ]
    );

    assert_eq!(gateway.post("globex", &sampled), 200);
    let (code, fate) = explain(&sampled);
    assert_eq!(
        (code, fate.lines().nth(1)),
        (0, Some("  spans     1 sampled out")),
        "{fate}"
    );

    gateway.collector.fault(Fault::status(400));
    assert_eq!(gateway.post("acme", &refused), 200);
    gateway.flush("acme");
    let (code, fate) = explain(&refused);
    assert!(
        code == 0 && fate.contains("\n  answers   400 (1)\n  outcome   1 dropped (refused)\n"),
        "{fate}"
    );

    let (code, unknown) = explain(&id(4));
    assert!(
        code == 1 && unknown.starts_with("not seen in the last 10m: "),
        "{unknown}"
    );
    assert_eq!(gateway.json(&["explain", &id(4)])["seen"], false);
    assert_eq!(
        gateway.json(&["explain", &delivered.to_uppercase()])["selectors"][0]["delivered"],
        1
    );
    gateway.served.stop();
}

#[test]
fn refused_batches_are_listed_with_the_receivers_words() {
    let gateway = Gateway::start();
    assert_eq!(
        gateway.says(&["admin", "refused", "acme"]).1,
        "no refused batch is kept\n"
    );
    gateway.collector.fault(Fault::status(400));
    assert_eq!(gateway.post("acme", TRACE), 200);
    gateway.flush("acme");
    let (_, listed) = gateway.says(&["admin", "refused", "acme"]);
    let batch = listed.lines().nth(1).expect("a batch");
    assert!(batch.contains("  refused  ") && batch.contains("400"), "{listed}");
    let batch = &gateway.json(&["admin", "refused", "acme"])["refused"][0];
    assert!(batch["body"].is_string() && batch["spans"] == 1, "{batch}");
    gateway.served.stop();
}

#[test]
fn a_trace_id_that_is_none_is_wrong_usage() {
    for id in ["", "123", "0000000000000000000000000000000g", &"0".repeat(32)] {
        let output = run(&["explain", id]);
        assert_eq!(output.status.code(), Some(2), "{id}");
        assert!(text(&output.stderr).contains("32 hexadecimal digits"), "{id}");
    }
}

#[test]
fn the_token_comes_from_a_file_a_variable_or_the_configuration_and_from_no_argument() {
    let gateway = Gateway::start();
    let url = ["admin", "config", "--url", &gateway.url];
    let code = |command: &mut std::process::Command| command.output().expect("it runs").status.code();
    let file = path(&gateway.folder, "admin");
    assert_eq!(code(binary().args(url).args(["--token-file", &file])), Some(0));
    assert_eq!(
        code(binary().args(url).args(["--token-env", "OTHER"]).env("OTHER", TOKEN)),
        Some(0)
    );
    assert_eq!(code(binary().args(url).env(VARIABLE, TOKEN)), Some(0));
    let none = binary().args(url).output().expect("it runs");
    assert_eq!(none.status.code(), Some(1));
    assert!(text(&none.stderr).contains(VARIABLE), "{}", text(&none.stderr));

    // A configuration with the port of this gateway.
    let (_, address) = gateway.url.split_once("://").expect("a URL");
    let config = fs::read_to_string(gateway.folder.path().join("gateway.toml")).expect("written before");
    let config = config.replace("listen = \"127.0.0.1:0\"", &format!("listen = \"{address}\""));
    fs::write(gateway.folder.path().join("gateway.toml"), config).expect("written");
    let config = ["admin", "config", "--config", &path(&gateway.folder, "gateway.toml")];
    assert_eq!(code(binary().args(config)), Some(0));
    // A variable does not win over a configuration that is named, but over the default one.
    let wrong = "another-token-of-the-admin";
    assert_eq!(code(binary().args(config).env(VARIABLE, wrong)), Some(0));
    let folder = gateway.folder.path();
    fs::create_dir(folder.join("config")).expect("made");
    for (from, to) in [("gateway.toml", "default.toml"), ("admin", "admin"), ("token", "token")] {
        fs::copy(folder.join(from), folder.join("config").join(to)).expect("copied");
    }
    let default = |value: &str| {
        code(
            binary()
                .args(["admin", "config"])
                .current_dir(folder)
                .env(VARIABLE, value),
        )
    };
    assert_eq!((default(wrong), default(TOKEN)), (Some(1), Some(0)));
    assert_eq!(code(binary().args(["admin", "config"]).current_dir(folder)), Some(0));

    for help in [
        vec!["admin", "--help"],
        vec!["explain", "--help"],
        vec!["admin", "tenants", "--help"],
    ] {
        let help = text(&run(&help).stdout);
        assert!(help.contains("--token-file") && !help.contains("--token "), "{help}");
    }
    for argument in ["--token", "--cert", "--key"] {
        let output = run(&["admin", "config", argument, "secret"]);
        assert_eq!(output.status.code(), Some(2), "{argument} alone");
    }
    gateway.served.stop();
}

#[test]
fn an_error_names_what_is_wrong_and_shows_no_token() {
    let gateway = Gateway::start();
    let wrong = binary()
        .args(["admin", "tenants", "--url", &gateway.url])
        .env(VARIABLE, "another-unknown-token")
        .output()
        .expect("it runs");
    assert_eq!(wrong.status.code(), Some(1));
    let stderr = text(&wrong.stderr);
    assert!(
        stderr.starts_with(&format!(
            "error: the gateway at {} refuses the token of variable {VARIABLE}\n",
            gateway.url
        )),
        "{stderr}"
    );
    assert!(!stderr.contains("another"), "{stderr}");
    let file = path(&gateway.folder, "token");
    let wrong = gateway.refused(&["admin", "tenants", "--token-file", &file]);
    assert!(wrong.ends_with(&format!(" refuses the token of {file}\n")), "{wrong}");
    // Another server, such as the listener for programs.
    let url = answering(404, &json!({"code": 5, "message": "no such path"}));
    let other = binary()
        .args(["admin", "tenants", "--url", &url])
        .env(VARIABLE, TOKEN)
        .output()
        .expect("it runs");
    assert_eq!(
        text(&other.stderr),
        format!("error: {url} answers 404 Not Found, not as an admin listener does\n")
    );

    for (arguments, message) in [
        (vec!["admin", "tenant", "acme"], "no tracer"),
        (vec!["admin", "tenant", "../../etc"], "invalid name"),
        (vec!["admin", "tenants", "--limit", "0"], "limit"),
        (vec!["admin", "flush", "acme", "--timeout", "soon"], "timeout"),
        (vec!["admin", "pause", "hooli"], "\"hooli\" is not configured"),
        (vec!["admin", "resume", "hooli"], "\"hooli\" is not configured"),
        (vec!["admin", "remove", "hooli"], "\"hooli\" is not configured"),
        (vec!["admin", "refused", "hooli"], "\"hooli\" is not configured"),
    ] {
        let error = gateway.refused(&arguments);
        assert!(
            error.starts_with("error: the gateway refuses this: "),
            "{arguments:?}: {error}"
        );
        assert!(error.contains(message), "{arguments:?}: {error}");
    }
    gateway.served.stop();

    let free = TcpListener::bind("127.0.0.1:0")
        .expect("a free port")
        .local_addr()
        .expect("bound");
    for (url, message) in [
        (format!("http://{free}"), " cannot be reached: "),
        ("http://gateway.example".to_owned(), "use https"),
        ("gateway.example".to_owned(), "expected http:// or https://"),
    ] {
        let output = binary()
            .args(["admin", "config", "--url", &url])
            .env(VARIABLE, TOKEN)
            .output()
            .expect("it runs");
        let stderr = text(&output.stderr);
        assert!(
            output.status.code() == Some(1) && stderr.contains(message),
            "{url}: {stderr}"
        );
    }
    let folder = tempfile::tempdir().expect("a folder");
    fs::write(
        folder.path().join("gateway.toml"),
        "[gateway]\nopen = { tenant = \"acme\" }\n",
    )
    .expect("written");
    let none = run(&["admin", "config", "--config", folder.path().to_str().expect("UTF-8")]);
    assert!(
        text(&none.stderr).contains("has no table [gateway.admin]"),
        "{}",
        text(&none.stderr)
    );
}

/// Answers each request with this document, whatever it asks for.
fn answering(status: u16, body: &Value) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let url = format!("http://{}", listener.local_addr().expect("bound"));
    let body = body.to_string();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.expect("a connection");
            // The head of a small request arrives at once.
            drop(stream.read(&mut [0; 4096]));
            let head = format!(
                "HTTP/1.1 {status} x\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
                body.len()
            );
            drop(stream.write_all(format!("{head}{body}").as_bytes()));
        }
    });
    url
}

#[test]
fn text_of_the_gateway_cannot_control_the_terminal() {
    let text_of = |arguments: &[&str], url: &str, json: bool| {
        let mut command = binary();
        command
            .args(arguments)
            .args(["--url", url])
            .env(VARIABLE, TOKEN)
            .env("CLICOLOR_FORCE", "1");
        if json {
            command.arg("--json");
        }
        let output = command.output().expect("it runs");
        let all = text(&[output.stdout, output.stderr].concat());
        assert!(all.contains("end"), "the text is shown: {all}");
        assert_harmless(&all);
    };
    let item = json!({"rule": EVIL, "severity": EVIL, "count": 1, "tracers": [EVIL], "endpoints": [EVIL],
        "since": EVIL, "message": EVIL});
    let fate = json!({"selector": EVIL, "caller": EVIL, "first": EVIL, "last": EVIL, "accepted": 1, "sampled_out": 0,
        "too_large": 0, "refused": 0, "batches": 1, "attempts": 1, "answers": [{"answer": EVIL, "count": 1}],
        "delivered": 0, "unclear": 0, "pending": 0, "dropped": {EVIL: 1}});
    let caller = json!({"caller": EVIL, "addresses": {EVIL: EVIL}, "tokens": 1, "requests": 0, "spans": 0,
        "refused": {EVIL: 1}});
    let batch = json!({"at": EVIL, "reason": EVIL, "spans": 1, "bytes": 1, "error": EVIL, "body": EVIL});
    let rotated = json!({"before": EVIL, "fingerprint": EVIL, "changed": true, "connection": {"failed": EVIL}});
    let selectors = json!([EVIL]);
    let cases: [(&[&str], Value); 8] = [
        (&["admin", "attention"], json!({"attention": [item]})),
        (
            &["explain", TRACE],
            json!({"seen": true, "selectors": [fate], "more_selectors": 0, "kept": EVIL}),
        ),
        (
            &["admin", "callers"],
            json!({"callers": [caller], "found": 1, "next": EVIL, "unidentified": {EVIL: 1}}),
        ),
        (&["admin", "refused", "acme"], json!({"refused": [batch]})),
        (&["admin", "rotate", "acme"], rotated),
        (&["admin", "config"], json!({EVIL: {EVIL: EVIL}})),
        (
            &["admin", "reload"],
            json!({"added": selectors, "changed_selectors": selectors, "removed": [], "needs_restart": [EVIL],
                "gateway": [EVIL]}),
        ),
        (&["admin", "metrics"], json!(EVIL)),
    ];
    for (arguments, answer) in cases {
        let url = answering(200, &answer);
        text_of(arguments, &url, false);
        if arguments != ["admin", "metrics"] {
            text_of(arguments, &url, true);
        }
    }
    let refused = answering(403, &json!({"error": {"status": 403, "message": EVIL}}));
    text_of(&["admin", "tenants"], &refused, false);
}

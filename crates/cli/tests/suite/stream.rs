//! `stream init` with real servers.

use std::fs;
use std::process::Output;

use tracer_registry_stream::test::TestCluster;

use crate::{configuration, run, text};

const TABLE: &str = r#"
[gateway.callers.acme]
token = { file = "acme" }
tenant = "acme"
[gateway.stream]
replicas = 1
partitions = 2
max_bytes = "64MiB"
max_parked_bytes = "64MiB"
"#;

fn init(file: &str, arguments: &[&str]) -> Output {
    run(&[&["stream", "init", "--config", file], arguments].concat())
}

fn printed(output: &Output, success: bool) -> String {
    let stdout = text(&output.stdout);
    assert_eq!(output.status.success(), success, "{stdout}{}", text(&output.stderr));
    stdout
}

#[tokio::test]
#[ignore = "needs nats-server"]
async fn init_creates_the_streams_and_then_shows_what_differs() {
    let cluster = TestCluster::start(1).await;
    let (servers, monitor) = (cluster.urls(), cluster.monitor_urls());
    let addresses = format!("servers = {servers:?}\nmonitor = {monitor:?}\n");
    let (_folder, file) = configuration(&format!("{TABLE}{addresses}"), &["acme"]);

    let stdout = printed(&init(&file, &["--check"]), false);
    assert!(stdout.contains("stream    tr-hot-1       missing\n"), "{stdout}");
    let stdout = printed(&init(&file, &[]), true);
    assert!(stdout.contains("2.15") && stdout.contains("always\n"), "{stdout}");
    assert!(stdout.contains("consumer  tr-hot-1/send  created\n"), "{stdout}");
    let stdout = printed(&init(&file, &["--check"]), true);
    assert!(
        stdout.ends_with("\n11 as configured, 0 created, 0 updated, 0 missing or different\n"),
        "{stdout}"
    );

    let changed = fs::read_to_string(&file).expect("a file").replace("64MiB", "32MiB");
    fs::write(&file, changed).expect("written");
    let stdout = printed(&init(&file, &[]), false);
    let line = "stream  tr-park-0  differs  max_bytes is 33554432, should be 16777216\n";
    assert!(stdout.contains(line), "{stdout}");
    let stdout = printed(&init(&file, &["--update"]), true);
    assert!(stdout.contains("stream  tr-park-0  updated"), "{stdout}");
    printed(&init(&file, &["--check"]), true);
}

#[test]
fn a_configuration_without_a_stream_or_with_a_fault_is_an_error() {
    let table = "[gateway.callers.acme]\ntoken = { file = 'acme' }\ntenant = 'acme'\n";
    let (_folder, file) = configuration(table, &["acme"]);
    let output = init(&file, &[]);
    assert_eq!(output.status.code(), Some(1));
    assert!(
        text(&output.stderr).contains("gateway.stream: missing"),
        "{}",
        text(&output.stderr)
    );
    let (_folder, file) = configuration(TABLE, &["acme"]);
    let stderr = text(&init(&file, &[]).stderr);
    assert!(stderr.contains("gateway.stream.servers: missing"), "{stderr}");
}

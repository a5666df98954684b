//! Runs `verify` as a user would.

use std::process::Output;

use serde_json::Value;

use super::{binary, text};

fn run(arguments: &[&str]) -> Output {
    binary()
        .arg("verify")
        .args(arguments)
        // Standard variables of the OpenTelemetry SDK, which must not affect the comparison.
        .env("OTEL_EXPORTER_OTLP_HEADERS", "authorization=Bearer another-key")
        .env("OTEL_BSP_MAX_QUEUE_SIZE", "1")
        .env("OTEL_TRACES_SAMPLER", "always_off")
        .output()
        .expect("the binary was built with the tests")
}

#[test]
fn the_last_line_is_the_summary() {
    let output = run(&["--seed", "3", "--operations", "1000", "--tenants", "4"]);
    let (stdout, stderr) = (text(&output.stdout), text(&output.stderr));
    assert!(output.status.success(), "{stdout}{stderr}");
    let summary = "isolated: 0 leaked, 0 lost, 0 duplicated, 0 other deviations in 1000 operations, seed 3\n";
    assert!(stdout.ends_with(summary), "{stdout}");
    assert!(stdout.starts_with("1000 operations in 1 program on "), "{stdout}");
    assert!(!stdout.contains("plain providers"), "{stdout}");
    assert_eq!(stderr, "");
}

#[test]
fn out_of_range_options_are_usage_errors() {
    for wrong in [
        "--tenants=0",
        "--operations=0",
        "--threads=0",
        "--threads=257",
        "--seconds=0",
        "--limit=0",
        "--seed=-1",
    ] {
        let output = run(&[wrong]);
        assert_eq!(output.status.code(), Some(2), "{wrong}");
        let flag = wrong.split('=').next().expect("a flag");
        assert!(text(&output.stderr).contains(flag), "{}", text(&output.stderr));
    }
}

#[test]
fn the_comparison_is_printed_side_by_side() {
    let output = run(&["--operations", "600", "--tenants", "4", "--peer"]);
    let stdout = text(&output.stdout);
    assert!(output.status.success(), "the exit code is about this crate: {stdout}");
    assert!(stdout.contains("this crate  plain providers"), "{stdout}");
    let lost = stdout.lines().find(|line| line.starts_with("lost"));
    let lost: Vec<&str> = lost.expect("a row").split_whitespace().collect();
    assert_eq!(lost, ["lost", "0", "0"], "SDK variables have no effect: {stdout}");
}

#[test]
fn json_output_is_one_document() {
    let output = run(&["--operations", "500", "--tenants", "3", "--threads", "2", "--json"]);
    assert!(output.status.success());
    let report: Value = serde_json::from_slice(&output.stdout).expect("JSON and nothing else");
    assert_eq!(report["seed"], 1);
    assert_eq!(report["failure"], Value::Null);
    assert_eq!(report["peer"], Value::Null);
    assert_eq!(report["ours"]["findings"], Value::Object(serde_json::Map::new()));
    assert!(report["ours"]["spans"].as_u64() > Some(100), "{report}");
    let counts = report["operations"].as_object().expect("an object").values();
    assert_eq!(counts.filter_map(Value::as_u64).sum::<u64>(), 500);
}

#[test]
fn seconds_replaces_the_number_of_operations() {
    let output = run(&["--seconds", "1", "--tenants", "3", "--json"]);
    let report: Value = serde_json::from_slice(&output.stdout).expect("JSON and nothing else");
    assert!(report["rounds"].as_u64() > Some(0), "{report}");
    let both = run(&["--seconds", "1", "--operations", "5"]);
    assert_eq!(both.status.code(), Some(2), "the options exclude each other");
}

/// Runs `verify --gateway`, and returns its report.
fn run_gateway(arguments: &[&str]) -> Value {
    let common = ["--gateway", "--tenants", "6", "--threads", "3", "--json"];
    let output = run(&[&common[..], arguments].concat());
    let (stdout, stderr) = (text(&output.stdout), text(&output.stderr));
    assert!(output.status.success(), "{stdout}{stderr}");
    assert_eq!(stderr, "");
    serde_json::from_str(&stdout).expect("JSON and nothing else")
}

#[test]
fn random_requests_to_a_gateway_leak_and_lose_nothing() {
    let report = run_gateway(&["--operations", "400", "--seed", "2"]);
    assert!(report["ours"]["spans"].as_u64() > Some(1000), "{report}");
    assert!(report["ours"]["bytes"].as_u64() > Some(500_000), "{report}");
    assert_eq!(
        (&report["gateway"]["restarts"], &report["gateway"]["unanswered"]),
        (&0.into(), &0.into())
    );
    assert!(
        report["gateway"]["no_room"].as_u64() > Some(0),
        "queues are full now and then: {report}"
    );
    assert!(report["operations"].get("restart").is_none(), "{report}");
}

#[test]
fn random_requests_leak_and_lose_nothing_while_the_gateway_is_disturbed() {
    // With an odd seed, all data is on disk, and the gateway is killed.
    for (seed, end, ends) in [("5", "kill", "kills"), ("8", "restart", "restarts")] {
        disturb_gateway(seed, end, ends);
    }
}

fn disturb_gateway(seed: &str, end: &str, ends: &str) {
    let report = run_gateway(&["--operations", "500", "--seed", seed, "--chaos"]);
    assert!(report["ours"]["spans"].as_u64() > Some(1000), "{report}");
    assert_eq!(report["gateway"][ends], report["operations"][end]);
    assert!(report["gateway"][ends].as_u64() > Some(0), "{report}");
    for kind in ["rotate a key", "reload with new defaults"] {
        assert!(
            report["operations"][kind].as_u64() > Some(0),
            "the seed has no {kind}: {report}"
        );
    }
}

#[test]
#[ignore = "needs nats-server"]
fn random_requests_to_replicas_leak_lose_and_repeat_nothing() {
    let report = run_gateway(&["--cluster", "--operations", "300", "--seed", "2"]);
    assert!(report["ours"]["spans"].as_u64() > Some(1000), "{report}");
    let cluster = &report["cluster"];
    assert!(
        cluster["published"].as_u64() >= report["ours"]["spans"].as_u64(),
        "{report}"
    );
    assert_eq!(
        (
            &cluster["unconfirmed"],
            &cluster["duplicates"],
            &cluster["server_kills"]
        ),
        (&0.into(), &0.into(), &0.into())
    );
}

#[test]
#[ignore = "needs nats-server"]
fn random_requests_lose_nothing_while_replicas_and_servers_are_killed() {
    let report = run_gateway(&["--cluster", "--chaos", "--operations", "500", "--seed", "15"]);
    assert!(report["ours"]["spans"].as_u64() > Some(1000), "{report}");
    assert_eq!(report["gateway"]["kills"], report["operations"]["kill"]);
    assert_eq!(
        report["cluster"]["server_kills"],
        report["operations"]["kill a server of the stream"]
    );
    for kills in [&report["gateway"]["kills"], &report["cluster"]["server_kills"]] {
        assert!(kills.as_u64() > Some(0), "{report}");
    }
}

#[test]
fn a_cluster_needs_a_gateway_and_nats_servers() {
    let alone = run(&["--cluster"]);
    assert_eq!(alone.status.code(), Some(2));
    assert!(text(&alone.stderr).contains("--gateway"), "{}", text(&alone.stderr));
    let output = binary()
        .args(["verify", "--gateway", "--cluster"])
        .env("NATS_SERVER", "/nowhere/nats-server")
        .output()
        .expect("the binary was built with the tests");
    assert_eq!(output.status.code(), Some(1));
    let error = text(&output.stderr);
    assert!(error.contains("cannot run /nowhere/nats-server: "), "{error}");
    assert!(error.contains("set NATS_SERVER"), "{error}");
}

#[test]
fn a_gateway_has_no_peer() {
    let both = run(&["--gateway", "--peer"]);
    assert_eq!(both.status.code(), Some(2));
    assert!(text(&both.stderr).contains("--peer"), "{}", text(&both.stderr));
}

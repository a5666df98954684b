//! Random programs on real tracers, as a user runs them: by the command line, and as a function.

use std::process::{Command, Output, Stdio};
use std::time::Duration;

use serde_json::Value;
use tracer_registry::testing::{FindingKind, Verify, verify};

fn run(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_tracer-registry"))
        .arg("verify")
        .args(arguments)
        // Variables that are meant for the program's own providers, and would spoil the comparison.
        .env("OTEL_EXPORTER_OTLP_HEADERS", "authorization=Bearer somebody")
        .env("OTEL_BSP_MAX_QUEUE_SIZE", "1")
        .env("OTEL_TRACES_SAMPLER", "always_off")
        .stdin(Stdio::null())
        .output()
        .expect("the binary was built with the tests")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).expect("text")
}

#[test]
fn programs_of_several_seeds_leak_nothing() {
    for seed in 1..=6 {
        let asked = Verify::new().seed(seed).tenants(6).operations(1500).threads(3);
        let report = verify(&asked).expect("a port and threads");
        assert!(report.is_clean(), "{:#?}", report.failure);
        assert_eq!((report.rounds, report.total_operations()), (1, 1500));
        assert!(
            report.ours.spans > 300 && report.ours.sessions > 20,
            "{:#?}",
            report.ours
        );
        assert!(report.ours.bytes > 100_000, "{:#?}", report.ours);
    }
}

#[test]
fn programs_leak_and_lose_nothing_while_tracers_are_replaced_under_them() {
    for seed in 1..=3 {
        let asked = Verify::new().seed(seed).tenants(6).operations(1500).threads(3);
        let report = verify(&asked.chaos(true)).expect("a port, threads and a folder");
        assert!(report.is_clean(), "{:#?}", report.failure);
        let disturbed = report.operations.iter().filter(|(kind, _)| kind.starts_with("chaos: "));
        assert!(
            disturbed.map(|(_, count)| count).sum::<u64>() > 5,
            "{:#?}",
            report.operations
        );
        let chaos = report.chaos.expect("it was asked for");
        assert!(chaos.evicted > 10, "{chaos:?}");
        assert!(report.ours.spans > 300, "{:#?}", report.ours);
        assert!(chaos.refused > 0, "no request had an old key: {chaos:?}");
    }
}

#[test]
fn a_program_that_does_not_end_fails_and_is_not_waited_for() {
    // Longer than nothing is what every program takes.
    let report = verify(&Verify::new().operations(100).limit(Duration::ZERO)).expect("a port and threads");
    assert!(!report.is_clean());
    assert_eq!(report.ours.count(FindingKind::Hung), 1);
    let failure = report.failure.expect("it is told");
    assert!(!failure.reproduced && !failure.program.is_empty(), "{failure:#?}");
}

#[test]
fn plain_providers_leak_with_the_same_programs() {
    let asked = Verify::new().tenants(4).operations(1000).threads(2).peer(true);
    let report = verify(&asked).expect("a port and threads");
    assert!(report.is_clean(), "{:#?}", report.failure);
    let peer = report.peer.expect("it was asked for");
    for kind in [
        FindingKind::Leaked,
        FindingKind::WrongParent,
        FindingKind::WrongTrace,
        FindingKind::WrongSession,
        FindingKind::WrongHeaders,
    ] {
        assert!(peer.count(kind) > 0, "{kind}: {peer:#?}");
    }
    assert_eq!(peer.count(FindingKind::Lost), 0, "its exporters work: {peer:#?}");
    assert_eq!(peer.count(FindingKind::Incomplete), 0, "{peer:#?}");
}

#[test]
fn the_command_ends_with_its_summary() {
    let output = run(&["--seed", "3", "--operations", "1000", "--tenants", "4"]);
    let (stdout, stderr) = (text(&output.stdout), text(&output.stderr));
    assert!(output.status.success(), "{stdout}{stderr}");
    let summary = "isolated: 0 leaked, 0 lost, 0 duplicated, 0 otherwise wrong in 1000 operations, seed 3\n";
    assert!(stdout.ends_with(summary), "{stdout}");
    assert!(!stdout.contains("plain providers"), "{stdout}");
    assert_eq!(stderr, "");
}

#[test]
fn nothing_to_try_is_wrong_use() {
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
fn the_comparison_stands_side_by_side() {
    let output = run(&["--operations", "600", "--tenants", "4", "--peer"]);
    let stdout = text(&output.stdout);
    assert!(output.status.success(), "the exit code is about this crate: {stdout}");
    assert!(stdout.contains("this crate  plain providers"), "{stdout}");
    let lost = stdout.lines().find(|line| line.starts_with("lost"));
    let lost: Vec<&str> = lost.expect("a row").split_whitespace().collect();
    assert_eq!(
        lost,
        ["lost", "0", "0"],
        "variables of the process have no say: {stdout}"
    );
}

#[test]
fn the_json_is_one_document() {
    let output = run(&["--operations", "500", "--tenants", "3", "--threads", "2", "--json"]);
    assert!(output.status.success());
    let report: Value = serde_json::from_slice(&output.stdout).expect("JSON and nothing else");
    assert_eq!(report["seed"], 1);
    assert_eq!(report["failure"], Value::Null);
    assert_eq!(report["peer"], Value::Null);
    assert_eq!(report["ours"]["findings"], Value::Object(serde_json::Map::new()));
    assert!(report["ours"]["spans"].as_u64() > Some(100), "{report}");
    let tried = report["operations"].as_object().expect("a table").values();
    assert_eq!(tried.filter_map(Value::as_u64).sum::<u64>(), 500);
}

#[test]
fn a_time_is_kept_in_place_of_a_number_of_operations() {
    let output = run(&["--seconds", "1", "--tenants", "3", "--json"]);
    let report: Value = serde_json::from_slice(&output.stdout).expect("JSON and nothing else");
    assert!(report["rounds"].as_u64() > Some(0), "{report}");
    let both = run(&["--seconds", "1", "--operations", "5"]);
    assert_eq!(both.status.code(), Some(2), "one or the other");
}

//! The soak example, run for a few seconds as two processes.

use serde_json::Value;

use super::examples::command;

/// Running times to try. The faults within a few seconds depend on the machine, so the test runs
/// longer until there are enough.
const MINUTES: [&str; 4] = ["0.1", "0.2", "0.5", "1"];

#[test]
fn a_short_soak_with_faults_has_balanced_ledgers() {
    let mut verdict = Value::Null;
    for minutes in MINUTES {
        verdict = soak(minutes);
        assert_eq!(verdict["good"], true, "{verdict:#}");
        if had_spans_and_faults(&verdict) {
            return;
        }
    }
    panic!("too few spans or faults: {verdict:#}");
}

fn soak(minutes: &str) -> Value {
    let output = command("soak", "")
        .args(["--minutes", minutes, "--tenants", "50", "--rate", "800", "--json"])
        .output()
        .expect("the example can be started");
    let (stdout, stderr) = (
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr),
    );
    assert!(output.status.success(), "{}\n{stdout}\n{stderr}", output.status);
    serde_json::from_str(stdout.lines().last().unwrap_or_default()).expect("a verdict")
}

/// Returns true if the run had enough spans, session events and faults for a meaningful verdict.
fn had_spans_and_faults(verdict: &Value) -> bool {
    let rows = verdict["rows"].as_array().expect("rows");
    let value = |name: &str| {
        let row = rows.iter().find(|row| row["what"] == name);
        &row.unwrap_or_else(|| panic!("no {name:?}: {verdict:#}"))["value"]
    };
    let count = |name: &str| value(name).as_u64().expect("a number");
    let answers = value("requests by answer, including lost ones");
    let answered = |status: &str| answers[status].as_u64() > Some(0);
    count("spans delivered") > 1000
        && count("session events delivered") > 10
        && count("spans received again") > 0
        && answered("503")
        && answered("400")
}

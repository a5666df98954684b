//! The soak, for a few seconds, as a process with its receiver in another one.

use serde_json::Value;

use super::examples::command;

/// Which faults come in a few seconds depends on the machine: it runs longer until there was enough of them.
const MINUTES: [&str; 4] = ["0.1", "0.2", "0.5", "1"];

#[test]
fn a_few_seconds_of_faults_add_up() {
    let mut verdict = Value::Null;
    for minutes in MINUTES {
        verdict = soak(minutes);
        assert_eq!(verdict["good"], true, "{verdict:#}");
        if had_everything(&verdict) {
            return;
        }
    }
    panic!("not enough happened: {verdict:#}");
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

/// It would be nothing without spans and faults.
fn had_everything(verdict: &Value) -> bool {
    let rows = verdict["rows"].as_array().expect("rows");
    let value = |what: &str| {
        let row = rows.iter().find(|row| row["what"] == what);
        &row.unwrap_or_else(|| panic!("no {what:?}: {verdict:#}"))["value"]
    };
    let count = |what: &str| value(what).as_u64().expect("a number");
    let answers = value("requests by answer, including lost ones");
    let answered = |status: &str| answers[status].as_u64() > Some(0);
    count("spans delivered") > 1000
        && count("session events delivered") > 10
        && count("spans received again") > 0
        && answered("503")
        && answered("400")
}

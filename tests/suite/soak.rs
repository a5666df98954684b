//! The soak, for a few seconds, as a process with its receiver in another one.

use serde_json::Value;

use super::examples::command;

#[test]
fn a_few_seconds_of_faults_add_up() {
    let output = command("soak", "cli")
        .args(["--minutes", "0.1", "--tenants", "50", "--rate", "800", "--json"])
        .output()
        .expect("the example can be started");
    let (stdout, stderr) = (
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr),
    );
    assert!(output.status.success(), "{}\n{stdout}\n{stderr}", output.status);
    let verdict: Value = serde_json::from_str(stdout.lines().last().unwrap_or_default()).expect("a verdict");
    assert_eq!(verdict["good"], true, "{verdict:#}");
    let rows = verdict["rows"].as_array().expect("rows");
    let value = |what: &str| {
        let row = rows.iter().find(|row| row["what"] == what);
        row.unwrap_or_else(|| panic!("no {what:?}: {verdict:#}"))["value"].clone()
    };
    let count = |what: &str| value(what).as_u64().expect("a number");
    assert!(
        count("spans delivered") > 1000 && count("session events delivered") > 10,
        "{verdict:#}"
    );
    // It would be nothing without faults.
    let answers = value("requests by answer, lost ones too");
    assert!(
        answers["503"].as_u64() > Some(0) && answers["400"].as_u64() > Some(0),
        "{verdict:#}"
    );
    assert!(count("spans received again") > 0, "{verdict:#}");
}

//! Many requests of many tenants at once, a third of which break off: the program that does so, for a short time.

use crate::examples::command;

#[test]
fn two_hundred_requests_at_once_of_fifty_tenants_leak_lose_and_leave_open_nothing() {
    let output = command("tower_load", "tower").arg("1500").output();
    let output = output.expect("the example can be started");
    let shown = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success(),
        "{shown}{}",
        String::from_utf8_lossy(&output.stderr)
    );
    // 500 of them break off after one item of three.
    assert!(
        shown.contains("\n5000 spans accepted, 5000 received, 0 wrong, 0 tracers left open\nisolated\n"),
        "{shown}"
    );
}

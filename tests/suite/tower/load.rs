//! Load: many concurrent requests of many tenants, a third of which break off. Runs the example for
//! a short time.

use crate::examples::command;

#[test]
fn two_hundred_concurrent_requests_of_fifty_tenants_leak_and_lose_no_span() {
    let output = command("tower_load", "tower").arg("1500").output();
    let output = output.expect("the example can be started");
    let stdout = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success(),
        "{stdout}{}",
        String::from_utf8_lossy(&output.stderr)
    );
    // 500 requests break off after one of three items.
    assert!(
        stdout.contains("\n5000 spans accepted, 5000 received, 0 wrong, 0 tracers left open\nisolated\n"),
        "{stdout}"
    );
}

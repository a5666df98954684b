use super::*;

#[test]
fn a_key_outside_its_header_is_a_leak() {
    let test = TestRegistry::start();
    let acme = test.registry().tenant("acme").expect("every tenant is known");
    let key = test.keys.key("acme");
    acme.in_span("leaks a key", |span| span.set_attribute("config", format!("key={key}")));
    let leaks = test.leaks();
    let [Leak::Key { received_in, .. }] = leaks.as_slice() else {
        panic!("{leaks:?}");
    };
    assert_eq!(received_in, "acme");
    let shown: String = leaks.iter().map(ToString::to_string).collect();
    assert!(!shown.contains(&key), "{shown}");
}

#[test]
fn discarded_requests_are_reported_as_not_searched() {
    let test = TestRegistry::start();
    let acme = test.registry().tenant("acme").expect("every tenant is known");
    let filling = "x".repeat(30_000);
    // Send more than the collector records.
    for _ in 0..1200 {
        acme.in_span("large", |span| span.set_attribute("filling", filling.clone()));
        if queue_is_nearly_full(&test) {
            test.flush();
        }
    }
    let leaks = test.leaks();
    assert!(
        matches!(leaks.as_slice(), [Leak::NotSearched { requests: 1.., .. }]),
        "{leaks:?}"
    );
}

fn queue_is_nearly_full(test: &TestRegistry) -> bool {
    let status = test.registry().status();
    status.tracers.iter().any(|tracer| tracer.queued_bytes > 8 << 20)
}

use super::*;

#[test]
fn a_key_that_is_sent_outside_its_header_is_a_leak() {
    let test = TestRegistry::start();
    let acme = test.registry().tenant("acme").expect("any");
    let key = test.keys.key("acme");
    acme.in_span("leaks a key", |span| span.set_attribute("config", format!("key={key}")));
    let leaks = test.leaks();
    let [Leak::Key { under, .. }] = leaks.as_slice() else {
        panic!("{leaks:?}");
    };
    assert_eq!(under, "acme");
    let shown: String = leaks.iter().map(ToString::to_string).collect();
    assert!(!shown.contains(&key), "{shown}");
}

#[test]
fn what_was_not_kept_was_not_looked_through() {
    let test = TestRegistry::start();
    let acme = test.registry().tenant("acme").expect("any");
    let filling = "x".repeat(30_000);
    // More than is recorded of requests.
    for _ in 0..1200 {
        acme.in_span("large", |span| span.set_attribute("filling", filling.clone()));
        if acme_is_full(&test) {
            test.flush();
        }
    }
    let leaks = test.leaks();
    assert!(
        matches!(leaks.as_slice(), [Leak::Unseen { requests: 1.., .. }]),
        "{leaks:?}"
    );
}

/// Whether what waits is near what may wait.
fn acme_is_full(test: &TestRegistry) -> bool {
    let status = test.registry().status();
    status.tracers.iter().any(|tracer| tracer.queued_bytes > 8 << 20)
}

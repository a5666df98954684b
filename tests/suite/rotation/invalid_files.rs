//! Key files that temporarily contain no valid key.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use opentelemetry::trace::Span as _;

use super::{Keys, endless_backoff, next_key};
use crate::log::Log;
use crate::support::{key_of, wait_for};

/// Replaces a file by one without a valid key.
type Spoil = fn(&Path);

#[test]
fn a_file_without_a_valid_key_keeps_the_last_valid_one_until_the_next() {
    let bad: [(&str, Spoil, &str); 6] = [
        ("empty", |path| fs::write(path, "").expect("written"), "empty"),
        (
            "folder",
            |path| {
                fs::remove_file(path).expect("removed");
                fs::create_dir(path).expect("made");
            },
            "not a regular file",
        ),
        (
            "dangling",
            |path| {
                fs::remove_file(path).expect("removed");
                symlink("nowhere", path).expect("linked");
            },
            "no such file",
        ),
        ("gone", |path| fs::remove_file(path).expect("removed"), "no such file"),
        (
            "two-lines",
            |path| fs::write(path, "hh_canary\nhh_canary").expect("written"),
            "control character",
        ),
        (
            "large",
            |path| fs::write(path, "a".repeat(10_000)).expect("written"),
            "larger than",
        ),
    ];
    let tenants = bad.map(|(tenant, ..)| tenant);
    let keys = Keys::new(&tenants, endless_backoff());
    let world = &keys.world;
    for (tenant, spoil, rule) in bad {
        let tracer = world.tenant(tenant);
        spoil(&keys.path(tenant));
        let key = wait_for("an error", || world.key(tenant), |key| key.error.is_some());
        let error = key.error.expect("just seen").to_string();
        assert!(error.contains(rule) && error.contains(tenant), "{tenant}: {error}");
        assert_eq!((key.rotations, key.fingerprint), (0, tracer.fingerprint()), "{tenant}");
        tracer.start_span("with the last valid key").end();
        world.wait_for_spans(tenant, 1);
        assert_eq!(
            world.status(tenant).last_error,
            None,
            "{tenant}: requests must not fail"
        );

        if keys.path(tenant).is_dir() {
            fs::remove_dir(keys.path(tenant)).expect("removed");
        }
        keys.replace(tenant, &next_key(tenant));
        world.wait_for_key(tenant, &next_key(tenant));
        assert_eq!(world.key(tenant).error, None, "{tenant}");
        world.revoke(&key_of(tenant));
        tracer.start_span("with the next key").end();
        world.wait_for_spans(tenant, 2);
        world.assert_nothing_lost(tenant);
    }
}

#[test]
fn a_half_written_key_loses_no_data_whether_the_old_key_is_valid_or_not() {
    let keys = Keys::new(&["a"], endless_backoff());
    let world = &keys.world;
    let a = world.tenant("a");
    a.start_span("span").end();
    world.wait_for_spans("a", 1);
    let whole = next_key("a");
    let half = &whole[..whole.len() / 2];
    world.revoke(half);
    keys.write("a", half);
    world.wait_for_key("a", half);
    // The old key is valid: a request that is refused with the half key is repeated with the old
    // key at once.
    a.start_span("span").end();
    world.wait_for_spans("a", 2);
    wait_for("a warning", || world.key("a").error, Option::is_some);
    // The old key is revoked: refused requests wait for the whole key.
    let old = world.revoke(&key_of("a"));
    a.start_span("span").end();
    wait_for("a refusal", || world.collector.fault_hits(old), |hits| *hits == 1);
    keys.write("a", &whole);
    world.wait_for_spans("a", 3);
    world.assert_nothing_lost("a");
    assert_eq!(world.key("a").error, None);
}

#[test]
fn no_status_or_log_of_a_rotation_shows_a_key() {
    let log = Log::default();
    let subscriber = tracing::subscriber::set_default(log.clone());
    let keys = Keys::new(&["a"], endless_backoff());
    let world = &keys.world;
    let a = world.tenant("a");
    let mut output = Vec::new();
    let mut record = || {
        let status = world.registry.status();
        output.push(format!("{status:?} {a:?} {:?} {}", world.registry, a.fingerprint()));
        output.push(serde_json::to_string(&status).expect("serializable"));
    };
    record();
    keys.write("a", &format!("{0}\n{0}", next_key("a")));
    wait_for("an error", || world.key("a").error, Option::is_some);
    record();
    let refuse = tracer_registry_collector::Fault::reject_key();
    let echo = format!("no: {}", key_of("a"));
    world.collector.fault(refuse.body(echo).only(key_of("a")));
    a.start_span("span").end();
    wait_for("a refusal", || world.status("a").last_error, Option::is_some);
    record();
    keys.write("a", &next_key("a"));
    world.wait_for_spans("a", 1);
    record();
    output.push(format!("{:?}", world.registry.force_flush(crate::support::LONG)));
    drop(subscriber);
    output.extend(log.lines());
    let output = output.join(" ");
    assert!(
        output.contains("control character") && output.contains("answered 401"),
        "{output}"
    );
    assert!(!output.contains("canary"), "{output}");
}

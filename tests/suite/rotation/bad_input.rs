//! Files that have no key in them for a while.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use opentelemetry::trace::Span as _;

use super::{Keys, eternal_pauses, next};
use crate::log::Log;
use crate::support::{key_of, wait_for};

/// Replaces a file by what is no key.
type Spoil = fn(&Path);

#[test]
fn a_file_without_a_key_keeps_the_last_good_one_and_the_next_good_one_heals_it() {
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
    let keys = Keys::new(&tenants, eternal_pauses());
    let world = &keys.world;
    for (tenant, spoil, said) in bad {
        let tracer = world.tenant(tenant);
        spoil(&keys.path(tenant));
        let key = wait_for("an error", || world.key(tenant), |key| key.error.is_some());
        let error = key.error.expect("it is there").to_string();
        assert!(error.contains(said) && error.contains(tenant), "{tenant}: {error}");
        assert_eq!((key.rotations, key.fingerprint), (0, tracer.fingerprint()), "{tenant}");
        tracer.start_span("with the last good one").end();
        world.wait_for_spans(tenant, 1);
        assert_eq!(world.status(tenant).last_error, None, "{tenant}: requests do not fail");

        if keys.path(tenant).is_dir() {
            fs::remove_dir(keys.path(tenant)).expect("removed");
        }
        keys.replace(tenant, &next(tenant));
        world.wait_for_key(tenant, &next(tenant));
        assert_eq!(world.key(tenant).error, None, "{tenant}");
        world.revoke(&key_of(tenant));
        tracer.start_span("with the next").end();
        world.wait_for_spans(tenant, 2);
        world.assert_nothing_lost(tenant);
    }
}

#[test]
fn half_a_key_loses_nothing_whether_the_old_one_is_still_good_or_not() {
    let keys = Keys::new(&["a"], eternal_pauses());
    let world = &keys.world;
    let a = world.tenant("a");
    a.start_span("span").end();
    world.wait_for_spans("a", 1);
    let whole = next("a");
    let half = &whole[..whole.len() / 2];
    world.revoke(half);
    keys.write("a", half);
    world.wait_for_key("a", half);
    // The old one is good: what is refused with the half one is sent with it, at once.
    a.start_span("span").end();
    world.wait_for_spans("a", 2);
    wait_for("a warning", || world.key("a").error, Option::is_some);
    // It is not: what is refused waits for the other half.
    let old = world.revoke(&key_of("a"));
    a.start_span("span").end();
    wait_for("a refusal", || world.collector.fault_hits(old), |hits| *hits == 1);
    keys.write("a", &whole);
    world.wait_for_spans("a", 3);
    world.assert_nothing_lost("a");
    assert_eq!(world.key("a").error, None);
}

#[test]
fn no_key_is_in_anything_that_is_told_of_a_rotation() {
    let log = Log::default();
    let of_thread = tracing::subscriber::set_default(log.clone());
    let keys = Keys::new(&["a"], eternal_pauses());
    let world = &keys.world;
    let a = world.tenant("a");
    let mut shown = Vec::new();
    let mut note = || {
        let status = world.registry.status();
        shown.push(format!("{status:?} {a:?} {:?} {}", world.registry, a.fingerprint()));
        shown.push(serde_json::to_string(&status).expect("it can be shown"));
    };
    note();
    keys.write("a", &format!("{0}\n{0}", next("a")));
    wait_for("an error", || world.key("a").error, Option::is_some);
    note();
    let refuse = tracer_registry_collector::Fault::reject_key();
    let echo = format!("no: {}", key_of("a"));
    world.collector.fault(refuse.body(echo).only(key_of("a")));
    a.start_span("span").end();
    wait_for("a refusal", || world.status("a").last_error, Option::is_some);
    note();
    keys.write("a", &next("a"));
    world.wait_for_spans("a", 1);
    note();
    shown.push(format!("{:?}", world.registry.force_flush(crate::support::LONG)));
    drop(of_thread);
    shown.extend(log.lines());
    let shown = shown.join(" ");
    assert!(
        shown.contains("control character") && shown.contains("answered 401"),
        "{shown}"
    );
    assert!(!shown.contains("canary"), "{shown}");
}

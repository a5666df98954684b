//! Rotation on request: `rotate`, and `check_selector`, which tries a key and changes nothing.

use opentelemetry::trace::Span as _;
use tracer_registry::check::{CheckMode, ConnectionCheck};
use tracer_registry::{LookupError, Selector};

use super::{Vault, endless_backoff, next_key};
use crate::support::{LONG, assert_shows_nothing_of, fingerprint, key_of};

#[test]
fn a_rotation_uses_the_new_key_for_the_next_request_of_existing_tracers() {
    let vault = Vault::default();
    let world = vault.world(&["a", "b"], endless_backoff());
    let a = world.tenant("a");
    let dedicated = world.registry.dedicated(a.selector()).expect("configured");
    a.start_span("old").end();
    world.flush();
    vault.put("a", &next_key("a"));
    world.revoke(&key_of("a"));
    let rotation = world.registry.rotate(a.selector()).expect("readable");
    let (old, new) = (
        fingerprint(&world.collector, &key_of("a")),
        fingerprint(&world.collector, &next_key("a")),
    );
    assert_eq!(
        (rotation.before, rotation.fingerprint, rotation.tracers),
        (Some(old), new, 2)
    );
    assert_eq!((a.fingerprint(), dedicated.fingerprint()), (new, new));
    a.start_span("new").end();
    dedicated.start_span("dedicated").end();
    world.flush();
    world.assert_nothing_lost("a");
    assert_eq!(world.key("a").rotations, 1);
    let again = world.registry.rotate(Selector::tenant("a")).expect("readable");
    assert_eq!((again.before, again.fingerprint), (Some(new), new));
    let unused = world.registry.rotate(Selector::tenant("b")).expect("readable");
    assert_eq!((unused.before, unused.tracers), (None, 0));
    assert_shows_nothing_of(&next_key("a"), &format!("{rotation:?} {}", serde_json::json!(rotation)));
}

#[test]
fn a_failed_rotation_changes_nothing() {
    let vault = Vault::default();
    let world = vault.world(&["a"], endless_backoff());
    let a = world.tenant("a");
    let before = world.key("a");
    vault.put("a", "!no permission");
    let error = world.registry.rotate(a.selector()).expect_err("unreadable");
    assert!(
        matches!(error, LookupError::Secret(_)) && error.to_string().contains("no permission"),
        "{error}"
    );
    assert_eq!(world.key("a"), before);
    a.start_span("span").end();
    assert!(a.force_flush(LONG).is_complete());
    assert!(
        world
            .registry
            .rotate(Selector::tenant("unknown"))
            .expect_err("unknown")
            .is_unknown()
    );
    drop(world.registry.shutdown(LONG));
    assert_eq!(world.registry.rotate(Selector::tenant("a")), Err(LookupError::Shutdown));
}

#[test]
fn the_check_of_a_selector_tries_the_key_of_its_source_and_changes_nothing() {
    let vault = Vault::default();
    let world = vault.world(&["a", "b"], endless_backoff());
    let before = world.tenant("a").fingerprint();
    vault.put("a", &next_key("a"));
    let check = |mode| {
        world
            .registry
            .check_selector(Selector::tenant("a"), mode)
            .expect("a selector")
    };
    let checked = check(CheckMode::Connect);
    let new = fingerprint(&world.collector, &next_key("a"));
    assert_eq!(
        (checked.fingerprint, &checked.connection),
        (Some(new), &ConnectionCheck::Accepted)
    );
    assert_eq!(check(CheckMode::Keys).connection, ConnectionCheck::NotTried);
    assert!(world.project("a").spans().is_empty());
    assert_eq!(check(CheckMode::Send).connection, ConnectionCheck::Delivered);
    assert_eq!(world.project("a").spans().len(), 1);
    let refusal = world.revoke(&next_key("a"));
    let refused = check(CheckMode::Connect);
    assert!(
        refused.is_faulty() && matches!(refused.connection, ConnectionCheck::Failed(_)),
        "{refused:?}"
    );
    assert_shows_nothing_of(&next_key("a"), &format!("{refused:?}"));
    assert_eq!((world.tenant("a").fingerprint(), world.key("a").rotations), (before, 0));
    assert_eq!(world.status("a").spans.accepted, 0, "no ledger counts a check");
    world.collector.clear_fault(refusal);
    let unknown = world
        .registry
        .check_selector(Selector::tenant("unknown"), CheckMode::Keys)
        .expect("a selector");
    assert!(unknown.error.is_some_and(|error| error.is_unknown()));
    assert!(
        world
            .registry
            .check_selector(Selector::tenant("A b"), CheckMode::Keys)
            .is_err()
    );
    // The same as in the check of all bindings.
    let all = world.registry.check(CheckMode::Connect);
    assert_eq!(
        all.iter().find(|binding| binding.selector == "tenant:a"),
        Some(&check(CheckMode::Connect))
    );
}

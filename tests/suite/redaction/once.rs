//! A value is redacted once: its hash stays the same through retries, halves of a batch, and the
//! disk.

use opentelemetry::KeyValue;
use opentelemetry::trace::Span as _;
use serde_json::json;
use tracer_registry::config::{Binding, Export, ExportMode, Redact, RedactAction, RedactRule};
use tracer_registry::{Enrichment, KeySource, RegistryBuilder, TracerHandle, TracerRegistry};
use tracer_registry_collector::{Fault, Project};

use crate::support::{LONG, World, binding, key_of, quick};

const VALUE: &str = "user-4711";
const KEY: &str = "user.id";
/// An attribute that makes the receiver refuse a span.
const BAD: &str = "refuse-me";

fn hashing() -> Binding {
    let rule = RedactRule::new().attribute(KEY).action(RedactAction::Hash);
    let redact = Redact::new()
        .key(KeySource::provider("test", "hash"))
        .rule("users", rule);
    binding("a").redact(redact)
}

fn world(export: Export) -> World {
    World::with(&["a"], |builder| builder.tenant("a", hashing()).export(export))
}

/// Ends a span and enriches a session, both with the value.
fn send(tracer: &TracerHandle, name: &str) {
    let mut span = tracer.start_span(name.to_owned());
    span.set_attribute(KeyValue::new(KEY, VALUE));
    span.end();
    tracer
        .session("chat")
        .metadata(KEY, VALUE)
        .start()
        .enrich(Enrichment::new().outputs(json!({ KEY: VALUE })));
}

/// Returns the hash of the value, as it is in all spans and sessions of a project.
fn hash_in(project: &Project) -> String {
    let of_spans = project.spans().iter().map(|span| json!(span.attributes[KEY]));
    let sessions = project.sessions().iter();
    let of_sessions = sessions.flat_map(|session| [json!(session.metadata[KEY]), json!(session.outputs[KEY])]);
    let mut hashes: Vec<String> = of_spans
        .chain(of_sessions)
        .map(|hash| hash.as_str().expect("a text").to_owned())
        .collect();
    hashes.dedup();
    assert!(
        hashes.len() == 1 && hashes[0] != VALUE && hashes[0].len() >= 16,
        "{hashes:?}"
    );
    hashes.remove(0)
}

/// The hash of a value that was sent at once.
fn hash() -> String {
    let world = world(quick());
    send(&world.tenant("a"), "span");
    world.flush();
    hash_in(&world.project("a"))
}

#[test]
fn a_retry_does_not_hash_again() {
    let world = world(quick());
    world.collector.fault(Fault::status(503).times(3));
    send(&world.tenant("a"), "span");
    world.flush();
    assert_eq!(hash_in(&world.project("a")), hash());
}

#[test]
fn a_halved_batch_is_not_hashed_again() {
    let export = Export {
        mode: Some(ExportMode::Inline),
        ..quick()
    };
    let world = world(export);
    world.collector.fault(Fault::status(400).when_body_contains(BAD));
    let tracer = world.tenant("a");
    for number in 0..20 {
        send(
            &tracer,
            &if number == 7 {
                BAD.to_owned()
            } else {
                format!("span {number}")
            },
        );
    }
    let report = world.registry.force_flush(LONG);
    assert_eq!(report.lost(), 1, "{report:#?}");
    assert_eq!(hash_in(&world.project("a")), hash());
}

#[cfg(feature = "spool")]
mod on_disk {
    use tracer_registry::config::SpoolMode;

    use super::*;
    use crate::spool::{Disk, wait_for_ledger};
    use crate::support::wait_for;

    fn wait_until_all_is_delivered(registry: &TracerRegistry) {
        wait_for_ledger(registry, "a", |spans| {
            spans.accepted > 0 && spans.delivered == spans.accepted
        });
        wait_for(
            "session events",
            || crate::spool::status(registry, "a").expect("known").session_events,
            |events| events.accepted > 0 && events.delivered == events.accepted,
        );
    }

    fn wait_until_all_is_on_disk(registry: &TracerRegistry) {
        wait_for_ledger(registry, "a", |spans| {
            spans.accepted > 0 && spans.spooled == spans.accepted
        });
        wait_for(
            "session events",
            || crate::spool::status(registry, "a").expect("known").session_events,
            |events| events.accepted > 0 && events.spooled == events.accepted,
        );
    }

    /// Sends during an outage, and delivers after a restart. Both registries may differ.
    fn through_a_restart(
        mode: SpoolMode,
        before: impl FnOnce(RegistryBuilder) -> RegistryBuilder,
        after: impl FnOnce(RegistryBuilder) -> RegistryBuilder,
    ) -> Project {
        let disk = Disk::new(mode, &["a"]);
        let fault = disk.collector.fault(Fault::status(503).only(key_of("a")));
        let first = disk.start_with(before);
        let tracer = first.tenant("a").expect("configured");
        for number in 0..5 {
            send(&tracer, &format!("span {number}"));
        }
        drop(tracer);
        wait_until_all_is_on_disk(&first);
        assert!(first.shutdown(LONG).is_complete());
        drop(first);
        disk.collector.clear_fault(fault);
        let second = disk.start_with(after);
        wait_until_all_is_delivered(&second);
        let project = disk.collector.project("a").expect("a tenant");
        assert_eq!((project.spans().len(), project.sessions().len()), (5, 5));
        project
    }

    #[test]
    fn what_was_on_disk_is_not_hashed_again() {
        let expected = hash();
        for mode in [SpoolMode::Through, SpoolMode::Overflow] {
            let with_rules = |builder: RegistryBuilder| builder.tenant("a", hashing());
            let project = through_a_restart(mode, with_rules, with_rules);
            assert_eq!(hash_in(&project), expected, "{mode:?}");
        }
    }

    #[test]
    fn what_an_outage_left_on_disk_is_not_hashed_again() {
        let disk = Disk::new(SpoolMode::Overflow, &["a"]);
        let fault = disk.collector.fault(Fault::status(503).only(key_of("a")));
        let registry = disk.start_with(|builder| builder.tenant("a", hashing()));
        let tracer = registry.tenant("a").expect("configured");
        send(&tracer, "first");
        wait_until_all_is_on_disk(&registry);
        send(&tracer, "second");
        wait_until_all_is_on_disk(&registry);
        disk.collector.clear_fault(fault);
        wait_until_all_is_delivered(&registry);
        assert_eq!(hash_in(&disk.collector.project("a").expect("a tenant")), hash());
    }

    #[test]
    fn what_an_earlier_process_stored_without_rules_is_redacted_when_it_is_loaded() {
        let expected = hash();
        for mode in [SpoolMode::Through, SpoolMode::Overflow] {
            let project = through_a_restart(mode, |builder| builder, |builder| builder.tenant("a", hashing()));
            assert_eq!(hash_in(&project), expected, "{mode:?}");
        }
    }

    #[test]
    fn what_was_stored_with_rules_stays_redacted_without_them() {
        let expected = hash();
        let project = through_a_restart(
            SpoolMode::Through,
            |builder| builder.tenant("a", hashing()),
            |builder| builder,
        );
        assert_eq!(hash_in(&project), expected);
    }
}

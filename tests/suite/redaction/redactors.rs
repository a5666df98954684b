//! Redaction by the program.

use std::sync::{Arc, Mutex};

use opentelemetry::KeyValue;
use opentelemetry::trace::{Span as _, Status};
use serde_json::json;
use tracer_registry::config::{Pattern, Redact, RedactRule};
use tracer_registry::redact::{Decision, Place, Redactor, Value};
use tracer_registry::{RegistryBuilder, Selector, TracerRegistry};

use super::REDACTED;
use crate::support::{World, binding};

/// A redactor from a closure.
struct Hook<F>(F);

impl<F: Fn(&Value<'_>) -> Decision + Send + Sync + 'static> Redactor for Hook<F> {
    fn redact(&self, value: &Value<'_>) -> Decision {
        (self.0)(value)
    }
}

fn world(adapt: impl FnOnce(RegistryBuilder) -> RegistryBuilder) -> World {
    World::with(&["a", "b"], adapt)
}

fn send(world: &World, tenant: &str) {
    let mut span = world.tenant(tenant).start_span("open the door");
    span.set_attribute(KeyValue::new("first", "open sesame"));
    span.set_attribute(KeyValue::new("second", "closed"));
    span.set_status(Status::error("cannot open"));
    span.end();
    drop(
        world
            .tenant(tenant)
            .session("chat")
            .metadata("said", "open sesame")
            .start(),
    );
    world.flush();
}

fn open(what: Decision) -> impl Redactor {
    Hook(move |value: &Value<'_>| {
        if value.text.contains("open") {
            what.clone()
        } else {
            Decision::Keep
        }
    })
}

#[test]
fn a_redactor_decides_about_each_text_without_rules() {
    let world = world(|builder| builder.redactor_for(&Selector::tenant("a"), open(Decision::Replace("-".into()))));
    for tenant in ["a", "b"] {
        send(&world, tenant);
    }
    let project = world.project("a");
    let span = &project.spans()[0];
    assert_eq!((&*span.name, &*span.status.message), ("-", "-"));
    assert_eq!(
        (&span.attributes["first"], &span.attributes["second"]),
        (&json!("-"), &json!("closed"))
    );
    assert_eq!(project.sessions()[0].metadata["said"], "-");
    let of_b = world.span("b", "open the door");
    assert_eq!(of_b.attributes["first"], "open sesame");
    assert_eq!(world.status("a").redaction.redactors, 4);
    assert!(world.status("b").redaction.is_empty());
}

#[test]
fn a_dropped_attribute_is_removed_a_message_is_empty_and_a_name_is_replaced() {
    let world = world(|builder| builder.redactor(open(Decision::Drop)));
    send(&world, "a");
    let project = world.project("a");
    let span = &project.spans()[0];
    assert_eq!((&*span.name, &*span.status.message), (REDACTED, ""));
    let attributes = json!(span.attributes);
    assert_eq!(
        (attributes.get("first"), &attributes["second"]),
        (None, &json!("closed"))
    );
    assert_eq!(span.dropped_attributes, 0);
    assert_eq!(json!(project.sessions()[0].metadata), json!({}));
}

#[test]
fn a_panic_drops_the_value_and_not_the_span() {
    let panics = Hook(|value: &Value<'_>| {
        assert!(!value.text.contains("sesame"), "a panic of the program");
        Decision::Keep
    });
    let world = world(|builder| builder.redactor(panics));
    send(&world, "a");
    let project = world.project("a");
    let span = &project.spans()[0];
    assert_eq!((&*span.name, &*span.status.message), ("open the door", "cannot open"));
    let attributes = json!(span.attributes);
    assert_eq!(
        (attributes.get("first"), &attributes["second"]),
        (None, &json!("closed"))
    );
    assert_eq!(json!(project.sessions()[0].metadata), json!({}));
    assert_eq!(world.status("a").redaction.redactor_panics, 2);
    assert_eq!(world.status("a").spans.delivered, 1);
}

#[test]
fn redactors_get_what_the_rules_leave_in_the_order_in_which_they_were_added() {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let noting = {
        let seen = Arc::clone(&seen);
        Hook(move |value: &Value<'_>| {
            if value.place == Place::Attribute("mail") {
                let seen_now = format!("{} {}", value.selector, value.text);
                seen.lock().expect("no panic").push(seen_now);
            }
            Decision::Replace(format!("{}!", value.text))
        })
    };
    let rule = RedactRule::new().pattern(Pattern::Email);
    let world = world(|builder| {
        builder
            .tenant("a", binding("a").redact(Redact::new().rule("mails", rule)))
            .redactor(Hook(|value: &Value<'_>| Decision::Replace(format!("{}?", value.text))))
            .redactor_for(&Selector::tenant("a"), noting)
            .redactor_for(&Selector::tenant("b"), open(Decision::Drop))
    });
    let mut span = world.tenant("a").start_span("span");
    span.set_attribute(KeyValue::new("mail", "to jane.doe@example.com"));
    span.end();
    world.flush();
    assert_eq!(*seen.lock().expect("no panic"), ["tenant:a to [redacted]?"]);
    assert_eq!(world.span("a", "span?!").attributes["mail"], "to [redacted]?!");
}

#[test]
fn a_redactor_of_an_invalid_selector_fails_the_build() {
    let builder = TracerRegistry::builder().redactor_for(&Selector::tenant("Not A Slug"), open(Decision::Keep));
    let error = builder.build().expect_err("not a slug").to_string();
    assert!(
        error.starts_with("the selector of a redactor is invalid: tenant: "),
        "{error}"
    );
}

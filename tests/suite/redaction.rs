//! Redaction of the program's data, with a real receiver and real files.

mod matrix;
mod once;
mod property;
mod redactors;

use opentelemetry::KeyValue;
use opentelemetry::trace::Span as _;
use secrecy::SecretString;
use serde_json::{Value, json};
use tracer_registry::check::CheckMode;
use tracer_registry::config::{Export, Protocol, Redact, RedactAction, RedactRule};
use tracer_registry::secret::SecretError;
use tracer_registry::{Enrichment, KeySource, LookupError, RegistryBuilder, Selector};

use crate::support::{World, binding, quick};

const SECRET: &str = "correct horse battery staple";
const REDACTED: &str = "[redacted]";

/// Removes the attribute `secret`, and members of this name.
fn secret_removed() -> Redact {
    Redact::new().rule(
        "secret",
        RedactRule::new()
            .attribute("secret")
            .attribute("honeyhive_metadata.secret"),
    )
}

fn with_redaction(tenants: &[&str], adapt: impl FnOnce(RegistryBuilder) -> RegistryBuilder) -> World {
    World::with(tenants, |builder| {
        let builder = builder.tenant(tenants[0], binding(tenants[0]).redact(secret_removed()));
        adapt(builder)
    })
}

#[test]
fn a_tenants_rules_apply_to_its_data_alone() {
    let world = with_redaction(&["a", "b"], |builder| builder);
    for tenant in ["a", "b"] {
        let tracer = world.tenant(tenant);
        let session = tracer.session("chat").metadata("secret", SECRET).start();
        session.enrich(Enrichment::new().metric("secret", 7).metadata("plan", "pro"));
        let _inside = session.enter();
        tracer.in_span("answer", |span| span.set_attribute("secret", SECRET));
    }
    world.flush();
    world.assert_no_trace_of(SECRET, "a");
    let [of_a, of_b] = ["a", "b"].map(|tenant| {
        let secret = world.span(tenant, "answer").attributes["secret"].clone();
        let project = world.project(tenant);
        let session = &project.sessions()[0];
        json!([secret, session.metadata, session.metrics])
    });
    let plain = |secret: Value, number: Value| json!([secret, {"secret": secret, "plan": "pro"}, {"secret": number}]);
    assert_eq!(of_a, plain(REDACTED.into(), REDACTED.into()));
    assert_eq!(of_b, plain(SECRET.into(), 7.into()));
}

#[test]
fn the_bindings_own_texts_are_redacted_once_on_spans_and_sessions() {
    for protocol in [Protocol::HttpProtobuf, Protocol::HttpJson] {
        let world = World::with(&["a"], |builder| {
            let binding = binding("a")
                .metadata("plan", "pro")
                .metadata("secret", SECRET)
                .resource("secret", SECRET)
                .resource("service.name", "shop");
            let export = Export {
                protocol: Some(protocol),
                ..quick()
            };
            builder.tenant("a", binding.redact(secret_removed())).export(export)
        });
        let tracer = world.tenant("a");
        drop(tracer.session("chat").start());
        tracer.start_span("answer").end();
        world.flush();
        world.assert_no_trace_of(SECRET, "a");
        let span = world.span("a", "answer");
        assert_eq!(span.attributes["honeyhive_metadata.plan"], "pro");
        assert_eq!(span.attributes["honeyhive_metadata.secret"], REDACTED);
        assert_eq!(span.resource.attributes["secret"], REDACTED);
        assert_eq!(span.resource.attributes["service.name"], "shop");
        let project = world.project("a");
        assert_eq!(
            json!(project.sessions()[0].metadata),
            json!({"plan": "pro", "secret": REDACTED})
        );
    }
}

#[test]
fn a_key_of_hashes_that_cannot_be_read_fails_that_look_up_alone() {
    let hashing = |key: &str| {
        let rule = RedactRule::new().attribute("secret").action(RedactAction::Hash);
        let redact = Redact::new().rule("users", rule);
        redact.key(KeySource::provider("hash_keys", key))
    };
    let world = World::with(&["a", "b", "c"], |builder| {
        builder
            .secret_source("hash_keys", |name: &str| match name {
                "none" => Err(SecretError::refused("the vault is sealed")),
                key => Ok(SecretString::from(key)),
            })
            .tenant("a", binding("a").redact(hashing("none")))
            .tenant("b", binding("b").redact(hashing("too short")))
            .tenant("c", binding("c").redact(hashing("long enough for a key")))
    });
    let errors = ["a", "b"].map(|tenant| {
        let error = world.registry.tenant(tenant).expect_err("its key cannot be read");
        assert!(matches!(error, LookupError::RedactKey(_)), "{error}");
        let checked = world.registry.check_selector(Selector::tenant(tenant), CheckMode::Keys);
        assert_eq!(checked.expect("a valid selector").error, Some(error.clone()));
        error
    });
    assert_eq!(errors.map(|error| error.is_temporary()), [true, false]);
    let mut span = world.tenant("c").start_span("answer");
    span.set_attribute(KeyValue::new("secret", SECRET));
    span.end();
    world.flush();
    let hash = world.span("c", "answer").attributes["secret"].to_string();
    assert!(hash.starts_with("\"[hash:"), "{hash}");
}

//! Case 27: a copy is where the operator said and nowhere else. A tenant can neither ask for one nor
//! see one.

use opentelemetry::trace::Span as _;
#[cfg(feature = "redact")]
use tracer_registry::Enrichment;
use tracer_registry::config::Binding;
#[cfg(feature = "redact")]
use tracer_registry::config::{Pattern, Redact, RedactRule};
use tracer_registry::secret::Fingerprinter;
use tracer_registry::selector::Slug;

#[cfg(feature = "redact")]
use super::plain_world;
use super::{OPERATIONS, operations, world};
use crate::reload::{Files, table};
use crate::support::{World, binding, collector, key_of, registry};

/// Returns the receiver's recorded requests as text, by project.
fn requests_of(world: &World, project: &str) -> String {
    let requests = world.collector.requests();
    let of_project = requests
        .iter()
        .filter(|request| request.project.as_deref() == Some(project));
    let shown = of_project.map(|request| {
        format!(
            "{} {:?} {}",
            request.path,
            request.headers,
            String::from_utf8_lossy(&request.body)
        )
    });
    shown.collect()
}

#[test]
fn a_copy_is_in_the_targets_project_alone_and_carries_nothing_of_another_key() {
    let world = world(&["a", "b"], |builder| builder.tenant("c", binding("c")));
    for tenant in ["a", "b"] {
        let tracer = world.tenant(tenant);
        let session = tracer.session(format!("session of {tenant}")).start();
        let _entered = session.enter();
        tracer.in_span(format!("span of {tenant}"), |_| ());
    }
    world.flush();
    assert_eq!(world.names("ops"), ["span of a", "span of b"]);
    let operators = requests_of(&world, "ops");
    for (tenant, other) in [("a", "b"), ("b", "a")] {
        assert_eq!(world.names(tenant), [format!("span of {tenant}")]);
        let seen = requests_of(&world, tenant);
        // Nothing shows that there is a copy, or where.
        for foreign in [
            &key_of("ops"),
            "operations",
            &format!("span of {other}"),
            &key_of(other),
        ] {
            assert!(!seen.contains(foreign), "{foreign} in requests of {tenant}");
        }
        assert!(!operators.contains(&key_of(tenant)) && !operators.contains(&format!("tenant:{tenant}")));
    }
    assert!(
        world
            .collector
            .requests()
            .iter()
            .all(|request| request.project.is_some())
    );
}

#[test]
fn a_tenants_file_can_neither_ask_for_a_copy_nor_clear_one() {
    let operators = "tenants_dir = \"tenants.d\"\n[environments.operations]\napi_key = { provider = \"test\", name = \"ops\" }\n\
                     [tenants.\"*\"]\napi_key = { provider = \"test\", name = \"a\" }\nalso = [\"environment:operations\"]\n";
    let files = Files::new(&["a", "ops"], &(operators.to_owned() + &table("other", "a")));
    for also in ["[\"tenant:other\"]", "[]", "[\"environment:operations\"]"] {
        files.write("tenants.d/a.toml", &format!("source = \"eu\"\nalso = {also}\n"));
        let error = files.world.registry.tenant("a").expect_err("refused").to_string();
        assert!(
            error.contains(
                "tenants.a.also: an untrusted layer must not set this; only the operator's configuration may"
            ),
            "{error}"
        );
    }
    files.write("tenants.d/a.toml", "source = \"eu\"\n");
    files.tenant("a").start_span("copied anyway").end();
    files.tenant("other").start_span("not copied").end();
    files.world.flush();
    assert_eq!(files.world.names("ops"), ["copied anyway"]);
}

#[test]
fn untrusted_json_cannot_ask_for_a_copy() {
    let fingerprinter = Fingerprinter::new();
    let collector = collector(&["a", "ops"], &fingerprinter).start().expect("a free port");
    for (also, is_refused) in [(serde_json::json!([OPERATIONS]), true), (serde_json::json!([]), true)] {
        let row = serde_json::json!({ "also": also });
        let source = move |_: &Slug| Ok(Some(Binding::from_json(row.clone()).expect("JSON of a binding")));
        let built = registry(&collector.url(), &["a"], &fingerprinter)
            .tenant("*", binding("a"))
            .environment("operations", binding("ops"))
            .binding_source(source)
            .build()
            .expect("valid");
        assert_eq!(built.tenant("from-source").is_err(), is_refused);
    }
}

#[test]
fn attributes_and_names_of_spans_choose_no_target() {
    let world = World::with(&["b", "ops"], |builder| {
        builder.environment("operations", binding("ops"))
    });
    let b = world.tenant("b");
    b.in_span("also", |span| {
        span.set_attribute("also", OPERATIONS);
        span.set_attribute("tracer_registry.also", OPERATIONS);
    });
    let session = b.session("s").metadata("also", OPERATIONS).start();
    let entered = session.enter();
    b.in_span("in the session", |_| ());
    drop(entered);
    world.flush();
    assert_eq!((world.names("b").len(), world.names("ops").len()), (2, 0));
    assert!(
        world.registry.tracer_status(operations()).expect("valid").is_none(),
        "it was never looked up"
    );
}

#[cfg(feature = "redact")]
#[test]
fn session_data_that_becomes_spans_is_copied_as_the_rules_of_its_tracer_leave_it() {
    let rules = Redact::new().rule("users", RedactRule::new().pattern(Pattern::Email));
    let world = plain_world(&["a", "ops"], |builder| {
        builder
            .tenant("a", binding("a").redact(rules).also(&operations()))
            .environment("operations", binding("ops"))
    });
    let session = world.tenant("a").session("chat").metadata("user", "alice@example.com");
    let session = session.input("question", "what bob@example.com asked").start();
    session.enrich(Enrichment::new().metadata("user", "bob@example.com"));
    session.end();
    world.flush();
    for project in ["a", "ops"] {
        assert_eq!(world.names(project), ["session.start", "session.enrich", "session.end"]);
        let requests = requests_of(&world, project);
        assert!(
            requests.contains("[redacted]") && !requests.contains("@example.com"),
            "{project}"
        );
    }
}

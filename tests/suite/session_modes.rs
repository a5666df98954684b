//! Session modes: sessions started by the program, per trace, or by attributes; and the default
//! session.

use std::collections::HashMap;

use opentelemetry::trace::{Span as _, Tracer, TracerProvider};
use serde_json::json;
use tracer_registry::config::{BackendName, Binding, SessionMode};
use tracer_registry::status::DropReason;
use tracer_registry::{Enrichment, RegistryBuilder, Session};
use tracer_registry_collector::SessionOrigin;

use crate::support::{World, binding};

const ID: &str = "honeyhive.session_id";

fn world_with_mode(mode: SessionMode, adapt: impl FnOnce(Binding) -> Binding) -> World {
    let adapted = adapt(binding("a").sessions(mode));
    World::with(&["a", "b"], |builder: RegistryBuilder| builder.tenant("a", adapted))
}

/// A registry that exports to the collector of `receiver` as to a backend without sessions.
fn without_session_backend(receiver: &World, adapt: impl FnOnce(Binding) -> Binding) -> World {
    let url = receiver.collector.url();
    let adapted = adapt(binding("a").backend(BackendName::Otlp).endpoint(url));
    World::with(&[], |builder| builder.tenant("a", adapted))
}

#[test]
fn a_per_trace_session_has_the_traces_id_and_is_started_once() {
    let world = world_with_mode(SessionMode::PerTrace, |binding| binding);
    let (a, b) = (world.tenant("a"), world.tenant("b"));
    let (current, trace) = a.in_span("root", |span| {
        b.in_span("b", |_| {
            a.in_span("child", |_| a.tracer("t").start("by hand").end());
        });
        let session = Session::current().expect("the session of the trace");
        session.enrich(Enrichment::new().outputs("done"));
        (session.id().to_owned(), span.span_context().trace_id().to_string())
    });
    a.start_span("another trace");
    world.flush();
    let project = world.project("a");
    assert_eq!(project.sessions().len(), 2, "{:#?}", project.sessions());
    let session = project.session(&current).expect("started");
    assert_eq!(
        (session.origin, session.name.as_deref()),
        (SessionOrigin::Started, Some("root"))
    );
    assert_eq!(
        (session.operations.len(), &session.outputs["result"]),
        (2, &json!("done"))
    );
    for name in ["root", "child", "by hand"] {
        assert_eq!(world.span("a", name).attributes[ID], current.as_str());
    }
    // The session id has the bits of the trace id, except those of the UUID's version and variant.
    assert_eq!(current.replace('-', "")[..12], trace[..12]);
    let other = world.span("a", "another trace").attributes[ID].clone();
    assert_ne!(other, current.as_str());
    assert_eq!(
        project
            .session(other.as_str().expect("text"))
            .expect("started")
            .name
            .as_deref(),
        Some("another trace")
    );
    assert!(world.project("b").sessions().is_empty());
    assert_eq!(world.span("b", "b").attributes.get(ID), None);
}

#[test]
fn a_session_started_by_the_program_takes_precedence_over_that_of_the_trace() {
    let world = world_with_mode(SessionMode::PerTrace, |binding| binding);
    let a = world.tenant("a");
    let session = a.session("own").start();
    {
        let _in_session = session.enter();
        a.in_span("in it", |_| ());
    }
    world.flush();
    assert_eq!(world.span("a", "in it").attributes[ID], session.id());
    assert_eq!(world.project("a").sessions().len(), 1);
}

#[test]
fn a_trace_started_in_a_session_is_no_session_itself() {
    let world = world_with_mode(SessionMode::PerTrace, |binding| binding);
    let a = world.tenant("a");
    let session = a.session("own").start();
    let open = {
        let _in_session = session.enter();
        a.in_span("root", |_| {
            session.end();
            a.in_span("after the end", |_| ());
        });
        a.start_span("after the end, too")
    };
    drop(open);
    let next = a.session("next").start();
    a.in_span("outside", |_| {
        let _in_session = next.enter();
        a.in_span("in it", |_| ());
    });
    world.flush();
    let session_of = |name: &str| world.span("a", name).attributes.get(ID).cloned();
    assert_eq!(session_of("root").expect("in a session"), session.id());
    assert_eq!(
        session_of("after the end"),
        None,
        "no session was started for the trace"
    );
    assert_eq!(session_of("in it").expect("in a session"), next.id());
    let outside = session_of("outside").expect("the session of its trace");
    let after_end = session_of("after the end, too").expect("the session of its trace");
    let mut ids: Vec<_> = world
        .project("a")
        .sessions()
        .iter()
        .map(|session| session.id.clone())
        .collect();
    let mut expected = [
        session.id(),
        next.id(),
        outside.as_str().expect("text"),
        after_end.as_str().expect("text"),
    ];
    ids.sort_unstable();
    expected.sort_unstable();
    assert_eq!(ids, expected);
}

#[test]
fn a_per_trace_session_can_be_the_default() {
    let world = world_with_mode(SessionMode::PerTrace, |binding| binding);
    let a = world.tenant("a");
    let session = a.in_span("root", |_| Session::current().expect("the session of the trace"));
    session.make_default();
    a.start_span("by default");
    session.end();
    a.start_span("after");
    world.flush();
    assert_eq!(world.span("a", "by default").attributes[ID], session.id());
    assert_ne!(world.span("a", "after").attributes[ID], session.id());
}

#[test]
fn session_data_at_the_attribute_limit_leaves_room_for_later_enrichments() {
    let receiver = World::new(&["a"]);
    let limits = tracer_registry::config::Limits {
        attributes: Some(4),
        ..Default::default()
    };
    let world = without_session_backend(&receiver, |binding| binding.limits(limits));
    let a = world.tenant("a");
    let much: Vec<u32> = (0..100).collect();
    let session = a.session("s").metadata("much", much.clone()).start();
    session.enrich(
        Enrichment::new()
            .feedback("helpful", true)
            .outputs(json!({ "much": much })),
    );
    session.end();
    world.flush();
    let enriched = receiver.span("a", "session.enrich");
    assert_eq!(enriched.attributes["tracer_registry.session.feedback.helpful"], true);
    assert_eq!(enriched.attributes["tracer_registry.session.outputs.much.99"], 99);
    assert!(
        receiver
            .span("a", "session.end")
            .attributes
            .contains_key("tracer_registry.session.duration_ms")
    );
}

#[test]
fn the_session_of_a_remote_trace_has_the_remote_traces_id() {
    let world = world_with_mode(SessionMode::PerTrace, |binding| {
        binding.trust_remote_parent(true).propagate_session_id(true)
    });
    let a = world.tenant("a");
    let parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    let incoming = HashMap::from([("traceparent".to_owned(), parent.to_owned())]);
    let sent = a.extract(&incoming).run(|| {
        a.in_span("answer", |_| {
            let mut sent = HashMap::new();
            a.inject(&mut sent);
            sent
        })
    });
    world.flush();
    let id = "0af76519-16cd-43dd-8448-eb211c80319c";
    assert_eq!(world.span("a", "answer").attributes[ID], id);
    assert_eq!(sent["baggage"], format!("session.id={id}"));
    assert!(world.project("a").session(id).is_some());
}

#[test]
fn an_unsampled_trace_starts_no_session() {
    let world = world_with_mode(SessionMode::PerTrace, |binding| binding.sampling_ratio(0.0));
    let a = world.tenant("a");
    a.in_span("root", |_| assert!(Session::current().is_none()));
    world.flush();
    assert!(world.project("a").sessions().is_empty());
}

#[test]
fn auto_create_sessions_are_sent_only_as_span_attributes() {
    let world = world_with_mode(SessionMode::AutoCreate, |binding| binding);
    let a = world.tenant("a");
    let session = a
        .session("chat")
        .metadata("plan", "pro")
        .input("question", "why?")
        .user_property("id", 7)
        .start();
    {
        let _in_session = session.enter();
        a.in_span("answer", |_| ());
    }
    session.enrich(Enrichment::new().feedback("good", true).outputs("42"));
    session.end();
    a.in_span("outside", |_| ());
    world.flush();
    let project = world.project("a");
    assert!(
        world
            .collector
            .requests()
            .iter()
            .all(|request| request.path.ends_with("/v1/traces")),
        "no session requests"
    );
    let session_created = project.session(session.id()).expect("created");
    assert_eq!(
        (session_created.origin, session_created.name.as_deref()),
        (SessionOrigin::AutoCreated, Some("chat"))
    );
    let answer = world.span("a", "answer");
    assert_eq!(answer.attributes[ID], session.id());
    assert_eq!(answer.attributes["honeyhive_metadata.plan"], "pro");
    assert_eq!(answer.attributes["honeyhive_user_properties.id"], 7);
    assert_eq!(
        world.span("a", "session.start").attributes["honeyhive_inputs.question"],
        "why?"
    );
    let enriched = world.span("a", "session.enrich");
    assert_eq!(enriched.attributes[ID], session.id());
    assert_eq!(enriched.attributes["honeyhive_feedback.good"], true);
    assert_eq!(enriched.attributes["honeyhive_outputs.result"], "42");
    assert!(
        world.span("a", "session.end").attributes["honeyhive_duration_ms"]
            .as_f64()
            .expect("a number")
            >= 0.0
    );
    assert_eq!(
        world
            .span("a", "outside")
            .attributes
            .get("honeyhive.session_auto_create"),
        None
    );
}

#[test]
fn a_backend_without_sessions_gets_session_data_on_spans() {
    let receiver = World::new(&["a"]);
    let world = without_session_backend(&receiver, |binding| binding.sampling_ratio(0.0));
    let a = world.tenant("a");
    let session = a
        .session("chat")
        .metadata("variant", json!({"name": "b"}))
        .input("question", "why?")
        .start();
    session.enrich(Enrichment::new().metric("tokens", 7).config("model", "m"));
    session.enrich(Enrichment::new());
    session.end();
    session.end();
    let report = world.registry.force_flush(crate::support::LONG);
    assert!(report.is_complete(), "{report}");
    assert_eq!(
        receiver.names("a"),
        ["session.start", "session.enrich", "session.end"],
        "session spans are never sampled out"
    );
    for span in receiver.project("a").spans() {
        assert_eq!(span.attributes["session.id"], session.id());
        assert_eq!(span.attributes["tracer_registry.session.name"], "chat");
        assert_eq!(span.attributes["tracer_registry.session.metadata.variant.name"], "b");
        assert_eq!(span.parent_span_id, None);
    }
    assert_eq!(
        receiver.span("a", "session.start").attributes["tracer_registry.session.inputs.question"],
        "why?"
    );
    let enriched = receiver.span("a", "session.enrich");
    assert_eq!(enriched.attributes["tracer_registry.session.metrics.tokens"], 7);
    assert_eq!(enriched.attributes["tracer_registry.session.config.model"], "m");
    let end = receiver.span("a", "session.end");
    assert!(end.attributes["tracer_registry.session.duration_ms"].as_f64().is_some());
    assert!(world.registry.shutdown(crate::support::LONG).is_complete());
    session.enrich(Enrichment::new().feedback("late", true));
    let refused = &world.status("a").spans.dropped;
    assert_eq!(refused.get(&DropReason::AfterShutdown), Some(&1));
}

#[test]
fn per_trace_sessions_work_with_a_backend_without_sessions() {
    let receiver = World::new(&["a"]);
    let world = without_session_backend(&receiver, |binding| binding.sessions(SessionMode::PerTrace));
    let a = world.tenant("a");
    a.in_span("root", |_| a.in_span("child", |_| ()));
    world.flush();
    let (root, child) = (receiver.span("a", "root"), receiver.span("a", "child"));
    assert_eq!(root.attributes["session.id"], child.attributes["session.id"]);
    assert_eq!(receiver.names("a").len(), 2, "{}", receiver.project("a").tree());
}

#[test]
fn the_default_session_applies_to_spans_of_its_tracer_outside_any_session() {
    let world = World::new(&["a", "b"]);
    let (a, b) = (world.tenant("a"), world.tenant("b"));
    let default = a.session("daemon").start();
    let other = a.session("request").start();
    a.start_span("before");
    default.make_default();
    a.in_span("daemon", |_| b.start_span("b's"));
    {
        let _in_other = other.enter();
        a.start_span("in request");
    }
    default.end();
    a.start_span("after");
    let next = a.session("next").start();
    next.make_default();
    drop(next.clone());
    a.start_span("in next");
    world.flush();
    let session_of = |name: &str| world.span("a", name).attributes.get(ID).cloned();
    assert_eq!(session_of("before"), None);
    assert_eq!(session_of("daemon").expect("in a session"), default.id());
    assert_eq!(session_of("in request").expect("in a session"), other.id());
    assert_eq!(session_of("after"), None);
    assert_eq!(session_of("in next").expect("in a session"), next.id());
    world.assert_no_trace_of(default.id(), "b");
}

#[test]
fn a_default_session_does_not_keep_its_tracer_alive() {
    let world = World::new(&["a"]);
    let dedicated = world
        .registry
        .dedicated(tracer_registry::Selector::tenant("a"))
        .expect("configured");
    dedicated.session("s").start().make_default();
    dedicated.start_span("span");
    drop(dedicated);
    world.flush();
    assert_eq!(world.names("a"), ["span"]);
    let gone = crate::support::wait_for(
        "the drop of the tracer",
        || world.status("a").tracers,
        |tracers| *tracers == 0,
    );
    assert_eq!(gone, 0);
}

#[test]
fn spans_started_after_the_end_of_a_session_are_not_in_it() {
    let world = World::new(&["a"]);
    let a = world.tenant("a");
    let session = a.session("s").start();
    let open = {
        let _in_session = session.enter();
        let open = a.start_span("open");
        session.end();
        a.start_span("after");
        session.end();
        open
    };
    drop(open);
    session.enrich(Enrichment::new().feedback("helpful", true));
    world.flush();
    assert_eq!(world.span("a", "open").attributes[ID], session.id());
    assert_eq!(world.span("a", "after").attributes.get(ID), None);
    let project = world.project("a");
    let stored = project.session(session.id()).expect("started");
    assert!(
        stored.duration_millis.is_some_and(|millis| millis >= 0.0),
        "{stored:#?}"
    );
    assert_eq!(stored.feedback["helpful"], true);
}

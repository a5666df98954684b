//! How sessions come about: by the program, by the trace, by attributes; and the one that is the default.

use std::collections::HashMap;

use opentelemetry::trace::{Span as _, Tracer, TracerProvider};
use serde_json::json;
use tracer_registry::config::{BackendName, Binding, SessionMode};
use tracer_registry::status::DropReason;
use tracer_registry::{Enrichment, RegistryBuilder, Session};
use tracer_registry_collector::SessionOrigin;

use crate::support::{World, binding};

const ID: &str = "honeyhive.session_id";

fn with(mode: SessionMode, adapt: impl FnOnce(Binding) -> Binding) -> World {
    let adapted = adapt(binding("a").sessions(mode));
    World::with(&["a", "b"], |builder: RegistryBuilder| builder.tenant("a", adapted))
}

/// A registry that sends to the collector of another world, as to a backend without sessions.
fn plain(gate: &World, adapt: impl FnOnce(Binding) -> Binding) -> World {
    let url = gate.collector.url();
    let plain = adapt(binding("a").backend(BackendName::Otlp).endpoint(url));
    World::with(&[], |builder| builder.tenant("a", plain))
}

#[test]
fn where_each_trace_is_a_session_it_has_the_traces_id_and_is_started_once() {
    let world = with(SessionMode::PerTrace, |binding| binding);
    let (a, b) = (world.tenant("a"), world.tenant("b"));
    let (current, trace) = a.in_span("root", |span| {
        b.in_span("b", |_| {
            a.in_span("child", |_| a.tracer("t").start("by hand").end());
        });
        let session = Session::current().expect("the trace's");
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
    // Its own bits, but for those that say what kind of UUID it is.
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
fn a_session_that_the_program_starts_comes_before_that_of_the_trace() {
    let world = with(SessionMode::PerTrace, |binding| binding);
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
fn a_trace_that_is_begun_in_a_session_is_none() {
    let world = with(SessionMode::PerTrace, |binding| binding);
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
    assert_eq!(session_of("root").expect("one"), session.id());
    assert_eq!(session_of("after the end"), None, "nobody started a session for it");
    assert_eq!(session_of("in it").expect("one"), next.id());
    let outside = session_of("outside").expect("that of its trace");
    let begun = session_of("after the end, too").expect("that of its trace");
    let mut known: Vec<_> = world
        .project("a")
        .sessions()
        .iter()
        .map(|told| told.id.clone())
        .collect();
    let mut expected = [
        session.id(),
        next.id(),
        outside.as_str().expect("text"),
        begun.as_str().expect("text"),
    ];
    known.sort_unstable();
    expected.sort_unstable();
    assert_eq!(known, expected);
}

#[test]
fn the_session_of_a_trace_can_be_the_default() {
    let world = with(SessionMode::PerTrace, |binding| binding);
    let a = world.tenant("a");
    let session = a.in_span("root", |_| Session::current().expect("the trace's"));
    session.make_default();
    a.start_span("by default");
    session.end();
    a.start_span("after");
    world.flush();
    assert_eq!(world.span("a", "by default").attributes[ID], session.id());
    assert_ne!(world.span("a", "after").attributes[ID], session.id());
}

#[test]
fn the_data_of_a_session_leaves_room_for_what_is_learnt_of_it_later() {
    let gate = World::new(&["a"]);
    let limits = tracer_registry::config::Limits {
        attributes: Some(4),
        ..Default::default()
    };
    let world = plain(&gate, |binding| binding.limits(limits));
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
    let enriched = gate.span("a", "session.enrich");
    assert_eq!(enriched.attributes["tracer_registry.session.feedback.helpful"], true);
    assert_eq!(enriched.attributes["tracer_registry.session.outputs.much.99"], 99);
    assert!(
        gate.span("a", "session.end")
            .attributes
            .contains_key("tracer_registry.session.duration_ms")
    );
}

#[test]
fn the_session_of_a_trace_that_came_in_is_that_of_the_trace() {
    let world = with(SessionMode::PerTrace, |binding| {
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
fn a_trace_that_sampling_leaves_out_is_no_session() {
    let world = with(SessionMode::PerTrace, |binding| binding.sampling_ratio(0.0));
    let a = world.tenant("a");
    a.in_span("root", |_| assert!(Session::current().is_none()));
    world.flush();
    assert!(world.project("a").sessions().is_empty());
}

#[test]
fn sessions_can_be_made_by_their_spans_alone() {
    let world = with(SessionMode::AutoCreate, |binding| binding);
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
        "no calls"
    );
    let made = project.session(session.id()).expect("made");
    assert_eq!(
        (made.origin, made.name.as_deref()),
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
fn without_sessions_at_the_backend_all_that_is_told_of_one_is_on_spans() {
    let gate = World::new(&["a"]);
    let world = plain(&gate, |binding| binding.sampling_ratio(0.0));
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
        gate.names("a"),
        ["session.start", "session.enrich", "session.end"],
        "whatever is sampled"
    );
    for span in gate.project("a").spans() {
        assert_eq!(span.attributes["session.id"], session.id());
        assert_eq!(span.attributes["tracer_registry.session.name"], "chat");
        assert_eq!(span.attributes["tracer_registry.session.metadata.variant.name"], "b");
        assert_eq!(span.parent_span_id, None);
    }
    assert_eq!(
        gate.span("a", "session.start").attributes["tracer_registry.session.inputs.question"],
        "why?"
    );
    let enriched = gate.span("a", "session.enrich");
    assert_eq!(enriched.attributes["tracer_registry.session.metrics.tokens"], 7);
    assert_eq!(enriched.attributes["tracer_registry.session.config.model"], "m");
    let end = gate.span("a", "session.end");
    assert!(end.attributes["tracer_registry.session.duration_ms"].as_f64().is_some());
    assert!(world.registry.shutdown(crate::support::LONG).is_complete());
    session.enrich(Enrichment::new().feedback("late", true));
    let refused = &world.status("a").spans.dropped;
    assert_eq!(refused.get(&DropReason::AfterShutdown), Some(&1));
}

#[test]
fn each_trace_can_be_a_session_where_the_backend_has_none() {
    let gate = World::new(&["a"]);
    let world = plain(&gate, |binding| binding.sessions(SessionMode::PerTrace));
    let a = world.tenant("a");
    a.in_span("root", |_| a.in_span("child", |_| ()));
    world.flush();
    let (root, child) = (gate.span("a", "root"), gate.span("a", "child"));
    assert_eq!(root.attributes["session.id"], child.attributes["session.id"]);
    assert_eq!(gate.names("a").len(), 2, "{}", gate.project("a").tree());
}

#[test]
fn the_default_session_is_that_of_spans_outside_any_and_of_its_own_tracer_only() {
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
    assert_eq!(session_of("daemon").expect("one"), default.id());
    assert_eq!(session_of("in request").expect("one"), other.id());
    assert_eq!(session_of("after"), None);
    assert_eq!(session_of("in next").expect("one"), next.id());
    world.assert_no_trace_of(default.id(), "b");
}

#[test]
fn a_default_session_does_not_keep_its_tracer() {
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
    let gone = crate::support::wait_for("its end", || world.status("a").tracers, |tracers| *tracers == 0);
    assert_eq!(gone, 0);
}

#[test]
fn spans_that_are_started_after_the_end_of_a_session_do_not_carry_it() {
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
    let told = project.session(session.id()).expect("started");
    assert!(told.duration_millis.is_some_and(|millis| millis >= 0.0), "{told:#?}");
    assert_eq!(told.feedback["helpful"], true);
}

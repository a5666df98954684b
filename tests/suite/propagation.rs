//! Propagation headers of outgoing and incoming requests.

mod baggage;

use std::collections::HashMap;

use opentelemetry::baggage::BaggageExt;
use opentelemetry::trace::TraceContextExt;
use opentelemetry::{Context, ContextGuard, KeyValue};
use tracer_registry::{Scope, Session, TracerHandle, TracerRegistry};
use uuid::Uuid;

use crate::support::{World, binding};

type Headers = HashMap<String, String>;

const PARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
const SESSION: &str = "67e55044-10b1-426f-9247-bb680e5fe0c8";

/// Tenants: `a` and `b` trust nothing, `trusts` trusts remote parents, `sessions` propagates its
/// session.
fn world() -> World {
    World::with(&["a", "b", "trusts", "sessions"], |builder| {
        builder
            .tenant("trusts", binding("trusts").trust_remote_parent(true))
            .tenant("sessions", binding("sessions").propagate_session_id(true))
    })
}

fn headers(entries: &[(&str, &str)]) -> Headers {
    let entries = entries
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    entries.collect()
}

fn injected(tracer: &TracerHandle) -> Headers {
    let mut headers = Headers::new();
    tracer.inject(&mut headers);
    headers
}

#[expect(clippy::disallowed_methods, reason = "a program sets baggage this way")]
fn set_baggage(key: &'static str, value: &'static str) -> ContextGuard {
    Context::current().with_baggage([KeyValue::new(key, value)]).attach()
}

#[test]
fn only_a_tracers_own_span_and_baggage_are_injected() {
    let world = world();
    let (a, b) = (world.tenant("a"), world.tenant("b"));
    assert_eq!(injected(&a), Headers::new(), "nothing is current");
    a.in_span("a", |span| {
        let _baggage = set_baggage("plan", "of-a");
        let own = injected(&a);
        let id = span.span_context();
        assert_eq!(own["traceparent"], format!("00-{}-{}-01", id.trace_id(), id.span_id()));
        assert_eq!(own["baggage"], "plan=of-a");
        assert_eq!(injected(&b), Headers::new(), "b has no span or baggage");
        b.in_span("b", |span| {
            assert_eq!(injected(&a), own, "a's headers are found through b's scope");
            let _baggage = set_baggage("plan", "of-b");
            let theirs = injected(&b);
            assert!(theirs["traceparent"].contains(&span.span_context().span_id().to_string()));
            assert_eq!(theirs["baggage"], "plan=of-b");
            assert_eq!(injected(&a), own);
        });
    });
    world.flush();
    world.assert_no_trace_of("of-b", "a");
    world.assert_no_trace_of("of-a", "b");
}

#[test]
fn baggage_set_outside_any_scope_is_never_injected() {
    let world = world();
    let (a, b) = (world.tenant("a"), world.tenant("b"));
    let _baggage = set_baggage("plan", "unscoped");
    assert_eq!(injected(&a), Headers::new());
    for tracer in [&a, &b] {
        tracer.in_span("in a scope", |_| assert_eq!(injected(tracer).get("baggage"), None));
        let _entered = tracer.enter();
        assert_eq!(injected(tracer), Headers::new());
    }
    let _by_hand = Context::current_with_span(b.start_span("by hand")).attach();
    assert_eq!(injected(&a), Headers::new());
    assert_eq!(injected(&b).get("baggage"), None);
}

#[test]
fn incoming_headers_select_no_tracer_session_or_parent_unless_the_binding_allows_it() {
    let world = world();
    let (a, b) = (world.tenant("a"), world.tenant("b"));
    // Forged headers: ids, session and slug of another tenant.
    let forged = b.in_span("b's", |span| {
        let id = span.span_context();
        let parent = format!("00-{}-{}-01", id.trace_id(), id.span_id());
        let baggage = format!("tenant=b,session.id={SESSION},honeyhive.session_id={SESSION},plan=free");
        headers(&[
            ("traceparent", &parent),
            ("baggage", &baggage),
            ("x-tenant", "b"),
            ("x-honeyhive-project", "b"),
        ])
    });
    a.extract(&forged).run(|| {
        assert!(TracerRegistry::current().expect("a scope").same_tracer(&a));
        assert!(Session::current().is_none());
        a.in_span("answer", |_| ());
    });
    world.flush();
    let answer = world.span("a", "answer");
    assert_eq!(answer.parent_span_id, None);
    assert_eq!(answer.attributes.get("honeyhive.session_id"), None);
    world.assert_no_trace_of(SESSION, "a");
    world.assert_no_trace_of(&world.span("b", "b's").trace_id, "a");
    assert_eq!(world.names("b"), ["b's"]);
}

#[test]
fn injecting_removes_headers_that_another_tracer_injected() {
    let world = world();
    let (a, b, trusts) = (world.tenant("a"), world.tenant("b"), world.tenant("trusts"));
    let mut request = http::HeaderMap::new();
    request.insert("x-request-id", http::HeaderValue::from_static("7"));
    b.in_span("b", |_| {
        let _baggage = set_baggage("plan", "of-b");
        b.inject_headers(&mut request);
    });
    assert_eq!(request["baggage"], "plan=of-b");
    a.in_span("a", |_| {
        a.inject_headers(&mut request);
        assert_eq!(
            request["traceparent"].to_str().ok(),
            Some(&*injected(&a)["traceparent"])
        );
        assert!(!request.contains_key("baggage"), "{request:?}");
    });
    a.inject_headers(&mut request);
    assert_eq!(
        request.keys().collect::<Vec<_>>(),
        ["x-request-id"],
        "nothing is current"
    );

    request.insert("traceparent", http::HeaderValue::from_static(PARENT));
    trusts.extract_headers(&request).run(|| {
        let mut next = http::HeaderMap::new();
        trusts.inject_headers(&mut next);
        assert_eq!(next["traceparent"], PARENT);
    });
    request.insert("traceparent", http::HeaderValue::from_bytes(b"\xe4").expect("a value"));
    trusts
        .extract_headers(&request)
        .run(|| assert_eq!(injected(&trusts), Headers::new()));
}

#[test]
fn a_trusted_remote_parent_is_the_parent_and_is_injected_further() {
    let world = world();
    let (trusts, b) = (world.tenant("trusts"), world.tenant("b"));
    let incoming = headers(&[("traceparent", PARENT), ("tracestate", "vendor=1")]);
    trusts.extract(&incoming).run(|| {
        let passed_on = injected(&trusts);
        assert_eq!(
            (passed_on["traceparent"].as_str(), passed_on["tracestate"].as_str()),
            (PARENT, "vendor=1")
        );
        b.in_span("between", |_| {
            assert!(!injected(&b)["traceparent"].contains("0af7651916cd43dd8448eb211c80319c"));
            trusts.in_span("answer", |_| {
                let within = injected(&trusts);
                assert!(
                    within["traceparent"].contains("0af7651916cd43dd8448eb211c80319c"),
                    "{within:?}"
                );
                assert_ne!(within["traceparent"], PARENT);
            });
        });
    });
    // A span created before `extract` is not the parent.
    trusts.in_span("server", |_| {
        let nothing = headers(&[]);
        trusts.extract(&nothing).run(|| drop(trusts.start_span("own child")));
        trusts
            .extract(&incoming)
            .run(|| drop(trusts.start_span("remote child")));
    });
    world.flush();
    for name in ["answer", "remote child"] {
        let span = world.span("trusts", name);
        assert_eq!(span.parent_span_id.as_deref(), Some("b7ad6b7169203331"));
        assert_eq!(span.trace_id, "0af7651916cd43dd8448eb211c80319c");
    }
    let server = world.span("trusts", "server");
    assert_eq!(
        world.span("trusts", "own child").parent_span_id.as_ref(),
        Some(&server.span_id)
    );
    world.assert_no_trace_of("0af7651916cd43dd8448eb211c80319c", "b");
}

#[test]
fn a_trusted_parent_is_found_under_another_tracers_span_attached_by_hand() {
    let world = world();
    let (trusts, b) = (world.tenant("trusts"), world.tenant("b"));
    trusts.extract(&headers(&[("traceparent", PARENT)])).run(|| {
        let _by_hand = Context::current_with_span(b.start_span("by hand")).attach();
        drop(trusts.start_span("child"));
        assert_eq!(injected(&trusts)["traceparent"], PARENT);
    });
    world.flush();
    assert_eq!(
        world.span("trusts", "child").parent_span_id.as_deref(),
        Some("b7ad6b7169203331")
    );
}

#[test]
fn a_remote_span_extracted_by_one_tracer_is_no_parent_for_another_that_trusts_remote_spans() {
    let world = world();
    let (trusts, a) = (world.tenant("trusts"), world.tenant("a"));
    let incoming = headers(&[("traceparent", PARENT)]);
    let other = world.registry.dedicated(tracer_registry::Selector::tenant("trusts"));
    let other = other.expect("configured");
    other.extract(&incoming).run(|| {
        drop(trusts.start_span("not to this one"));
        assert_eq!(injected(&trusts), Headers::new());
    });
    a.extract(&incoming).run(|| drop(trusts.start_span("nor here")));
    world.flush();
    for name in ["not to this one", "nor here"] {
        assert_eq!(world.span("trusts", name).parent_span_id, None);
    }
}

#[test]
fn invalid_headers_are_ignored() {
    let world = world();
    let (trusts, sessions) = (world.tenant("trusts"), world.tenant("sessions"));
    let long = format!("a={}", "x".repeat(9000));
    for (name, value) in [
        ("traceparent", ""),
        ("traceparent", "00-0af7651916cd43dd8448eb211c80319c"),
        ("traceparent", "00-00000000000000000000000000000000-b7ad6b7169203331-01"),
        ("traceparent", "00-0AF7651916CD43DD8448EB211C80319C-B7AD6B7169203331-01"),
        ("traceparent", "zz-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"),
        ("baggage", "session.id"),
        ("baggage", "session.id=acme"),
        ("baggage", "session.id=../../etc/passwd"),
        ("baggage", "session.id=00000000-0000-0000-0000-000000000000"),
        ("baggage", "=;=;=,,,"),
        ("baggage", "%ff%fe=%00"),
        ("baggage", long.as_str()),
    ] {
        let bad = headers(&[(name, value)]);
        trusts.extract(&bad).run(|| drop(trusts.start_span("root")));
        sessions.extract(&bad).run(|| {
            assert!(Session::current().is_none(), "{name}: {value}");
            drop(sessions.start_span("no session"));
        });
    }
    world.flush();
    let roots = world.project("trusts");
    assert!(
        roots.spans().iter().all(|span| span.parent_span_id.is_none()),
        "{}",
        roots.tree()
    );
    let without = world.project("sessions");
    let none = without
        .spans()
        .iter()
        .all(|span| !span.attributes.contains_key("honeyhive.session_id"));
    assert!(none, "{}", without.tree());
    assert_eq!((roots.spans().len(), without.spans().len()), (12, 12));
}

#[test]
fn a_session_is_propagated_if_the_binding_allows_it() {
    let world = world();
    let (sessions, a) = (world.tenant("sessions"), world.tenant("a"));
    let own = sessions
        .session("s")
        .id(SESSION.parse::<Uuid>().expect("a UUID"))
        .start();
    let sent = {
        let _in_session = own.enter();
        // A baggage entry set by hand cannot replace the session's.
        let _forged = set_baggage("session.id", "another");
        injected(&sessions)
    };
    assert_eq!(sent["baggage"], format!("session.id={SESSION}"));
    {
        let _no_session = sessions.enter();
        let _forged = set_baggage("session.id", SESSION);
        assert_eq!(injected(&sessions).get("baggage"), None);
    }
    // As if in another process.
    sessions.extract(&sent).run(|| {
        let session = Session::current().expect("the extracted session");
        assert_eq!(session.id(), SESSION);
        sessions.in_span("answer", |_| {
            assert_eq!(injected(&sessions)["baggage"], sent["baggage"]);
        });
        session.enrich(tracer_registry::Enrichment::new().metadata("from", "the other process"));
    });
    a.extract(&sent)
        .run(|| a.in_span("a's", |_| assert!(Session::current().is_none())));
    world.flush();
    let project = world.project("sessions");
    assert_eq!(
        world.span("sessions", "answer").attributes["honeyhive.session_id"],
        SESSION
    );
    let session = project.session(SESSION).expect("started once");
    assert_eq!(
        session.operations.len(),
        2,
        "one start by the first process, one enrichment by the second: {session:#?}"
    );
    assert_eq!(session.metadata["from"], "the other process");
    world.assert_no_trace_of(SESSION, "a");
}

#[test]
fn each_request_has_its_own_baggage_and_cannot_end_a_session_of_another_process() {
    let world = world();
    let (sessions, a) = (world.tenant("sessions"), world.tenant("a"));
    let first = headers(&[("baggage", &format!("user=one,session.id={SESSION}"))]);
    a.extract(&first).run(|| {
        assert_eq!(
            injected(&a)["baggage"],
            "user=one",
            "the session id must not select a session in the next process"
        );
        a.extract(&headers(&[]))
            .run(|| assert_eq!(injected(&a), Headers::new()));
    });
    sessions.extract(&first).run(|| {
        Session::current().expect("the extracted session").end();
        sessions.start_span("after its end");
    });
    world.flush();
    assert_eq!(
        world
            .span("sessions", "after its end")
            .attributes
            .get("honeyhive.session_id"),
        None
    );
    assert!(
        world.project("sessions").session(SESSION).is_none(),
        "only the process that started a session reports its duration"
    );
}

#[test]
fn a_request_scope_is_a_value_that_can_move_to_another_thread() {
    let world = world();
    let trusts = world.tenant("trusts");
    let scope: Scope = trusts.extract(&headers(&[("traceparent", PARENT), ("baggage", "plan=pro")]));
    let there = std::thread::spawn(scope.wrap({
        let trusts = trusts.clone();
        move || trusts.in_span("there", |_| injected(&trusts))
    }));
    assert_eq!(there.join().expect("no panic")["baggage"], "plan=pro");
    world.flush();
    assert_eq!(
        world.span("trusts", "there").parent_span_id.as_deref(),
        Some("b7ad6b7169203331")
    );
}

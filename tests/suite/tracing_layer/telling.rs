//! What is told of spans: events, fields, errors, and what a filter leaves of them.

use tracer_registry_collector::{SpanKind, StatusCode};
use tracing::dispatcher::{self, Dispatch};
use tracing::{info, info_span};
use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::{Layer, registry};

use super::{events, subscribed, unrouted};
use crate::isolation::attach_limit::FullContextStack;
use crate::routing::assert_chain;
use crate::support::World;

#[test]
fn an_event_lands_on_a_span_of_the_tracer_that_the_code_runs_for_or_nowhere() {
    let (world, a, b, _subscriber) = subscribed();
    a.in_span("by hand", |_| info!("without a span of the tracing crate"));
    a.in_span("a", |_| {
        let of_a = info_span!("of a");
        of_a.in_scope(|| {
            info!("a-canary");
            let in_b = b.enter();
            info!("b-canary in no span");
            b.in_span("b", |_| {
                info!("b-canary");
                tracing::error!("b-canary that fails");
                info!(parent: &of_a, "told of a");
                info!(parent: None, "of nobody");
            });
            drop(in_b);
            info!("a-canary again");
        });
    });
    info!("in no scope");
    assert_eq!(unrouted(&world), (0, 1), "the one in b's scope with a's span current");
    world.flush();
    assert_eq!(
        events(&world.span("a", "of a")),
        ["a-canary", "told of a", "a-canary again"]
    );
    assert_eq!(events(&world.span("b", "b")), ["b-canary", "b-canary that fails"]);
    assert_eq!(world.span("b", "b").status.code, StatusCode::Error);
    assert_eq!(world.span("a", "of a").status.code, StatusCode::Unset);
    assert_eq!(
        events(&world.span("a", "by hand")),
        ["without a span of the tracing crate"]
    );
    world.assert_no_trace_of("b-canary", "a");
    world.assert_no_trace_of("a-canary", "b");
}

#[test]
fn a_log_line_of_opentelemetry_is_no_event_of_a_tenants_span() {
    let (world, a, _b, _subscriber) = subscribed();
    a.in_span("a", |_| {
        tracing::warn!(target: "opentelemetry", "a-canary of the API");
        tracing::warn!(target: "opentelemetry_sdk", "a-canary of the SDK");
        tracing::warn!(target: "opentelemetry-otlp", "a-canary of the exporter");
        tracing::warn!(target: "opentelemetrist", "of the program");
    });
    world.flush();
    assert_eq!(events(&world.span("a", "a")), ["of the program"]);
    world.assert_no_trace_of("a-canary", "a");
}

#[test]
fn a_span_of_opentelemetrys_own_crates_is_none_of_a_tenant() {
    let (world, a, _b, _subscriber) = subscribed();
    a.in_span("a", |_| {
        let own = info_span!(target: "opentelemetry_sdk", "a-canary", late = tracing::field::Empty);
        own.record("late", "a-canary");
        own.follows_from(info_span!(target: "opentelemetry", "a-canary too"));
        own.in_scope(|| info!("of the program"));
        info_span!(target: "opentelemetrist", "of the program").in_scope(|| ());
    });
    assert_eq!(unrouted(&world), (0, 0));
    world.flush();
    assert_eq!(events(&world.span("a", "a")), ["of the program"]);
    assert_chain(&world, "a", &["a", "of the program"]);
    world.assert_no_trace_of("a-canary", "a");
}

/// OpenTelemetry logs while its current context is locked, and whoever asks for that context then panics.
#[test]
fn a_log_line_that_opentelemetry_writes_while_it_changes_the_context_does_no_harm() {
    let (world, a, _b, _subscriber) = subscribed();
    a.in_span("a", |_| {
        let full = FullContextStack::new();
        // "Too many contexts", at the level of a warning.
        drop(a.enter());
        drop(full);
        info!("afterwards");
    });
    world.flush();
    assert_eq!(events(&world.span("a", "a")), ["afterwards"]);
}

#[test]
fn a_field_is_never_recorded_on_another_tracers_span_by_way_of_the_current_one() {
    let (world, a, b, _subscriber) = subscribed();
    let made = a.in_span("a", |_| {
        info_span!("of a", own = tracing::field::Empty, by_b = tracing::field::Empty)
    });
    made.in_scope(|| {
        tracing::Span::current().record("own", "a-value");
        b.in_span("b", |_| tracing::Span::current().record("by_b", "b-canary").id());
    });
    assert_eq!(unrouted(&world), (0, 1));
    // Who has the span at hand means it: what is told of a span lands on it, whoever the code runs for.
    b.in_span("b", |_| made.record("by_b", "meant"));
    drop(made);
    assert_eq!(unrouted(&world), (0, 1));
    world.flush();
    let span = world.span("a", "of a");
    assert_eq!(
        (&span.attributes["own"], &span.attributes["by_b"]),
        (&"a-value".into(), &"meant".into())
    );
    world.assert_no_trace_of("b-canary", "a");
    world.assert_no_trace_of("b-canary", "b");
}

#[tracing::instrument(err)]
fn fails(question: &str, times: u64) -> Result<(), std::io::Error> {
    Err(std::io::Error::other(format!("{question} {times} times over")))
}

#[test]
fn fields_and_errors_are_what_opentelemetry_has_them_as() {
    let (world, a, _, _subscriber) = subscribed();
    a.in_span("a", |_| {
        assert!(fails("why?", 2).is_err());
        let error = std::io::Error::other("broken");
        let error: &(dyn std::error::Error + 'static) = &error;
        info_span!(
            "s",
            otel.name = "GET /",
            otel.kind = "Client",
            otel.status_code = "ERROR",
            large = u64::MAX,
            part = 0.5,
            yes = true,
            error,
        )
        .in_scope(|| info!(name: "named", answer = 42));
    });
    world.flush();
    let span = world.span("a", "fails");
    assert_eq!(span.attributes["question"], "why?");
    assert_eq!(span.attributes["times"], 2);
    assert_eq!(span.attributes["target"], module_path!());
    assert!(span.attributes["code.file.path"].to_string().contains("telling.rs"));
    assert_eq!(span.scope.name, "tracing");
    assert_eq!(
        (span.status.code, span.status.message.as_str()),
        (StatusCode::Error, "why? 2 times over")
    );
    assert_eq!(events(&span), ["exception"]);
    assert_eq!(span.events[0].attributes["exception.message"], "why? 2 times over");
    assert_eq!(span.events[0].attributes["level"], "ERROR");
    let span = world.span("a", "GET /");
    assert_eq!((span.kind, span.status.code), (SpanKind::Client, StatusCode::Error));
    assert_eq!(span.attributes["large"], u64::MAX.to_string());
    assert_eq!(
        (&span.attributes["part"], &span.attributes["yes"]),
        (&0.5.into(), &true.into())
    );
    assert_eq!(span.attributes["error"], "broken");
    assert!(
        span.attributes.keys().all(|key| !key.starts_with("otel.")),
        "{:?}",
        span.attributes
    );
    assert_eq!(
        (events(&span), &span.events[0].attributes["answer"]),
        (vec!["named"], &42.into())
    );
}

#[test]
fn what_this_crate_tells_is_on_nobodys_span() {
    let (world, a, _, _subscriber) = subscribed();
    a.in_span("a", |_| {
        info_span!("of a").in_scope(|| {
            tracing::warn!(target: "tracer_registry::export::report", "about another tenant");
            tracing::info_span!(target: "tracer_registry", "ours").in_scope(|| ());
            info!(target: "tracer_registry_of_somebody", "theirs");
        });
    });
    world.flush();
    assert_eq!(events(&world.span("a", "of a")), ["theirs"]);
    assert_chain(&world, "a", &["a", "of a"]);
    assert_eq!(world.names("a").len(), 2);
}

#[test]
fn a_filter_leaves_out_what_it_says_and_what_is_below_finds_its_parent() {
    let world = World::new(&["a"]);
    let a = world.tenant("a");
    let layer = world.registry.tracing_layer().with_filter(LevelFilter::INFO);
    let _subscriber = dispatcher::set_default(&Dispatch::new(registry().with(layer)));
    a.in_span("a", |_| {
        tracing::debug_span!("left out").in_scope(|| {
            tracing::debug!("left out");
            info!("kept");
            info_span!("below").in_scope(|| ());
        });
    });
    world.flush();
    assert_chain(&world, "a", &["a", "below"]);
    assert_eq!(
        (events(&world.span("a", "a")), world.names("a").len()),
        (vec!["kept"], 2)
    );
}

#[test]
fn past_the_limit_of_attached_contexts_nothing_is_told_of_the_span_that_stays_current() {
    let (world, a, b, _subscriber) = subscribed();
    a.in_span("a", |_| {
        let of_a = info_span!("of a", by_b = tracing::field::Empty, own = tracing::field::Empty);
        of_a.in_scope(|| {
            let full = FullContextStack::new();
            let in_b = b.enter();
            info!("b-canary");
            tracing::Span::current().record("by_b", "b-canary");
            info_span!("b-canary").in_scope(|| info!("b-canary"));
            drop(in_b);
            info!("a again");
            tracing::Span::current().record("own", "a-value");
            drop(full);
        });
    });
    assert_eq!(unrouted(&world), (1, 1), "the span, and the field");
    world.flush();
    assert_eq!(events(&world.span("a", "of a")), ["a again"]);
    assert_eq!(world.span("a", "of a").attributes["own"], "a-value");
    assert_eq!(world.names("a").len(), 2);
    world.assert_no_trace_of("b-canary", "a");
}

//! Events, fields and errors on spans, and filters.

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
fn an_event_is_recorded_only_on_a_span_of_the_current_tracer() {
    let (world, a, b, _subscriber) = subscribed();
    a.in_span("by hand", |_| info!("without a span of the tracing crate"));
    a.in_span("a", |_| {
        let span_of_a = info_span!("of a");
        span_of_a.in_scope(|| {
            info!("a-canary");
            let in_b = b.enter();
            info!("b-canary in no span");
            b.in_span("b", |_| {
                info!("b-canary");
                tracing::error!("b-canary that fails");
                info!(parent: &span_of_a, "explicit a");
                info!(parent: None, "without a span");
            });
            drop(in_b);
            info!("a-canary again");
        });
    });
    info!("in no scope");
    assert_eq!(
        unrouted(&world),
        (0, 1),
        "the event in b's scope while a's span is current"
    );
    world.flush();
    assert_eq!(
        events(&world.span("a", "of a")),
        ["a-canary", "explicit a", "a-canary again"]
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
fn log_events_of_opentelemetry_are_not_recorded_on_a_tenants_span() {
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
fn spans_of_opentelemetrys_crates_are_not_recorded_for_a_tenant() {
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

/// OpenTelemetry logs while its current context is borrowed; access to that context then panics.
#[test]
fn a_log_event_that_opentelemetry_emits_during_a_context_change_is_harmless() {
    let (world, a, _b, _subscriber) = subscribed();
    a.in_span("a", |_| {
        let full = FullContextStack::new();
        // OpenTelemetry logs a warning about too many contexts.
        drop(a.enter());
        drop(full);
        info!("afterwards");
    });
    world.flush();
    assert_eq!(events(&world.span("a", "a")), ["afterwards"]);
}

#[test]
fn a_field_is_never_recorded_on_another_tracers_span_through_the_current_span() {
    let (world, a, b, _subscriber) = subscribed();
    let made = a.in_span("a", |_| {
        info_span!("of a", own = tracing::field::Empty, by_b = tracing::field::Empty)
    });
    made.in_scope(|| {
        tracing::Span::current().record("own", "a-value");
        b.in_span("b", |_| tracing::Span::current().record("by_b", "b-canary").id());
    });
    assert_eq!(unrouted(&world), (0, 1));
    // An explicit span handle is intended: the field is recorded on that span in any scope.
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
fn fields_and_errors_follow_opentelemetrys_conventions() {
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
    assert!(span.attributes["code.file.path"].to_string().contains("recording.rs"));
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
fn log_events_of_this_crate_are_on_no_span() {
    let (world, a, _, _subscriber) = subscribed();
    a.in_span("a", |_| {
        info_span!("of a").in_scope(|| {
            tracing::warn!(target: "tracer_registry::export::report", "about another tenant");
            tracing::info_span!(target: "tracer_registry", "ours").in_scope(|| ());
            info!(target: "tracer_registry_extension", "theirs");
        });
    });
    world.flush();
    assert_eq!(events(&world.span("a", "of a")), ["theirs"]);
    assert_chain(&world, "a", &["a", "of a"]);
    assert_eq!(world.names("a").len(), 2);
}

#[test]
fn a_filtered_span_is_left_out_and_its_children_use_its_parent() {
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
fn beyond_the_limit_of_attached_contexts_nothing_is_recorded_on_the_current_span_of_another_tracer() {
    let (world, a, b, _subscriber) = subscribed();
    a.in_span("a", |_| {
        let span_of_a = info_span!("of a", by_b = tracing::field::Empty, own = tracing::field::Empty);
        span_of_a.in_scope(|| {
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
    assert_eq!(unrouted(&world), (1, 1), "the span and the field");
    world.flush();
    assert_eq!(events(&world.span("a", "of a")), ["a again"]);
    assert_eq!(world.span("a", "of a").attributes["own"], "a-value");
    assert_eq!(world.names("a").len(), 2);
    world.assert_no_trace_of("b-canary", "a");
}

//! Cost of a span in a scope, and of a scope, compared with the stock SDK in the same run.
//!
//! `cargo bench --bench spans --features tracing` prints the ratios of the medians at the end. Both
//! sides drop their spans at the end. The peer's processor does nothing; this crate's registry is
//! shut down, so its tracers count and drop each span.
#![expect(clippy::print_stdout, reason = "a benchmark shows what it measured")]

#[path = "spans/fixture.rs"]
mod fixture;
#[cfg(feature = "macros")]
#[path = "spans/traced.rs"]
mod traced;

use std::fs;
use std::hint::black_box;
use std::path::PathBuf;

use criterion::Criterion;
use fixture::{builder, ours, span, span_of_session, stock};
use opentelemetry::Context;
use opentelemetry::trace::{FutureExt as _, TraceContextExt, Tracer, TracerProvider};
use tracer_registry::Scope;

fn spans(criterion: &mut Criterion) {
    let provider = stock();
    let peer = provider.tracer("bench");
    let (a, b) = ours();
    let otel = a.tracer("bench");
    let session = a.session("bench").start();

    let mut group = criterion.benchmark_group("span in a scope");
    group.bench_function("stock", |bencher| {
        let _under = Context::new().with_span(peer.start("request")).attach();
        bencher.iter(|| span(&peer));
    });
    group.bench_function("ours", |bencher| {
        a.in_span("request", |_| bencher.iter(|| span(&otel)));
    });
    group.finish();

    let mut group = criterion.benchmark_group("span in a session");
    group.bench_function("stock", |bencher| {
        let _under = Context::new().with_span(peer.start("request")).attach();
        bencher.iter(|| span_of_session(&peer, session.id()));
    });
    group.bench_function("ours", |bencher| {
        let _in_session = session.enter();
        a.in_span("request", |_| bencher.iter(|| span(&otel)));
    });
    group.finish();

    let mut group = criterion.benchmark_group("span current in a closure");
    group.bench_function("stock", |bencher| {
        let _under = Context::new().with_span(peer.start("request")).attach();
        bencher.iter(|| peer.in_span("answer", |cx| black_box(&cx).span().is_recording()));
    });
    group.bench_function("ours", |bencher| {
        a.in_span("request", |_| {
            bencher.iter(|| a.in_span("answer", |span| black_box(span.context()).span().is_recording()));
        });
    });
    group.bench_function("ours, past another tracer", |bencher| {
        a.in_span("request", |_| {
            b.in_span("between", |_| {
                bencher.iter(|| a.in_span("answer", |span| black_box(span.context()).span().is_recording()));
            });
        });
    });
    group.finish();
}

fn scopes(criterion: &mut Criterion) {
    let (a, b) = ours();
    let session = a.session("bench").start();
    let mut group = criterion.benchmark_group("scope");
    group.bench_function("enter and leave", |bencher| bencher.iter(|| drop(black_box(a.enter()))));
    group.bench_function("enter and leave a session", |bencher| {
        bencher.iter(|| drop(black_box(session.enter())));
    });
    group.bench_function("enter and leave in its own", |bencher| {
        let _in_a = a.enter();
        bencher.iter(|| drop(black_box(a.enter())));
    });
    group.bench_function("enter and leave in another tracer's", |bencher| {
        b.in_span("b", |_| bencher.iter(|| drop(black_box(session.enter()))));
    });
    group.bench_function("capture and run", |bencher| {
        let _in_session = session.enter();
        bencher.iter(|| Scope::current().run(|| black_box(1)));
    });
    group.bench_function("wrap and poll a future", |bencher| {
        bencher.iter(|| futures_util::FutureExt::now_or_never(session.scope(async { black_box(1) })));
    });
    group.bench_function("wrap and poll a future, stock", |bencher| {
        let cx = Context::new().with_value(1_u64);
        bencher.iter(|| futures_util::FutureExt::now_or_never(async { black_box(1) }.with_context(cx.clone())));
    });
    group.finish();
}

/// A span of the `tracing` crate, created, entered and closed in a request's scope. Compares the
/// layer with `tracing-opentelemetry` on a stock provider, configured to add the same attributes.
#[cfg(feature = "tracing")]
fn layers(criterion: &mut Criterion) {
    use tracing_subscriber::layer::SubscriberExt;

    fn work() {
        let span = tracing::info_span!("answer", model = "a-model", tokens = 120, retry = false);
        drop(black_box(span.entered()));
    }
    let provider = stock();
    let peer = provider.tracer("bench");
    let theirs = tracing_opentelemetry::layer().with_tracer(peer.clone());
    let theirs = theirs.with_threads(false).with_tracked_inactivity(false);
    let (registry, a, _) = fixture::ours_with_registry();

    let mut group = criterion.benchmark_group("span of the tracing crate");
    tracing::subscriber::with_default(tracing_subscriber::registry().with(theirs), || {
        let _under = Context::new().with_span(peer.start("request")).attach();
        group.bench_function("stock", |bencher| bencher.iter(work));
    });
    tracing::subscriber::with_default(tracing_subscriber::registry().with(registry.tracing_layer()), || {
        a.in_span("request", |_| {
            group.bench_function("ours", |bencher| bencher.iter(work))
        });
        // Outside any scope and without a default tracer.
        group.bench_function("ours, unrouted", |bencher| bencher.iter(work));
    });
    group.finish();
}

/// A dedicated tracer, from look-up to drop.
fn dedicated(criterion: &mut Criterion) {
    let registry = builder().build().expect("a valid configuration");
    let tenant = tracer_registry::Selector::try_from(tracer_registry::Selector::tenant("a")).expect("a name");
    criterion.bench_function("dedicated tracer, made and dropped", |bencher| {
        bencher.iter(|| registry.dedicated(&tenant).expect("configured"));
    });
}

fn main() {
    let mut criterion = Criterion::default().configure_from_args();
    spans(&mut criterion);
    scopes(&mut criterion);
    dedicated(&mut criterion);
    #[cfg(feature = "tracing")]
    layers(&mut criterion);
    #[cfg(feature = "macros")]
    traced::traced(&mut criterion, &ours().0);
    criterion.final_summary();
    println!("\nmedians of this run");
    for (group, ours, stock) in [
        ("span in a scope", "ours", "stock"),
        ("span in a session", "ours", "stock"),
        ("span current in a closure", "ours", "stock"),
        ("span current in a closure", "ours, past another tracer", "stock"),
        ("span of the tracing crate", "ours", "stock"),
        ("span of the tracing crate", "ours, unrouted", "stock"),
        ("scope", "wrap and poll a future", "wrap and poll a future, stock"),
    ] {
        if let (Some(mine), Some(theirs)) = (median(group, ours), median(group, stock)) {
            let ratio = mine / theirs;
            println!("{group:<26} {ours:<27} {mine:>7.1} ns, stock {theirs:>7.1} ns: {ratio:.2} times");
        }
    }
    #[cfg(feature = "macros")]
    for (group, attribute, by_hand) in traced::RATIOS {
        if let (Some(mine), Some(theirs)) = (median(group, attribute), median(group, by_hand)) {
            let ratio = mine / theirs;
            println!("{group:<26} {attribute:<27} {mine:>7.1} ns, {by_hand} {theirs:>7.1} ns: {ratio:.2} times");
        }
    }
}

/// Returns the median that criterion has just written, in nanoseconds.
fn median(group: &str, function: &str) -> Option<f64> {
    #[expect(
        clippy::disallowed_methods,
        reason = "cargo's target directory, not configuration of this crate"
    )]
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| PathBuf::from("target"), PathBuf::from);
    let file = target.join("criterion").join(group).join(function);
    let text = fs::read_to_string(file.join("new/estimates.json")).ok()?;
    let estimates: serde_json::Value = serde_json::from_str(&text).ok()?;
    estimates["median"]["point_estimate"].as_f64()
}

//! Cost that the tower layers add to a request, compared with the same bare service in the same
//! run.
//!
//! `cargo bench --bench tower --features tower` prints the differences of the medians at the end.
//! The endpoint does not exist, so the queue fills at once, and each span is created, ended,
//! counted and dropped.
#![expect(clippy::print_stdout, reason = "a benchmark shows what it measured")]

use std::convert::Infallible;
use std::fs;
use std::future::{Ready, ready};
use std::hint::black_box;
use std::path::PathBuf;

use bytes::Bytes;
use criterion::Criterion;
use futures_util::FutureExt;
use http::{HeaderName, Request, Response};
use http_body::Body;
use http_body_util::{BodyExt, Empty, Full};
use tower_layer::Layer;
use tower_service::Service;
use tracer_registry::config::Binding;
use tracer_registry::tower::{PropagationLayer, TenantLayer, TenantSource};
use tracer_registry::{KeySource, TracerRegistry};

const GROUP: &str = "request";

type Answer = Ready<Result<Response<Full<Bytes>>, Infallible>>;

/// Answers immediately.
fn bare()
-> impl Service<Request<Empty<Bytes>>, Response = Response<Full<Bytes>>, Error = Infallible, Future = Answer> + Clone {
    tower::service_fn(|request: Request<Empty<Bytes>>| {
        black_box(&request);
        ready(Ok(Response::new(Full::new(Bytes::from_static(b"ok")))))
    })
}

fn registry() -> TracerRegistry {
    TracerRegistry::builder()
        .secret_source("fixed", |_: &str| Ok("a key".into()))
        .defaults(Binding::new().endpoint("http://127.0.0.1:9"))
        .tenant("acme", Binding::new().api_key(KeySource::provider("fixed", "key")))
        .build()
        .expect("a valid configuration")
}

fn request() -> Request<Empty<Bytes>> {
    Request::get("/orders/7")
        .header("host", "api.example.com:8080")
        .header("user-agent", "bench/1.0")
        .header("accept", "*/*")
        .header("x-tenant", "acme")
        .body(Empty::new())
        .expect("a request")
}

/// Measures from the request to the end of the response body.
fn measure<S, R>(criterion: &mut Criterion, name: &str, mut service: S)
where
    S: Service<Request<Empty<Bytes>>, Response = Response<R>, Error = Infallible>,
    R: Body<Data = Bytes>,
{
    criterion.benchmark_group(GROUP).bench_function(name, |bencher| {
        bencher.iter(|| {
            let answer = service.call(request()).now_or_never().expect("answers immediately");
            let Ok(answer) = answer;
            answer.into_body().collect().now_or_never().expect("complete").is_ok()
        });
    });
}

fn main() {
    let mut criterion = Criterion::default().configure_from_args();
    let registry = registry();
    let acme = registry.tenant("acme").expect("configured");
    let source = TenantSource::header(HeaderName::from_static("x-tenant"));
    let layer = TenantLayer::new(registry, source);
    let in_session = layer.clone().session(|tracer, _| Some(tracer.session("request")));

    measure(&mut criterion, "bare", bare());
    measure(&mut criterion, "tenant layer", layer.layer(bare()));
    measure(&mut criterion, "tenant layer with a session", in_session.layer(bare()));
    acme.in_span("outer", |_| {
        let headers = PropagationLayer::new();
        measure(&mut criterion, "propagation layer", headers.layer(bare()));
        measure(
            &mut criterion,
            "propagation layer with a span",
            headers.with_spans().layer(bare()),
        );
    });
    criterion.final_summary();

    println!("\nmedians of this run");
    let Some(bare) = median("bare") else {
        return;
    };
    println!("{:<42} {bare:>7.0} ns", "bare");
    for name in [
        "tenant layer",
        "tenant layer with a session",
        "propagation layer",
        "propagation layer with a span",
    ] {
        if let Some(median) = median(name) {
            println!("{name:<42} {median:>7.0} ns, {:>5.0} ns more", median - bare);
        }
    }
}

/// Returns the median that criterion has just written, in nanoseconds.
fn median(function: &str) -> Option<f64> {
    #[expect(
        clippy::disallowed_methods,
        reason = "cargo's target directory, not configuration of this crate"
    )]
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| PathBuf::from("target"), PathBuf::from);
    let file = target.join("criterion").join(GROUP).join(function);
    let text = fs::read_to_string(file.join("new/estimates.json")).ok()?;
    let estimates: serde_json::Value = serde_json::from_str(&text).ok()?;
    estimates["median"]["point_estimate"].as_f64()
}

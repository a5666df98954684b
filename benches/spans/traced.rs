//! Cost of `#[trace]` compared with a manual span, and outside any scope.

use std::hint::black_box;

use criterion::Criterion;
use futures_util::FutureExt as _;
use tracer_registry::{TracerHandle, trace};

#[trace]
#[inline(never)]
fn empty(number: u64) {
    black_box(number);
}

#[trace(tracer = tracer, name = "empty")]
#[inline(never)]
fn empty_of(tracer: &TracerHandle, number: u64) {
    black_box(number);
}

#[trace(name = "empty")]
async fn empty_later(number: u64) {
    black_box(number);
}

/// Group, measured function, and the function it is compared with.
pub(crate) const RATIOS: [(&str, &str, &str); 3] = [
    ("trace", "attribute", "by hand"),
    ("trace", "attribute, tracer named", "by hand"),
    ("trace", "async attribute", "async by hand"),
];

pub(crate) fn traced(criterion: &mut Criterion, a: &TracerHandle) {
    let mut group = criterion.benchmark_group("trace");
    group.bench_function("outside any scope", |bencher| bencher.iter(|| empty(black_box(1))));
    group.bench_function("by hand", |bencher| {
        a.in_span("request", |_| {
            bencher.iter(|| {
                a.in_span("empty", |_| {
                    black_box(1_u64);
                });
            });
        });
    });
    group.bench_function("attribute", |bencher| {
        a.in_span("request", |_| bencher.iter(|| empty(black_box(1))));
    });
    group.bench_function("attribute, tracer named", |bencher| {
        a.in_span("request", |_| bencher.iter(|| empty_of(a, black_box(1))));
    });
    group.bench_function("async by hand", |bencher| {
        a.in_span("request", |_| {
            bencher.iter(|| {
                a.in_span_async("empty", async |_| {
                    black_box(1_u64);
                })
                .now_or_never()
            });
        });
    });
    group.bench_function("async attribute", |bencher| {
        a.in_span("request", |_| bencher.iter(|| empty_later(black_box(1)).now_or_never()));
    });
    group.finish();
}

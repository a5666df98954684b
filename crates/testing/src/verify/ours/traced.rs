//! Functions with `#[trace]`.

use super::super::run::current;
use super::super::subject::Active;
use tracer_registry::{TracerHandle, trace};

/// Name of their spans.
pub(in super::super) const TRACED: &str = "traced";
/// Attribute with the canary of the operation.
pub(in super::super) const TRACED_AS: &str = "traced_as";

#[trace(name = "traced", tracer = tracer, capture = both, skip(tracer, body), fields(traced_as = name))]
pub(in super::super) fn named(tracer: &TracerHandle, name: &str, body: impl FnOnce(Active)) {
    body(Active::Context(current()));
}

#[trace(name = "traced", capture = both, skip(body), fields(traced_as = name))]
pub(in super::super) fn of_scope(name: &str, body: impl FnOnce(Active)) {
    body(Active::Context(current()));
}

#[trace(name = "traced", tracer = tracer, capture = both, skip(tracer, body), fields(traced_as = name.clone()))]
pub(in super::super) async fn named_async<F: Future<Output = ()>>(
    tracer: TracerHandle,
    name: String,
    body: impl FnOnce(Active) -> F,
) {
    body(Active::Context(current())).await;
}

#[trace(name = "traced", capture = both, skip(body), fields(traced_as = name.clone()))]
pub(in super::super) async fn of_scope_async<F: Future<Output = ()>>(name: String, body: impl FnOnce(Active) -> F) {
    body(Active::Context(current())).await;
}

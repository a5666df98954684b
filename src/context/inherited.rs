//! What a tracer takes from the context that it starts a span in: parent, session, baggage.

use std::borrow::Cow;

use opentelemetry::Context;
use opentelemetry::baggage::{Baggage, BaggageExt};
use opentelemetry::trace::TraceContextExt;

use super::identity::Identity;
use super::scope::{ContextScope, SessionScope, entered_scope, own_context};
use crate::selector::Selector;

/// Returns the context to start a span of `identity` in. The span that is active there is its parent. Empty for a new trace.
///
/// Empty, and not one with an invalid span in it: the sampler takes that for a parent that is not sampled.
pub(crate) fn parent<'cx>(identity: &Identity, cx: &'cx Context, trust_remote: bool) -> Cow<'cx, Context> {
    let scope = cx.get::<ContextScope>();
    // A remote span in another tracer's scope came to that tracer. A tracer trusts only the remote spans that come to itself.
    let trust_active = trust_remote && scope.is_none_or(|scope| scope.is_of(identity));
    if identity.may_continue(cx, trust_active) {
        return Cow::Borrowed(cx);
    }
    let Some(scope) = scope else {
        return Cow::Owned(Context::new());
    };
    if scope.is_of(identity)
        && let Some(span) = &scope.span
    {
        return Cow::Owned(Context::new().with_remote_span_context(span.clone()));
    }
    match scope.hidden(identity) {
        Some(hidden) if identity.may_continue(hidden, trust_remote) => Cow::Borrowed(hidden),
        _ => Cow::Owned(Context::new()),
    }
}

/// Returns the session of a span that `identity` starts in a context: that of its innermost scope, if any.
pub(crate) fn session<'cx>(identity: &Identity, cx: &'cx Context) -> Option<&'cx SessionScope> {
    let scope = cx.get::<ContextScope>()?;
    if scope.is_of(identity) {
        return scope.entry.session.as_ref();
    }
    let outer = scope.outer(identity)?.get::<ContextScope>()?;
    outer.entry.session.as_ref()
}

/// Returns the baggage that was set in the tracer's innermost scope. Baggage that was set outside any scope is not returned.
pub(crate) fn baggage<'cx>(identity: &Identity, cx: &'cx Context) -> Option<&'cx Baggage> {
    let own = own_context(identity, cx).filter(|own| entered_scope(own).is_some());
    own.map(BaggageExt::baggage)
}

/// Returns the context in which the tracer's innermost span is current and still open, also if other tracers' scopes and spans hide it.
pub(crate) fn with_open_span(identity: &Identity, cx: &Context) -> Option<Context> {
    let open = |cx: &&Context| identity.may_continue(cx, false) && cx.span().is_recording();
    let active = Some(cx).filter(open);
    active
        .or_else(|| cx.get::<ContextScope>()?.hidden(identity).filter(open))
        .cloned()
}

/// Counts a span that is started in a context, if that is the scope of a request that ended a while ago.
pub(crate) fn note_if_stale(identity: &Identity, cx: &Context, selector: &Selector, name: &str) {
    let root = own_context(identity, cx).and_then(|own| own.get::<ContextScope>()?.root.as_ref());
    if root.is_some_and(|root| root.is_stale()) {
        identity.boundary().stale.note(selector, name);
    }
}

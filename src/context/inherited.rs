//! What a span inherits from the context it is started in: parent, session, baggage.

use std::borrow::Cow;

use opentelemetry::Context;
use opentelemetry::baggage::{Baggage, BaggageExt};
use opentelemetry::trace::TraceContextExt;

use super::identity::Identity;
use super::scope::{ContextScope, SessionScope, entered_scope, own_context};
use crate::selector::Selector;

/// Returns the context to start a span of `identity` in. Its active span is the parent. Empty for a
/// new trace.
///
/// Never contains an invalid span: the sampler treats that as an unsampled parent.
pub(crate) fn parent<'cx>(identity: &Identity, cx: &'cx Context, trust_remote: bool) -> Cow<'cx, Context> {
    let scope = cx.get::<ContextScope>();
    // A remote span in another tracer's scope was received by that tracer. A tracer trusts only
    // remote spans it received itself.
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

/// Returns the session of a span that `identity` starts in a context: the session of its innermost
/// scope, if any.
pub(crate) fn session<'cx>(identity: &Identity, cx: &'cx Context) -> Option<&'cx SessionScope> {
    let scope = cx.get::<ContextScope>()?;
    if scope.is_of(identity) {
        return scope.entry.session.as_ref();
    }
    let outer = scope.outer(identity)?.get::<ContextScope>()?;
    outer.entry.session.as_ref()
}

/// Returns the baggage set in the tracer's innermost scope. Excludes baggage set outside any scope.
pub(crate) fn baggage<'cx>(identity: &Identity, cx: &'cx Context) -> Option<&'cx Baggage> {
    let own = own_context(identity, cx).filter(|own| entered_scope(own).is_some());
    own.map(BaggageExt::baggage)
}

/// Returns the context in which the tracer's innermost open span is current, even if scopes and
/// spans of other tracers hide it.
pub(crate) fn with_open_span(identity: &Identity, cx: &Context) -> Option<Context> {
    let open = |cx: &&Context| identity.may_continue(cx, false) && cx.span().is_recording();
    let active = Some(cx).filter(open);
    active
        .or_else(|| cx.get::<ContextScope>()?.hidden(identity).filter(open))
        .cloned()
}

/// Counts a span started in the scope of a request that ended more than 60 s ago.
pub(crate) fn note_if_stale(identity: &Identity, cx: &Context, selector: &Selector, name: &str) {
    let root = own_context(identity, cx).and_then(|own| own.get::<ContextScope>()?.root.as_ref());
    if root.is_some_and(|root| root.is_stale()) {
        identity.boundary().stale.note(selector, name);
    }
}

//! The current context: scopes, and the choice of a span's parent. The only place that touches `Context::current`.
//!
//! OpenTelemetry has one current context per thread for all providers. Two things keep tracers apart in it:
//!
//! - Every span id says whose it is. A tracer's [`Identity`] makes its ids, half of them a count and half a check under a key of the
//!   tracer's own, so "is the active span mine?" is exact, whoever made it active, and costs a few instructions (the chance that a foreign
//!   id passes is one in two thousand million).
//! - A [`Scope`] in the context says for whom code runs. Where one tracer's scope hides another's, the hidden context is kept
//!   in it, so that a scope further in finds its own ancestor and its own session again.
//!
//! A context that cannot be made current is a third case: [`attach`](attach()) checks that it took hold. On a thread that is ending, nothing does.
//!
//! Invariant: a parent that [`parent`] gives is a span of the same tracer, a trusted remote one, or none.

mod attach;
mod boundary;
mod enter;
mod identity;
mod in_scope;
mod outlived;
mod scope;
mod trace_origin;

use std::borrow::Cow;

use opentelemetry::Context;
use opentelemetry::baggage::{Baggage, BaggageExt};
use opentelemetry::trace::TraceContextExt;

use crate::faults::{self, Fault, planted};
use crate::selector::Selector;
pub use attach::ScopeGuard;
#[cfg(feature = "tracing-layer")]
pub(crate) use attach::has_failed;
pub(crate) use attach::{attach, current, is_ending, known, suppress, suppress_on_this_thread};
pub(crate) use boundary::Boundary;
pub use boundary::PropagationStatus;
#[cfg(feature = "tower")]
pub(crate) use enter::with_root;
#[cfg(feature = "tracing-layer")]
pub(crate) use enter::{by_default, rooted};
pub(crate) use enter::{enter, with_baggage, with_own_span, with_session, with_trusted_span};
pub(crate) use identity::{Identity, SpanIds};
pub(crate) use in_scope::InScope;
pub(crate) use outlived::Root;
pub use outlived::StaleScopeStatus;
use scope::{Nobodys, Scope, own_context};
pub(crate) use scope::{Owner, SessionScope, SessionStamp};

/// The context to start a span of `identity` in: the span that is active there is its parent. Empty for a new trace.
///
/// Empty, and not one with an invalid span in it: the sampler takes that for a parent that is not sampled.
pub(crate) fn parent<'cx>(identity: &Identity, cx: &'cx Context, trust_remote: bool) -> Cow<'cx, Context> {
    if planted(Fault::ParentUnchecked) && cx.has_active_span() {
        return Cow::Borrowed(cx);
    }
    let scope = cx.get::<Scope>();
    // A remote span in another tracer's scope came to that one: who trusts remote spans trusts those that come to itself.
    let trust_active = trust_remote && scope.is_none_or(|scope| scope.is_of(identity));
    if may_be_parent(identity, cx, trust_active) {
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
        Some(hidden) if may_be_parent(identity, hidden, trust_remote) => Cow::Borrowed(hidden),
        _ => Cow::Owned(Context::new()),
    }
}

fn may_be_parent(identity: &Identity, cx: &Context, trust_remote: bool) -> bool {
    let span = cx.span();
    let span = span.span_context();
    let own = if span.is_remote() {
        trust_remote && identity.takes_remote(span)
    } else {
        identity.made(span.span_id())
    };
    own && span.is_valid()
}

/// The session of a span that `identity` starts in a context: that of its innermost scope, if any.
pub(crate) fn session<'cx>(identity: &Identity, cx: &'cx Context) -> Option<&'cx SessionScope> {
    if planted(Fault::SessionOfThread) {
        return faults::of_thread();
    }
    let scope = cx.get::<Scope>()?;
    if scope.is_of(identity) {
        return scope.place.session.as_ref();
    }
    let outer = scope.outer(identity)?.get::<Scope>()?;
    outer.place.session.as_ref()
}

/// Counts a span that is started in a context, if that is the scope of a request that ended a while ago.
pub(crate) fn note_if_stale(identity: &Identity, cx: &Context, selector: &Selector, name: &str) {
    let root = own_context(identity, cx).and_then(|own| own.get::<Scope>()?.root.as_ref());
    if root.is_some_and(|root| root.is_stale()) {
        identity.boundary().stale.note(selector, name);
    }
}

/// The tracer and the session that code in a context runs for. `None` if the context has no scope but that of a span that was made outside
/// any, and if its scope ended with its request.
pub(crate) fn scope_of(cx: &Context) -> Option<(&Owner, Option<&SessionScope>)> {
    let scope = entered_scope(cx).filter(|scope| !scope.is_over())?;
    Some((&scope.place.owner, scope.place.session.as_ref()))
}

fn entered_scope(cx: &Context) -> Option<&Scope> {
    cx.get::<Scope>().filter(|scope| !scope.place.is_by_default)
}

/// Whose the spans of a context are: of the tracer that code in it runs for, or of the default where that is nobody.
#[cfg(feature = "tracing-layer")]
pub(crate) fn owner_of(cx: &Context) -> Option<&Owner> {
    let scope = cx.get::<Scope>().filter(|scope| !scope.is_over())?;
    Some(&scope.place.owner)
}

/// Whether the scope of a context ended with its request.
pub(crate) fn is_over(cx: &Context) -> bool {
    cx.get::<Scope>().is_some_and(Scope::is_over)
}

/// Whether code in one context runs for another tracer than the one whose the other context's spans are.
#[cfg(feature = "tracing-layer")]
pub(crate) fn is_in_other_scope(one: &Context, other: &Context) -> bool {
    let scopes = entered_scope(one).zip(other.get::<Scope>());
    scopes.is_some_and(|(one, other)| !one.is_of(other.identity()))
}

/// A context in no scope, for work that is not to be traced: what is made in it is nobody's, and goes to no default either.
pub(crate) fn nobodys(from: &Context) -> Context {
    let nobodys = Context::new().with_value(Nobodys);
    if from.is_telemetry_suppressed() {
        nobodys.with_telemetry_suppressed()
    } else {
        nobodys
    }
}

/// Whether what is made in a context, in no scope, is not to go to a default.
pub(crate) fn is_nobodys(cx: &Context) -> bool {
    match cx.get::<Scope>() {
        Some(scope) => scope.is_over(),
        None => cx.get::<Nobodys>().is_some(),
    }
}

/// The baggage of a tracer: what was set in its innermost scope, and never what was set outside of any.
pub(crate) fn baggage<'cx>(identity: &Identity, cx: &'cx Context) -> Option<&'cx Baggage> {
    let own = own_context(identity, cx).filter(|own| entered_scope(own).is_some());
    own.map(BaggageExt::baggage)
}

/// The context in which a tracer's own innermost span is current and still open, also where other tracers' scopes and spans lie over it.
pub(crate) fn with_open_span(identity: &Identity, cx: &Context) -> Option<Context> {
    let is_own = |cx: &Context| may_be_parent(identity, cx, false) || planted(Fault::CurrentUnchecked);
    let open = |cx: &&Context| is_own(cx) && cx.span().is_recording();
    let active = Some(cx).filter(open);
    active
        .or_else(|| cx.get::<Scope>()?.hidden(identity).filter(open))
        .cloned()
}

/// The current context of the thread, or another one where nothing at all is current.
pub(crate) fn current_or(other: Context) -> Context {
    let now = current();
    let is_somebodys_or_nobodys = now.get::<Scope>().is_some() || now.get::<Nobodys>().is_some();
    let says_something = is_somebodys_or_nobodys || now.has_active_span() || now.is_telemetry_suppressed();
    if says_something { now } else { other }
}

//! The current context: scopes, and the choice of a span's parent. The only place that touches `Context::current`.
//!
//! OpenTelemetry has one current context per thread for all providers. Two things keep tracers apart in it:
//!
//! - Every span id says whose it is. A tracer's [`Identity`] makes its ids, half of them a count and half a check under a key of the
//!   tracer's own, so "is the active span mine?" is exact, whoever made it active, and costs a few instructions (the chance that a foreign
//!   id passes is one in four thousand million).
//! - A [`Scope`] in the context says for whom code runs. Where one tracer's scope hides another's, the hidden context is kept
//!   in it, so that a scope further in finds its own ancestor and its own session again.
//!
//! Invariant: a parent that [`parent`] gives is a span of the same tracer, a trusted remote one, or none.

mod identity;
mod in_scope;

use std::any::Any;
use std::borrow::Cow;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use opentelemetry::baggage::{Baggage, BaggageExt};
use opentelemetry::trace::{Span as _, SpanContext, TraceContextExt};
use opentelemetry::{Context, ContextGuard, KeyValue};
use opentelemetry_sdk::trace::Span;

pub(crate) use identity::{Identity, SpanIds};
pub(crate) use in_scope::InScope;

/// How many hidden scopes of other tracers a scope remembers; the ones hidden first are forgotten beyond that.
const MAX_HIDDEN: usize = 32;

/// Whose scope it is. Two are the same tracer's only if their identities are the same allocation.
#[derive(Clone)]
pub(crate) struct Owner {
    pub(crate) identity: Arc<Identity>,
    /// The tracer itself, for those above who know what it is. A scope keeps it.
    pub(crate) tracer: Arc<dyn Any + Send + Sync>,
}

/// What a session puts on the spans of its scope.
#[derive(Debug)]
pub(crate) struct SessionStamp {
    /// The session's id first, then what the backend wants besides. Empty where spans have their session from their trace.
    pub(crate) attributes: Vec<KeyValue>,
    /// Spans that are started from now on do not carry it any more.
    pub(crate) ended: AtomicBool,
}

/// The session of a scope.
#[derive(Clone)]
pub(crate) struct SessionScope {
    pub(crate) stamp: Arc<SessionStamp>,
    /// The session itself, for those above who know what it is.
    pub(crate) session: Arc<dyn Any + Send + Sync>,
}

/// "This code runs for that tracer, and that session."
#[derive(Clone)]
struct Scope {
    /// Shared by the scopes of all spans in one place, so that a span that is made current costs one clone.
    place: Arc<Place>,
    /// The innermost span of the tracer that our own functions made current, for where somebody else's span lies over it.
    span: Option<SpanContext>,
}

/// Where a scope was entered, and for whom.
#[derive(Clone)]
struct Place {
    owner: Owner,
    session: Option<SessionScope>,
    /// The contexts that the scope hides, the one hidden last at the end: other tracers' scopes, and bare ids of spans that somebody had
    /// made current by hand. None of them hides anything itself.
    hidden: Option<Box<[Context]>>,
}

/// The context to start a span of `identity` in: the span that is active there is its parent. Empty for a new trace.
///
/// Empty, and not one with an invalid span in it: the sampler takes that for a parent that is not sampled.
pub(crate) fn parent<'cx>(identity: &Identity, cx: &'cx Context, trust_remote: bool) -> Cow<'cx, Context> {
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
        trust_remote
    } else {
        identity.made(span.span_id())
    };
    own && span.is_valid()
}

/// The session of a span that `identity` starts in a context: that of its innermost scope, if any.
pub(crate) fn session<'cx>(identity: &Identity, cx: &'cx Context) -> Option<&'cx SessionScope> {
    let scope = cx.get::<Scope>()?;
    if scope.is_of(identity) {
        return scope.place.session.as_ref();
    }
    let outer = scope.outer(identity)?.get::<Scope>()?;
    outer.place.session.as_ref()
}

/// The tracer and the session that code in a context runs for.
pub(crate) fn scope_of(cx: &Context) -> Option<(&Owner, Option<&SessionScope>)> {
    let scope = cx.get::<Scope>()?;
    Some((&scope.place.owner, scope.place.session.as_ref()))
}

/// The baggage of a tracer: what was set in its innermost scope, and never what was set outside of any.
pub(crate) fn baggage<'cx>(identity: &Identity, cx: &'cx Context) -> Option<&'cx Baggage> {
    own_context(identity, cx).map(BaggageExt::baggage)
}

/// The context in which a tracer's own innermost span is current and still open, also where other tracers' scopes and spans lie over it.
pub(crate) fn with_open_span(identity: &Identity, cx: &Context) -> Option<Context> {
    let open = |cx: &&Context| may_be_parent(identity, cx, false) && cx.span().is_recording();
    let active = Some(cx).filter(open);
    active
        .or_else(|| cx.get::<Scope>()?.hidden(identity).filter(open))
        .cloned()
}

/// A context in which code runs for a tracer, made from the one it is entered from.
///
/// Inside the same tracer's scope everything stays, with another session where one is given. Inside another tracer's scope, or
/// under another tracer's span, that context is hidden as a whole, with its span, its baggage and all else in it, and the innermost
/// context of this tracer, if there is one, is continued.
pub(crate) fn enter(owner: &Owner, session: Option<SessionScope>, from: &Context) -> Context {
    let identity = &*owner.identity;
    let own = own_scope(identity, from);
    let in_other_scope = own.is_none() && from.get::<Scope>().is_some();
    let entered = if in_other_scope || is_foreign(identity, from) {
        enter_over(owner, session, own, from)
    } else {
        let active = own_active(identity, from);
        match own {
            Some(own) if session.is_none() && (active.is_none() || active == own.span) => return from.clone(),
            Some(own) => from.with_value(Scope {
                place: match session {
                    Some(session) => own.in_session(session),
                    None => Arc::clone(&own.place),
                },
                span: active.or_else(|| own.span.clone()),
            }),
            None => from.with_value(Scope {
                place: Arc::new(Place {
                    owner: owner.clone(),
                    session,
                    hidden: None,
                }),
                span: active,
            }),
        }
    };
    if from.is_telemetry_suppressed() {
        entered.with_telemetry_suppressed()
    } else {
        entered
    }
}

/// A context with a span of the tracer current in its scope.
pub(crate) fn with_own_span(entered: &Context, span: Span) -> Context {
    remembering(entered, span.span_context()).with_span(span)
}

/// A context with a remote span current in the scope of a tracer that trusts it.
pub(crate) fn with_trusted_span(entered: &Context, span: SpanContext) -> Context {
    remembering(entered, &span).with_remote_span_context(span)
}

/// A context whose scope remembers a span of its tracer.
fn remembering(entered: &Context, span: &SpanContext) -> Context {
    match entered.get::<Scope>() {
        Some(scope) if span.is_valid() => entered.with_value(Scope {
            place: Arc::clone(&scope.place),
            span: Some(span.clone()),
        }),
        _ => entered.clone(),
    }
}

/// A context with another session in the scope of a tracer.
pub(crate) fn with_session(entered: &Context, session: SessionScope) -> Context {
    match entered.get::<Scope>() {
        Some(scope) => entered.with_value(Scope {
            place: scope.in_session(session),
            span: scope.span.clone(),
        }),
        None => entered.clone(),
    }
}

/// Enters over something of another tracer: its scope, or a span of it that somebody made current by hand in or outside our own.
fn enter_over(owner: &Owner, session: Option<SessionScope>, own: Option<&Scope>, from: &Context) -> Context {
    let identity = &*owner.identity;
    let outer = own_context(identity, from);
    let before = outer.and_then(|outer| own_scope(identity, outer));
    // A span of ours that was made current by hand in another tracer's scope; the id is all that is taken from there.
    let by_hand = own_active(identity, from).or_else(|| {
        let hidden = from.get::<Scope>()?.hidden(identity)?;
        let bare = hidden.get::<Scope>().is_none();
        bare.then(|| hidden.span().span_context().clone())
    });
    // The span that is active in our own context further out: where it was made current by hand, the scope there does not remember it.
    let in_outer = outer.and_then(|outer| own_active(identity, outer));
    let scope = Scope {
        place: Arc::new(Place {
            owner: owner.clone(),
            session: session.or_else(|| before?.place.session.clone()),
            hidden: hide(identity, from),
        }),
        span: by_hand.clone().or(in_outer).or_else(|| before?.span.clone()),
    };
    if own.is_some() {
        // Our own scope, under a span of somebody else's.
        return with_span_of(from, scope);
    }
    // Our own context further out, with its span and its baggage, if there is one.
    let entered = outer.cloned().unwrap_or_default().with_value(scope);
    match by_hand {
        Some(span) => entered.with_remote_span_context(span),
        None => entered,
    }
}

/// The scope of a context, where it is that of `identity`.
fn own_scope<'cx>(identity: &Identity, cx: &'cx Context) -> Option<&'cx Scope> {
    cx.get::<Scope>().filter(|scope| scope.is_of(identity))
}

/// The innermost context with a scope of `identity`: this one, or one that it hides. A span made current by hand further in has none,
/// and does not stand in its way.
fn own_context<'cx>(identity: &Identity, cx: &'cx Context) -> Option<&'cx Context> {
    let scope = cx.get::<Scope>()?;
    if scope.is_of(identity) {
        return Some(cx);
    }
    scope.outer(identity)
}

/// The active span, where `identity` made it.
fn own_active(identity: &Identity, cx: &Context) -> Option<SpanContext> {
    may_be_parent(identity, cx, false).then(|| cx.span().span_context().clone())
}

/// Whether a local span that `identity` did not make is active.
fn is_foreign(identity: &Identity, cx: &Context) -> bool {
    let active = cx.span();
    let active = active.span_context();
    active.is_valid() && !active.is_remote() && !identity.made(active.span_id())
}

/// What a scope of `identity` hides when it is entered over a context of another tracer.
fn hide(identity: &Identity, from: &Context) -> Option<Box<[Context]>> {
    let outer = from.get::<Scope>();
    let before = outer
        .and_then(|outer| outer.place.hidden.as_deref())
        .unwrap_or_default();
    let mut hidden: Vec<Context> = before
        .iter()
        .filter(|hidden| !is_hidden_of(identity, hidden))
        .cloned()
        .collect();
    let other = outer.filter(|outer| !outer.is_of(identity));
    if let Some(other) = other {
        // Kept without what it hides itself: the list stays flat, so that dropping it is not recursive.
        let scope = Scope {
            place: Arc::new(Place {
                hidden: None,
                ..Place::clone(&other.place)
            }),
            span: other.span.clone(),
        };
        hidden.push(if is_foreign(other.identity(), from) {
            with_span_of(from, scope)
        } else {
            from.with_value(scope)
        });
    }
    if is_foreign(identity, from) && other.is_none_or(|other| is_foreign(other.identity(), from)) {
        // Nobody's scope has this span in it. Its id is kept, for a tracer that finds it to be its own, and nothing else that is current.
        let span = from.span().span_context().clone();
        hidden.push(Context::new().with_remote_span_context(span));
    }
    let excess = hidden.len().saturating_sub(MAX_HIDDEN);
    hidden.drain(..excess);
    (!hidden.is_empty()).then(|| hidden.into())
}

/// Whether a hidden context is a tracer's: its scope, or, where there is none, a span of it.
fn is_hidden_of(identity: &Identity, hidden: &Context) -> bool {
    match hidden.get::<Scope>() {
        Some(scope) => scope.is_of(identity),
        None => identity.made(hidden.span().span_context().span_id()),
    }
}

/// A context with another scope, and the span that the scope remembers in place of the one that is active.
fn with_span_of(cx: &Context, scope: Scope) -> Context {
    if let Some(span) = scope.span.clone() {
        return cx.with_value(scope).with_remote_span_context(span);
    }
    // A context cannot be freed of its span; it is built anew with what is known to belong in it.
    let bare = Context::new().with_value(scope);
    if cx.baggage().is_empty() {
        bare
    } else {
        bare.with_baggage(copied(cx.baggage()))
    }
}

/// The same baggage once more.
pub(crate) fn copied(baggage: &Baggage) -> Baggage {
    let entries = baggage.iter();
    entries
        .map(|(key, (value, metadata))| (key.clone(), (value.clone(), metadata.clone())))
        .collect()
}

impl SessionStamp {
    /// The attributes of a span that is started now, if it is to carry any.
    pub(crate) fn carried(&self) -> Option<&[KeyValue]> {
        // Relaxed: a span that is started at the moment of the session's end may fall on either side of it.
        let carried = !self.attributes.is_empty() && !self.ended.load(Ordering::Relaxed);
        carried.then_some(&self.attributes)
    }
}

impl Scope {
    fn identity(&self) -> &Identity {
        &self.place.owner.identity
    }

    fn is_of(&self, identity: &Identity) -> bool {
        std::ptr::eq(self.identity(), identity)
    }

    /// The innermost context of a tracer, or with a span of it, that this scope hides.
    fn hidden(&self, identity: &Identity) -> Option<&Context> {
        let hidden = self.place.hidden.as_ref()?;
        hidden.iter().rev().find(|hidden| is_hidden_of(identity, hidden))
    }

    /// The innermost context with a scope of a tracer that this scope hides.
    fn outer(&self, identity: &Identity) -> Option<&Context> {
        let hidden = self.place.hidden.as_ref()?;
        hidden.iter().rev().find(|hidden| own_scope(identity, hidden).is_some())
    }

    fn in_session(&self, session: SessionScope) -> Arc<Place> {
        Arc::new(Place {
            session: Some(session),
            ..Place::clone(&self.place)
        })
    }
}

/// The current context of the thread.
#[expect(clippy::disallowed_methods, reason = "this module owns the current context")]
pub(crate) fn current() -> Context {
    Context::current()
}

/// The current context of the thread, or another one where nothing at all is current.
pub(crate) fn current_or(other: Context) -> Context {
    let now = current();
    let says_something = now.has_active_span() || now.get::<Scope>().is_some() || now.is_telemetry_suppressed();
    if says_something { now } else { other }
}

/// Makes a context the current one of the thread until the guard is dropped.
pub(crate) fn attach(cx: Context) -> ContextGuard {
    cx.attach()
}

/// Makes all telemetry of this thread come to nothing, for the rest of its life.
pub(crate) fn suppress_on_this_thread() {
    std::mem::forget(Context::enter_telemetry_suppressed_scope());
}

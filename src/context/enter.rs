//! How a scope is entered, and what it hides.

use std::borrow::Cow;
use std::sync::Arc;

use opentelemetry::Context;
use opentelemetry::baggage::{Baggage, BaggageExt};
use opentelemetry::trace::{Span, SpanContext, TraceContextExt};

use super::scope::{
    ContextScope, Owner, ScopeEntry, SessionScope, is_foreign, is_hidden_of, own_active, own_context, own_scope,
};
use super::{Identity, Root};

/// How many hidden scopes of other tracers a scope remembers. Beyond that it forgets the ones that were hidden first.
const MAX_HIDDEN: usize = 32;

/// A context in which code runs for a tracer, made from the one it is entered from.
///
/// Inside the same tracer's scope everything stays, with another session if one is given. Inside another tracer's scope, or under
/// another tracer's span, that context is hidden as a whole, with its span, its baggage and all else in it. The innermost context of
/// this tracer, if there is one, is continued.
pub(crate) fn enter(owner: &Owner, session: Option<SessionScope>, from: &Context) -> Context {
    let identity = &*owner.identity;
    let own = own_scope(identity, from);
    let in_other_scope = own.is_none() && from.get::<ContextScope>().is_some();
    let entered = if in_other_scope || is_foreign(identity, from) {
        enter_over(owner, session, own, from)
    } else {
        let active = own_active(identity, from);
        match own {
            Some(own)
                if session.is_none()
                    && !own.entry.is_by_default
                    && !own.is_over()
                    && (active.is_none() || active == own.span) =>
            {
                return from.clone();
            }
            Some(own) => {
                let is_by_default = own.entry.is_by_default;
                let from = if is_by_default {
                    without_baggage(from)
                } else {
                    Cow::Borrowed(from)
                };
                from.with_value(ContextScope {
                    entry: own.entered(session),
                    span: active.or_else(|| own.span.clone()),
                    root: own.open_root(),
                })
            }
            None => without_baggage(from).with_value(ContextScope {
                entry: Arc::new(ScopeEntry {
                    owner: owner.clone(),
                    session,
                    hidden: None,
                    is_by_default: false,
                }),
                span: active,
                root: None,
            }),
        }
    };
    if from.is_telemetry_suppressed() {
        entered.with_telemetry_suppressed()
    } else {
        entered
    }
}

/// A context without the baggage that was set in it. Baggage that was set in no scope has no owner; kept, it would become that of the first
/// tracer that is entered.
fn without_baggage(cx: &Context) -> Cow<'_, Context> {
    if cx.baggage().is_empty() {
        Cow::Borrowed(cx)
    } else {
        Cow::Owned(cx.with_baggage(Baggage::new()))
    }
}

/// A context with a span of the tracer current in its scope, and the root that the span is, if it is the first one there.
pub(crate) fn with_own_span(
    entered: &Context,
    span: impl Span + Send + Sync + 'static,
) -> (Context, Option<Arc<Root>>) {
    let is_first = entered.get::<ContextScope>().is_some_and(|scope| scope.root.is_none());
    let root: Option<Arc<Root>> = is_first.then(Arc::default);
    (
        remembering(entered, span.span_context(), root.as_ref()).with_span(span),
        root,
    )
}

/// A context of a span that has another root, for all that is made in it.
#[cfg(feature = "tower")]
pub(crate) fn with_root(cx: &Context, root: &Arc<Root>) -> Context {
    match cx.get::<ContextScope>() {
        Some(scope) => cx.with_value(ContextScope {
            root: Some(Arc::clone(root)),
            ..scope.clone()
        }),
        None => cx.clone(),
    }
}

/// A context with a remote span current in the scope of a tracer that trusts it.
pub(crate) fn with_trusted_span(entered: &Context, span: SpanContext) -> Context {
    remembering(entered, &span, None).with_remote_span_context(span)
}

/// A context whose scope remembers a span of its tracer, and its root, if that is another one.
fn remembering(entered: &Context, span: &SpanContext, root: Option<&Arc<Root>>) -> Context {
    match entered.get::<ContextScope>() {
        Some(scope) if span.is_valid() => entered.with_value(ContextScope {
            entry: Arc::clone(&scope.entry),
            span: Some(span.clone()),
            root: root.or(scope.root.as_ref()).cloned(),
        }),
        _ => entered.clone(),
    }
}

/// A context with another session in the scope of a tracer.
pub(crate) fn with_session(entered: &Context, session: SessionScope) -> Context {
    match entered.get::<ContextScope>() {
        Some(scope) => entered.with_value(ContextScope {
            entry: scope.entered(Some(session)),
            ..scope.clone()
        }),
        None => entered.clone(),
    }
}

/// The same scope with other baggage. Its scope is a value of its own, by which it is known where it is made current.
pub(crate) fn with_baggage(entered: &Context, baggage: Baggage) -> Context {
    let cx = entered.with_baggage(baggage);
    match entered.get::<ContextScope>() {
        Some(scope) => cx.with_value(scope.clone()),
        None => cx,
    }
}

/// Enters over something of another tracer: its scope, or a span of it that was made current by hand in or outside our own scope.
fn enter_over(owner: &Owner, session: Option<SessionScope>, own: Option<&ContextScope>, from: &Context) -> Context {
    let identity = &*owner.identity;
    let outer = own_context(identity, from);
    let before = outer.and_then(|outer| own_scope(identity, outer));
    // A span of ours that was made current by hand in another tracer's scope; the id is all that is taken from there.
    let by_hand = own_active(identity, from).or_else(|| {
        let hidden = from.get::<ContextScope>()?.hidden(identity)?;
        let bare = hidden.get::<ContextScope>().is_none();
        bare.then(|| hidden.span().span_context().clone())
    });
    // The span that is active in our own context further out: where it was made current by hand, the scope there does not remember it.
    let in_outer = outer.and_then(|outer| own_active(identity, outer));
    let scope = ContextScope {
        entry: Arc::new(ScopeEntry {
            owner: owner.clone(),
            session: session.or_else(|| before?.entry.session.clone()),
            hidden: hide(identity, from),
            is_by_default: false,
        }),
        span: by_hand.clone().or(in_outer).or_else(|| before?.span.clone()),
        root: before.and_then(ContextScope::open_root),
    };
    if own.is_some() {
        // Our own scope, under a span of another tracer.
        return with_span_of(from, scope);
    }
    // Our own context further out, with its span and its baggage, if there is one.
    let entered = outer.cloned().unwrap_or_default().with_value(scope);
    match by_hand {
        Some(span) => entered.with_remote_span_context(span),
        None => entered,
    }
}

/// What a scope of `identity` hides when it is entered over a context of another tracer.
fn hide(identity: &Identity, from: &Context) -> Option<Box<[Context]>> {
    let outer = from.get::<ContextScope>();
    let before = outer
        .and_then(|outer| outer.entry.hidden.as_deref())
        .unwrap_or_default();
    let mut hidden: Vec<Context> = before
        .iter()
        .filter(|hidden| !is_hidden_of(identity, hidden))
        .cloned()
        .collect();
    let other = outer.filter(|outer| !outer.is_of(identity));
    if let Some(other) = other {
        // Kept without what it hides itself: the list stays flat, so that dropping it is not recursive.
        let scope = ContextScope {
            entry: Arc::new(ScopeEntry {
                hidden: None,
                ..ScopeEntry::clone(&other.entry)
            }),
            ..other.clone()
        };
        hidden.push(if is_foreign(other.identity(), from) {
            with_span_of(from, scope)
        } else {
            from.with_value(scope)
        });
    }
    if is_foreign(identity, from) && other.is_none_or(|other| is_foreign(other.identity(), from)) {
        // No scope has this span in it. Only its id is kept, for the tracer that made it.
        let span = from.span().span_context().clone();
        hidden.push(Context::new().with_remote_span_context(span));
    }
    let excess = hidden.len().saturating_sub(MAX_HIDDEN);
    hidden.drain(..excess);
    (!hidden.is_empty()).then(|| hidden.into())
}

/// A context with another scope, and the span that the scope remembers in place of the one that is active.
fn with_span_of(cx: &Context, scope: ContextScope) -> Context {
    if let Some(span) = scope.span.clone() {
        return cx.with_value(scope).with_remote_span_context(span);
    }
    // A span cannot be removed from a context, so the context is built anew.
    let bare = Context::new().with_value(scope);
    if cx.baggage().is_empty() {
        bare
    } else {
        bare.with_baggage(copied(cx.baggage()))
    }
}

/// A context whose scope was not entered: that of a span that was made in no scope, which its tracer got as the default.
#[cfg(feature = "tracing")]
pub(crate) fn by_default(cx: &Context) -> Context {
    let Some(scope) = cx.get::<ContextScope>() else {
        return cx.clone();
    };
    cx.with_value(ContextScope {
        entry: Arc::new(ScopeEntry {
            is_by_default: true,
            ..ScopeEntry::clone(&scope.entry)
        }),
        ..scope.clone()
    })
}

/// The scope of a context, with its session and its baggage, and no span of its tracer: what is started there is a root.
#[cfg(feature = "tracing")]
pub(crate) fn rooted(cx: &Context) -> Context {
    let Some(scope) = cx.get::<ContextScope>() else {
        return Context::new();
    };
    let hidden = scope.entry.hidden.iter().flatten();
    let hidden = hidden.filter(|hidden| !is_hidden_of(scope.identity(), hidden));
    let hidden: Box<[Context]> = hidden.cloned().collect();
    let entry = ScopeEntry {
        hidden: (!hidden.is_empty()).then_some(hidden),
        ..ScopeEntry::clone(&scope.entry)
    };
    with_span_of(
        cx,
        ContextScope {
            entry: Arc::new(entry),
            span: None,
            // A root of its own, but not out of a scope that is over.
            root: scope.root.clone().filter(|root| root.is_scope_over()),
        },
    )
}

/// The same baggage once more.
fn copied(baggage: &Baggage) -> Baggage {
    let entries = baggage.iter();
    entries
        .map(|(key, (value, metadata))| (key.clone(), (value.clone(), metadata.clone())))
        .collect()
}

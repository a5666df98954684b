//! Entering a scope, and hiding the context it is entered over.

use std::borrow::Cow;
use std::sync::Arc;

use opentelemetry::Context;
use opentelemetry::baggage::{Baggage, BaggageExt};
use opentelemetry::trace::{Span, SpanContext, TraceContextExt};

use super::inherited::ScopedContext;
use super::scope::{
    ContextScope, Owner, ScopeEntry, SessionScope, is_foreign, is_hidden_of, own_active, own_context, own_scope,
};
use super::{Identity, Root};

/// Maximum number of hidden contexts that a scope keeps. Beyond that the oldest are forgotten.
const MAX_HIDDEN: usize = 32;

/// A context that a tracer entered.
///
/// Puts the scope into the context last, together with the span if there is one, because
/// OpenTelemetry copies all values of a context to add one.
pub(crate) struct Entered<'cx> {
    base: Cow<'cx, Context>,
    /// `None` if `base` has it.
    scope: Option<ContextScope>,
}

/// Enters the scope of a tracer from a context.
///
/// Inside a scope of the same tracer, keeps the context and replaces the session if one is given.
/// Inside another tracer's scope or under another tracer's span, hides that whole context,
/// including its span and baggage, and continues this tracer's innermost context, if any.
pub(crate) fn enter<'cx>(
    identity: &Identity,
    owner: impl FnOnce() -> Owner,
    session: Option<SessionScope>,
    from: &'cx Context,
) -> Entered<'cx> {
    let scope = from.get::<ContextScope>();
    let own = scope.filter(|scope| scope.is_of(identity));
    let in_other_scope = own.is_none() && scope.is_some();
    let mut entered = if in_other_scope || is_foreign(identity, from) {
        enter_over(owner(), session, own, from)
    } else {
        match own {
            Some(own)
                if session.is_none() && !own.entry.is_by_default && !own.is_over() && own.remembers_active(from) =>
            {
                return Entered {
                    base: Cow::Borrowed(from),
                    scope: None,
                };
            }
            Some(own) => Entered {
                base: if own.entry.is_by_default {
                    without_baggage(from)
                } else {
                    Cow::Borrowed(from)
                },
                scope: Some(ContextScope {
                    entry: own.entered(session),
                    span: own_active(identity, from).or_else(|| own.span.clone()),
                    root: own.open_root(),
                }),
            },
            None => Entered {
                base: without_baggage(from),
                scope: Some(ContextScope {
                    entry: Arc::new(ScopeEntry {
                        owner: owner(),
                        session,
                        hidden: None,
                        is_by_default: false,
                    }),
                    span: own_active(identity, from),
                    root: None,
                }),
            },
        }
    };
    if from.is_telemetry_suppressed() && !entered.base.is_telemetry_suppressed() {
        entered.base = Cow::Owned(entered.base.with_telemetry_suppressed());
    }
    entered
}

impl Entered<'_> {
    /// Returns the context to start a span of the tracer in.
    pub(crate) fn for_span(&self) -> ScopedContext<'_> {
        match &self.scope {
            Some(scope) => ScopedContext::new(&self.base, scope),
            None => ScopedContext::from(&*self.base),
        }
    }

    /// Replaces the session of the scope.
    pub(crate) fn set_session(&mut self, session: SessionScope) {
        if let Some(scope) = self.for_span().scope {
            self.scope = Some(ContextScope {
                entry: scope.entered(Some(session)),
                ..scope.clone()
            });
        }
    }

    pub(crate) fn into_context(self) -> Context {
        match self.scope {
            Some(scope) => self.base.with_value(scope),
            None => self.base.into_owned(),
        }
    }

    /// Returns a context with a span of the tracer current in its scope. Also returns the scope's
    /// new root if the span is the first one there.
    pub(crate) fn with_span(self, span: impl Span + Send + Sync + 'static) -> (Context, Option<Arc<Root>>) {
        let Some(scope) = self.scope.as_ref().or_else(|| self.base.get::<ContextScope>()) else {
            return (self.base.with_span(span), None);
        };
        let root: Option<Arc<Root>> = scope.root.is_none().then(Arc::default);
        let context = span.span_context();
        if !context.is_valid() {
            return (self.into_context().with_span(span), root);
        }
        let remembered = Some(context.clone());
        let scope = match self.scope {
            Some(scope) => ContextScope {
                span: remembered,
                root: root.clone().or(scope.root),
                ..scope
            },
            None => scope.remembering(remembered, root.as_ref()),
        };
        (self.base.with_value(scope).with_span(span), root)
    }
}

/// Returns the context without its baggage. Baggage set outside any scope has no owner; keeping it
/// would give it to the first tracer entered.
fn without_baggage(cx: &Context) -> Cow<'_, Context> {
    if cx.baggage().is_empty() {
        Cow::Borrowed(cx)
    } else {
        Cow::Owned(cx.with_baggage(Baggage::new()))
    }
}

/// Replaces the root of a span's context, for everything created in it.
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

/// Returns a context with a remote span current in the scope of a tracer that trusts it.
pub(crate) fn with_trusted_span(entered: &Context, span: SpanContext) -> Context {
    match entered.get::<ContextScope>() {
        Some(scope) if span.is_valid() => entered.with_value(scope.remembering(Some(span.clone()), None)),
        _ => entered.clone(),
    }
    .with_remote_span_context(span)
}

/// Replaces the baggage of a context. Copies the scope value, because attachments are compared by
/// its address.
pub(crate) fn with_baggage(entered: &Context, baggage: Baggage) -> Context {
    let cx = entered.with_baggage(baggage);
    match entered.get::<ContextScope>() {
        Some(scope) => cx.with_value(scope.clone()),
        None => cx,
    }
}

/// Enters over another tracer's context: its scope, or its span made current manually inside or
/// outside the own scope.
fn enter_over(
    owner: Owner,
    session: Option<SessionScope>,
    own: Option<&ContextScope>,
    from: &Context,
) -> Entered<'static> {
    let identity = &*Arc::clone(&owner.identity);
    let outer = own_context(identity, from);
    let before = outer.and_then(|outer| own_scope(identity, outer));
    // The own span made current manually in another tracer's scope. Only its id is taken from
    // there.
    let manual = own_active(identity, from).or_else(|| {
        let hidden = from.get::<ContextScope>()?.hidden(identity)?;
        let bare = hidden.get::<ContextScope>().is_none();
        bare.then(|| hidden.span().span_context().clone())
    });
    // The active span of the own outer context. If it was made current manually, the scope there
    // does not remember it.
    let in_outer = outer.and_then(|outer| own_active(identity, outer));
    let scope = ContextScope {
        entry: Arc::new(ScopeEntry {
            owner,
            session: session.or_else(|| before?.entry.session.clone()),
            hidden: hide(identity, from),
            is_by_default: false,
        }),
        span: manual.clone().or(in_outer).or_else(|| before?.span.clone()),
        root: before.and_then(ContextScope::open_root),
    };
    if own.is_some() {
        // The own scope, under a span of another tracer.
        return Entered {
            base: Cow::Owned(with_span_of(from, &scope)),
            scope: Some(scope),
        };
    }
    // Continue the own outer context, with its span and baggage, if there is one.
    let base = outer.cloned().unwrap_or_default();
    let base = match manual {
        Some(span) => base.with_remote_span_context(span),
        None => base,
    };
    Entered {
        base: Cow::Owned(base),
        scope: Some(scope),
    }
}

/// Returns the contexts that a scope of `identity` hides when it is entered over another tracer's
/// context.
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
        // Without the contexts it hides itself: the list stays flat, so dropping it does not
        // recurse.
        let scope = ContextScope {
            entry: Arc::new(ScopeEntry {
                hidden: None,
                ..ScopeEntry::clone(&other.entry)
            }),
            ..other.clone()
        };
        hidden.push(if is_foreign(other.identity(), from) {
            with_span_of(from, &scope).with_value(scope)
        } else {
            from.with_value(scope)
        });
    }
    if is_foreign(identity, from) && other.is_none_or(|other| is_foreign(other.identity(), from)) {
        // The active span is in no scope. Keep only its id, for the tracer that created it.
        let span = from.span().span_context().clone();
        hidden.push(Context::new().with_remote_span_context(span));
    }
    let excess = hidden.len().saturating_sub(MAX_HIDDEN);
    hidden.drain(..excess);
    (!hidden.is_empty()).then(|| hidden.into())
}

/// Replaces the active span of a context by the span that a scope remembers.
fn with_span_of(cx: &Context, scope: &ContextScope) -> Context {
    if let Some(span) = scope.span.clone() {
        return cx.with_remote_span_context(span);
    }
    // A span cannot be removed from a context, so build a new one.
    if cx.baggage().is_empty() {
        Context::new()
    } else {
        Context::new().with_baggage(copied(cx.baggage()))
    }
}

/// Marks the scope of a context as not entered: its span was created outside any scope and assigned
/// to the default tracer.
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

/// Returns the scope of a context with its session and baggage but without a span of its tracer: a
/// span started there is a root span.
#[cfg(feature = "tracing")]
pub(crate) fn without_parent(cx: &Context) -> Context {
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
    let scope = ContextScope {
        entry: Arc::new(entry),
        span: None,
        // Gets a new root, unless the scope has ended.
        root: scope.root.clone().filter(|root| root.is_scope_over()),
    };
    with_span_of(cx, &scope).with_value(scope)
}

/// Copies the baggage.
fn copied(baggage: &Baggage) -> Baggage {
    let entries = baggage.iter();
    entries
        .map(|(key, (value, metadata))| (key.clone(), (value.clone(), metadata.clone())))
        .collect()
}

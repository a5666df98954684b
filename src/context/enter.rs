//! Enters the scope of a tracer.
//!
//! - A tracer's *own* spans, scopes and contexts are those that it created or entered.
//! - If the current context has another tracer's scope or span, the new scope *hides* that context.
//!   It does not inherit the span and the baggage, but keeps the context, so that the other tracer
//!   can continue from it.
//! - A span made current *manually* was made current through OpenTelemetry's API, not by this
//!   crate, so no scope remembers it.
//! - The [`Root`] of a scope is the first span made current in it, such as a request's span. It
//!   records when that span ended. With `scope_ends_with_request(true)`, the end of that span also
//!   ends the scope.

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

/// Maximum number of hidden contexts that a scope keeps. Beyond that, the oldest are dropped.
const MAX_HIDDEN: usize = 32;

/// A context that a tracer entered.
///
/// The scope is separate until the context is built, so that scope and span are added together:
/// OpenTelemetry copies all values of a context each time one is added.
pub(crate) struct Entered<'cx> {
    base: Cow<'cx, Context>,
    /// `None` if `base` already contains the scope.
    scope: Option<ContextScope>,
}

/// Enters the scope of a tracer from a context.
///
/// - In a scope of the same tracer: keeps the context, and replaces the session if one is given.
/// - If the scope or the current span belongs to another tracer: hides `from`, and continues from
///   this tracer's innermost context, if any.
/// - Otherwise: removes the baggage of the context and adds the scope.
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

    /// Returns a context in which a span of the tracer is current. Also returns the scope's root if
    /// the span is the first one in the scope.
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

/// Returns the context without its baggage. Baggage set outside any scope belongs to no tracer, so
/// no tracer may inherit it.
fn without_baggage(cx: &Context) -> Cow<'_, Context> {
    if cx.baggage().is_empty() {
        Cow::Borrowed(cx)
    } else {
        Cow::Owned(cx.with_baggage(Baggage::new()))
    }
}

/// Returns `cx` with `root` as the root of its scope. Scopes and spans created in it inherit that
/// root.
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

/// Returns a context in which a remote span is current. The tracer of the scope must trust it.
pub(crate) fn with_trusted_span(entered: &Context, span: SpanContext) -> Context {
    match entered.get::<ContextScope>() {
        Some(scope) if span.is_valid() => entered.with_value(scope.remembering(Some(span.clone()), None)),
        _ => entered.clone(),
    }
    .with_remote_span_context(span)
}

/// Returns a context with other baggage. Also copies the scope, because `attach` tells contexts
/// apart by the address of the scope and would take the new context for `entered`.
pub(crate) fn with_baggage(entered: &Context, baggage: Baggage) -> Context {
    let cx = entered.with_baggage(baggage);
    match entered.get::<ContextScope>() {
        Some(scope) => cx.with_value(scope.clone()),
        None => cx,
    }
}

/// Enters a scope that hides a context: one in another tracer's scope, or one in which another
/// tracer's span was made current manually. `own` is the scope of `from` if this tracer owns it.
fn enter_over(
    owner: Owner,
    session: Option<SessionScope>,
    own: Option<&ContextScope>,
    from: &Context,
) -> Entered<'static> {
    let identity = &*Arc::clone(&owner.identity);
    let outer = own_context(identity, from);
    let before = outer.and_then(|outer| own_scope(identity, outer));
    // An own span that was made current manually in another tracer's scope. Only its id is used.
    let manual = own_active(identity, from).or_else(|| {
        let hidden = from.get::<ContextScope>()?.hidden(identity)?;
        let bare = hidden.get::<ContextScope>().is_none();
        bare.then(|| hidden.span().span_context().clone())
    });
    // The active own span of the outer context. The scope there does not remember it if it was made
    // current manually.
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
        // Keep the own scope's context, without the other tracer's span.
        return Entered {
            base: Cow::Owned(with_span_of(from, &scope)),
            scope: Some(scope),
        };
    }
    // Continue from the own outer context, with its span and baggage, if there is one.
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

/// Returns the contexts that a scope of `identity` hides if it is entered from `from`.
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
        // Drop `other`'s own list of hidden contexts. They are already in `hidden`, and a
        // nested list would make the drop recursive.
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
        // The active span was made current manually. Keep only its id, for the tracer that created
        // it.
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

/// Marks the scope of a context as the default tracer's. Use it for a span that was created outside
/// any scope and went to the default tracer: code in the span still counts as outside any scope.
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

/// Returns a context with the same scope, session and baggage, but without a span of the scope's
/// tracer. A span that the tracer starts in it begins a new trace.
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
        // The next span becomes the root, unless the scope has ended.
        root: scope.root.clone().filter(|root| root.is_scope_over()),
    };
    with_span_of(cx, &scope).with_value(scope)
}

/// Copies the baggage, because `Baggage` is not `Clone`.
fn copied(baggage: &Baggage) -> Baggage {
    let entries = baggage.iter();
    entries
        .map(|(key, (value, metadata))| (key.clone(), (value.clone(), metadata.clone())))
        .collect()
}

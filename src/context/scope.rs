//! The scope in a context, and which parts of a context belong to which tracer.

use std::any::Any;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use opentelemetry::trace::{SpanContext, TraceContextExt};
use opentelemetry::{Context, KeyValue};

use super::identity::Identity;
use super::outlived::Root;

/// The tracer that a scope belongs to. Two owners are the same tracer only if their identities are the same allocation.
#[derive(Clone)]
pub(crate) struct Owner {
    pub(crate) identity: Arc<Identity>,
    /// The tracer itself, for modules above that know its type. A scope keeps it alive.
    pub(crate) tracer: Arc<dyn Any + Send + Sync>,
}

/// What a session puts on the spans of its scope.
#[derive(Debug, Default)]
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
    /// The session itself, for modules above that know its type.
    pub(crate) session: Arc<dyn Any + Send + Sync>,
}

/// The scope in a context: "this code runs for that tracer, and that session".
#[derive(Clone)]
pub(super) struct ContextScope {
    /// Shared by the scopes of all spans that are made in it, so that making a span current costs one clone.
    pub(super) entry: Arc<ScopeEntry>,
    /// The innermost span of the tracer that this crate made current, for contexts in which another span lies over it.
    pub(super) span: Option<SpanContext>,
    /// The first of the spans that were made current in this scope, one inside the other.
    pub(super) root: Option<Arc<Root>>,
}

/// In a context: code in it was to run for a tracer that could not be resolved, or for none. No other tracer may take its place.
struct Untraced;

/// What was entered: a tracer, its session, and the contexts that this hides.
#[derive(Clone)]
pub(super) struct ScopeEntry {
    pub(super) owner: Owner,
    pub(super) session: Option<SessionScope>,
    /// The contexts that the scope hides, the one hidden last at the end: other tracers' scopes, and bare ids of spans that were made
    /// current by hand. None of them hides anything itself.
    pub(super) hidden: Option<Box<[Context]>>,
    /// Not entered: a span that was made in no scope went to its tracer as the default. Code in it still runs in no scope.
    pub(super) is_by_default: bool,
}

/// The scope of a context, if it is that of `identity`.
pub(super) fn own_scope<'cx>(identity: &Identity, cx: &'cx Context) -> Option<&'cx ContextScope> {
    cx.get::<ContextScope>().filter(|scope| scope.is_of(identity))
}

/// The innermost context with a scope of `identity`: this one, or one that it hides. A span that was made current by hand further in has
/// no scope, and hides none.
pub(super) fn own_context<'cx>(identity: &Identity, cx: &'cx Context) -> Option<&'cx Context> {
    let scope = cx.get::<ContextScope>()?;
    if scope.is_of(identity) {
        return Some(cx);
    }
    scope.outer(identity)
}

/// The active span, if `identity` made it.
pub(super) fn own_active(identity: &Identity, cx: &Context) -> Option<SpanContext> {
    identity
        .may_continue(cx, false)
        .then(|| cx.span().span_context().clone())
}

/// Whether a local span that `identity` did not make is active.
pub(super) fn is_foreign(identity: &Identity, cx: &Context) -> bool {
    let active = cx.span();
    let active = active.span_context();
    active.is_valid() && !active.is_remote() && !identity.made(active.span_id())
}

/// Returns the tracer and the session that code in a context runs for. `None` if the context has no scope but that of a span that was
/// made outside any, and if its scope ended with its request.
pub(crate) fn scope_of(cx: &Context) -> Option<(&Owner, Option<&SessionScope>)> {
    let scope = entered_scope(cx).filter(|scope| !scope.is_over())?;
    Some((&scope.entry.owner, scope.entry.session.as_ref()))
}

pub(super) fn entered_scope(cx: &Context) -> Option<&ContextScope> {
    cx.get::<ContextScope>().filter(|scope| !scope.entry.is_by_default)
}

/// Returns the tracer that the spans of a context belong to: the one that code in it runs for, else the default.
#[cfg(feature = "tracing")]
pub(crate) fn owner_of(cx: &Context) -> Option<&Owner> {
    let scope = cx.get::<ContextScope>().filter(|scope| !scope.is_over())?;
    Some(&scope.entry.owner)
}

/// Returns whether the scope of a context ended with its request.
pub(crate) fn is_over(cx: &Context) -> bool {
    cx.get::<ContextScope>().is_some_and(ContextScope::is_over)
}

/// Returns whether code in one context runs for another tracer than the one that the other context's spans belong to.
#[cfg(feature = "tracing")]
pub(crate) fn is_in_other_scope(one: &Context, other: &Context) -> bool {
    let scopes = entered_scope(one).zip(other.get::<ContextScope>());
    scopes.is_some_and(|(one, other)| !one.is_of(other.identity()))
}

/// Returns a context in no scope, for work that must not be traced: what is made in it goes to no tracer, not to a default either.
pub(crate) fn untraced(from: &Context) -> Context {
    let untraced = Context::new().with_value(Untraced);
    if from.is_telemetry_suppressed() {
        untraced.with_telemetry_suppressed()
    } else {
        untraced
    }
}

/// Returns whether a context is in no scope, and what is made in it must not go to a default.
pub(crate) fn is_untraced(cx: &Context) -> bool {
    match cx.get::<ContextScope>() {
        Some(scope) => scope.is_over(),
        None => cx.get::<Untraced>().is_some(),
    }
}

/// Returns whether a context names a tracer, or that there is to be none.
pub(super) fn is_decided(cx: &Context) -> bool {
    cx.get::<ContextScope>().is_some() || cx.get::<Untraced>().is_some()
}

impl SessionStamp {
    pub(crate) fn new(attributes: Vec<KeyValue>) -> Self {
        Self {
            attributes,
            ended: AtomicBool::new(false),
        }
    }

    /// The attributes of a span that is started now, if it is to carry any.
    pub(crate) fn carried(&self) -> Option<&[KeyValue]> {
        // Relaxed: a span that is started at the moment of the session's end may fall on either side of it.
        let carried = !self.attributes.is_empty() && !self.ended.load(Ordering::Relaxed);
        carried.then_some(&self.attributes)
    }
}

impl ContextScope {
    pub(super) fn identity(&self) -> &Identity {
        &self.entry.owner.identity
    }

    pub(super) fn is_of(&self, identity: &Identity) -> bool {
        std::ptr::eq(self.identity(), identity)
    }

    /// Returns whether it ended with its request.
    pub(super) fn is_over(&self) -> bool {
        self.root.as_ref().is_some_and(|root| root.is_scope_over())
    }

    /// The root of this scope if it is entered once more: one whose scope is over is left behind.
    pub(super) fn open_root(&self) -> Option<Arc<Root>> {
        self.root.clone().filter(|root| !root.is_scope_over())
    }

    /// The innermost context of a tracer, or with a span of it, that this scope hides.
    pub(super) fn hidden(&self, identity: &Identity) -> Option<&Context> {
        let hidden = self.entry.hidden.as_ref()?;
        hidden.iter().rev().find(|hidden| is_hidden_of(identity, hidden))
    }

    /// The innermost context with a scope of a tracer that this scope hides.
    pub(super) fn outer(&self, identity: &Identity) -> Option<&Context> {
        let hidden = self.entry.hidden.as_ref()?;
        hidden.iter().rev().find(|hidden| own_scope(identity, hidden).is_some())
    }

    /// What is entered when this scope is entered again, in another session if one is given.
    pub(super) fn entered(&self, session: Option<SessionScope>) -> Arc<ScopeEntry> {
        if session.is_none() && !self.entry.is_by_default {
            return Arc::clone(&self.entry);
        }
        Arc::new(ScopeEntry {
            session: session.or_else(|| self.entry.session.clone()),
            is_by_default: false,
            ..ScopeEntry::clone(&self.entry)
        })
    }
}

/// Returns whether a hidden context belongs to a tracer: by its scope or, if it has none, by its span.
pub(super) fn is_hidden_of(identity: &Identity, hidden: &Context) -> bool {
    match hidden.get::<ContextScope>() {
        Some(scope) => scope.is_of(identity),
        None => identity.made(hidden.span().span_context().span_id()),
    }
}

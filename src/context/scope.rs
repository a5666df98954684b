//! The scope stored in a context, and which parts of a context belong to which tracer.

use std::any::Any;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use opentelemetry::trace::{SpanContext, TraceContextExt};
use opentelemetry::{Context, KeyValue};

use super::identity::Identity;
use super::stale_scopes::Root;

/// The tracer of a scope. Compared by the address of its identity.
#[derive(Clone)]
pub(crate) struct Owner {
    pub(crate) identity: Arc<Identity>,
    /// The tracer itself, for the modules that know its type. A scope keeps it alive.
    pub(crate) tracer: Arc<dyn Any + Send + Sync>,
}

/// Attributes that a session adds to the spans of its scope.
#[derive(Debug, Default)]
pub(crate) struct SessionStamp {
    /// The session's id first, then backend-specific attributes. Empty if spans take their session
    /// from their trace.
    pub(crate) attributes: Vec<KeyValue>,
    /// Set when the session ends. Spans started later do not carry the attributes.
    pub(crate) ended: AtomicBool,
}

/// The session of a scope.
#[derive(Clone)]
pub(crate) struct SessionScope {
    pub(crate) stamp: Arc<SessionStamp>,
    /// The session itself, for the modules that know its type.
    pub(crate) session: Arc<dyn Any + Send + Sync>,
}

/// The scope in a context: the tracer and session that code runs for.
#[derive(Clone)]
pub(super) struct ContextScope {
    /// Shared by the scopes of all spans created in it, so that making a span current costs one
    /// clone.
    pub(super) entry: Arc<ScopeEntry>,
    /// The tracer's innermost span made current by this crate, for contexts in which another span
    /// is active.
    pub(super) span: Option<SpanContext>,
    /// The outermost of the nested spans made current in this scope.
    pub(super) root: Option<Arc<Root>>,
}

/// Marks a context as untraced: its tracer could not be resolved, or none is wanted. No other
/// tracer may take its place.
struct Untraced;

/// An entered scope: the tracer, its session, and the contexts it hides.
#[derive(Clone)]
pub(super) struct ScopeEntry {
    pub(super) owner: Owner,
    pub(super) session: Option<SessionScope>,
    /// The hidden contexts, innermost last: scopes of other tracers, and ids of spans made current
    /// manually. None of them hides anything itself.
    pub(super) hidden: Option<Box<[Context]>>,
    /// The scope was not entered: a span created outside any scope went to the default tracer. Code
    /// in it still runs outside any scope.
    pub(super) is_by_default: bool,
}

/// Returns the scope of a context if it belongs to `identity`.
pub(super) fn own_scope<'cx>(identity: &Identity, cx: &'cx Context) -> Option<&'cx ContextScope> {
    cx.get::<ContextScope>().filter(|scope| scope.is_of(identity))
}

/// Returns the innermost context with a scope of `identity`: this one or one it hides. A span made
/// current manually has no scope and hides none.
pub(super) fn own_context<'cx>(identity: &Identity, cx: &'cx Context) -> Option<&'cx Context> {
    let scope = cx.get::<ContextScope>()?;
    if scope.is_of(identity) {
        return Some(cx);
    }
    scope.outer(identity)
}

/// Returns the active span if `identity` created it.
pub(super) fn own_active(identity: &Identity, cx: &Context) -> Option<SpanContext> {
    identity
        .may_continue(cx, false)
        .then(|| cx.span().span_context().clone())
}

/// Whether the active span is local and not created by `identity`.
pub(super) fn is_foreign(identity: &Identity, cx: &Context) -> bool {
    let active = cx.span();
    let active = active.span_context();
    active.is_valid() && !active.is_remote() && !identity.made(active.span_id())
}

/// Returns the tracer and the session that code in a context runs for. `None` if the context has no
/// entered scope, or its scope ended with its request.
pub(crate) fn scope_of(cx: &Context) -> Option<(&Owner, Option<&SessionScope>)> {
    let scope = entered_scope(cx).filter(|scope| !scope.is_over())?;
    Some((&scope.entry.owner, scope.entry.session.as_ref()))
}

pub(super) fn entered_scope(cx: &Context) -> Option<&ContextScope> {
    cx.get::<ContextScope>().filter(|scope| !scope.entry.is_by_default)
}

/// Returns the tracer that receives the spans of a context: its scope's, or the default one.
#[cfg(feature = "tracing")]
pub(crate) fn owner_of(cx: &Context) -> Option<&Owner> {
    let scope = cx.get::<ContextScope>().filter(|scope| !scope.is_over())?;
    Some(&scope.entry.owner)
}

/// Whether the scope of a context ended with its request.
pub(crate) fn is_over(cx: &Context) -> bool {
    cx.get::<ContextScope>().is_some_and(ContextScope::is_over)
}

/// Whether code in context `one` runs for another tracer than the one that receives the spans of
/// `other`.
#[cfg(feature = "tracing")]
pub(crate) fn is_in_other_scope(one: &Context, other: &Context) -> bool {
    let scopes = entered_scope(one).zip(other.get::<ContextScope>());
    scopes.is_some_and(|(one, other)| !one.is_of(other.identity()))
}

/// Returns an untraced context: spans created in it go to no tracer, not even a default.
pub(crate) fn untraced(from: &Context) -> Context {
    let untraced = Context::new().with_value(Untraced);
    if from.is_telemetry_suppressed() {
        untraced.with_telemetry_suppressed()
    } else {
        untraced
    }
}

/// Whether a context is untraced: spans created in it go to no tracer, not even a default.
pub(crate) fn is_untraced(cx: &Context) -> bool {
    match cx.get::<ContextScope>() {
        Some(scope) => scope.is_over(),
        None => cx.get::<Untraced>().is_some(),
    }
}

/// Whether a context has a scope or is marked untraced.
pub(super) fn is_scoped_or_untraced(cx: &Context) -> bool {
    cx.get::<ContextScope>().is_some() || cx.get::<Untraced>().is_some()
}

impl SessionStamp {
    pub(crate) fn new(attributes: Vec<KeyValue>) -> Self {
        Self {
            attributes,
            ended: AtomicBool::new(false),
        }
    }

    /// Returns the attributes for a span started now. `None` if there are none or the session has
    /// ended.
    pub(crate) fn carried(&self) -> Option<&[KeyValue]> {
        // Relaxed: a span that races with the session's end may or may not carry it.
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

    /// Returns whether the scope remembers the local span that is active in a context. Also true if
    /// no local span is active.
    pub(super) fn remembers_active(&self, cx: &Context) -> bool {
        let active = cx.span();
        let active = active.span_context();
        !active.is_valid() || active.is_remote() || self.span.as_ref() == Some(active)
    }

    /// Returns the scope with another innermost span, and with another root if one is given.
    pub(super) fn remembering(&self, span: Option<SpanContext>, root: Option<&Arc<Root>>) -> Self {
        Self {
            entry: Arc::clone(&self.entry),
            span,
            root: root.or(self.root.as_ref()).cloned(),
        }
    }

    /// Whether the scope ended with its request.
    pub(super) fn is_over(&self) -> bool {
        self.root.as_ref().is_some_and(|root| root.is_scope_over())
    }

    /// Returns the root for entering this scope again. `None` if the root's scope has ended.
    pub(super) fn open_root(&self) -> Option<Arc<Root>> {
        self.root.clone().filter(|root| !root.is_scope_over())
    }

    /// Returns the innermost hidden context with a scope or a span of a tracer.
    pub(super) fn hidden(&self, identity: &Identity) -> Option<&Context> {
        let hidden = self.entry.hidden.as_ref()?;
        hidden.iter().rev().find(|hidden| is_hidden_of(identity, hidden))
    }

    /// Returns the innermost hidden context with a scope of a tracer.
    pub(super) fn outer(&self, identity: &Identity) -> Option<&Context> {
        let hidden = self.entry.hidden.as_ref()?;
        hidden.iter().rev().find(|hidden| own_scope(identity, hidden).is_some())
    }

    /// Returns the entry for entering this scope again, with another session if one is given.
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

/// Whether a hidden context belongs to a tracer: by its scope, or without a scope by its span.
pub(super) fn is_hidden_of(identity: &Identity, hidden: &Context) -> bool {
    match hidden.get::<ContextScope>() {
        Some(scope) => scope.is_of(identity),
        None => identity.made(hidden.span().span_context().span_id()),
    }
}

//! Scopes as they are in a context, and what of a context is whose.

use std::any::Any;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use opentelemetry::trace::{SpanContext, TraceContextExt};
use opentelemetry::{Context, KeyValue};

use super::{Identity, Root, may_be_parent};

/// Whose scope it is. Two are the same tracer's only if their identities are the same allocation.
#[derive(Clone)]
pub(crate) struct Owner {
    pub(crate) identity: Arc<Identity>,
    /// The tracer itself, for those above who know what it is. A scope keeps it.
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
    /// The session itself, for those above who know what it is.
    pub(crate) session: Arc<dyn Any + Send + Sync>,
}

/// "This code runs for that tracer, and that session."
#[derive(Clone)]
pub(super) struct Scope {
    /// Shared by the scopes of all spans in one place, so that a span that is made current costs one clone.
    pub(super) place: Arc<Place>,
    /// The innermost span of the tracer that our own functions made current, for where somebody else's span lies over it.
    pub(super) span: Option<SpanContext>,
    /// The first of the spans that were made current in this scope, one inside the other.
    pub(super) root: Option<Arc<Root>>,
}

/// In a context: code in it was to run for a tracer that could not be had, or for none, so that no other one is to be found in its place.
pub(super) struct Nobodys;

/// Where a scope was entered, and for whom.
#[derive(Clone)]
pub(super) struct Place {
    pub(super) owner: Owner,
    pub(super) session: Option<SessionScope>,
    /// The contexts that the scope hides, the one hidden last at the end: other tracers' scopes, and bare ids of spans that somebody had
    /// made current by hand. None of them hides anything itself.
    pub(super) hidden: Option<Box<[Context]>>,
    /// Nobody entered it: a span that was made in no scope is its tracer's as the default. Code in it runs for nobody all the same.
    pub(super) is_by_default: bool,
}

/// The scope of a context, where it is that of `identity`.
pub(super) fn own_scope<'cx>(identity: &Identity, cx: &'cx Context) -> Option<&'cx Scope> {
    cx.get::<Scope>().filter(|scope| scope.is_of(identity))
}

/// The innermost context with a scope of `identity`: this one, or one that it hides. A span made current by hand further in has none,
/// and does not stand in its way.
pub(super) fn own_context<'cx>(identity: &Identity, cx: &'cx Context) -> Option<&'cx Context> {
    let scope = cx.get::<Scope>()?;
    if scope.is_of(identity) {
        return Some(cx);
    }
    scope.outer(identity)
}

/// The active span, where `identity` made it.
pub(super) fn own_active(identity: &Identity, cx: &Context) -> Option<SpanContext> {
    may_be_parent(identity, cx, false).then(|| cx.span().span_context().clone())
}

/// Whether a local span that `identity` did not make is active.
pub(super) fn is_foreign(identity: &Identity, cx: &Context) -> bool {
    let active = cx.span();
    let active = active.span_context();
    active.is_valid() && !active.is_remote() && !identity.made(active.span_id())
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

impl Scope {
    pub(super) fn identity(&self) -> &Identity {
        &self.place.owner.identity
    }

    pub(super) fn is_of(&self, identity: &Identity) -> bool {
        std::ptr::eq(self.identity(), identity)
    }

    /// Whether it ended with its request.
    pub(super) fn is_over(&self) -> bool {
        self.root.as_ref().is_some_and(|root| root.is_scope_over())
    }

    /// The root of this scope where it is entered once more: one whose scope is over is left behind.
    pub(super) fn open_root(&self) -> Option<Arc<Root>> {
        self.root.clone().filter(|root| !root.is_scope_over())
    }

    /// The innermost context of a tracer, or with a span of it, that this scope hides.
    pub(super) fn hidden(&self, identity: &Identity) -> Option<&Context> {
        let hidden = self.place.hidden.as_ref()?;
        hidden.iter().rev().find(|hidden| is_hidden_of(identity, hidden))
    }

    /// The innermost context with a scope of a tracer that this scope hides.
    pub(super) fn outer(&self, identity: &Identity) -> Option<&Context> {
        let hidden = self.place.hidden.as_ref()?;
        hidden.iter().rev().find(|hidden| own_scope(identity, hidden).is_some())
    }

    /// The place of this scope where somebody enters it, in a session where one is given.
    pub(super) fn entered(&self, session: Option<SessionScope>) -> Arc<Place> {
        if session.is_none() && !self.place.is_by_default {
            return Arc::clone(&self.place);
        }
        Arc::new(Place {
            session: session.or_else(|| self.place.session.clone()),
            is_by_default: false,
            ..Place::clone(&self.place)
        })
    }
}

/// Whether a hidden context is a tracer's: its scope, or, where there is none, a span of it.
pub(super) fn is_hidden_of(identity: &Identity, hidden: &Context) -> bool {
    match hidden.get::<Scope>() {
        Some(scope) => scope.is_of(identity),
        None => identity.made(hidden.span().span_context().span_id()),
    }
}

//! What a span inherits from the context it is started in: parent, session, baggage.

use std::borrow::Cow;

use opentelemetry::Context;
use opentelemetry::baggage::{Baggage, BaggageExt};
use opentelemetry::trace::TraceContextExt;

use super::identity::Identity;
use super::scope::{ContextScope, SessionScope, entered_scope, own_context};

/// A context with its scope, which is looked up once.
#[derive(Clone, Copy)]
pub(crate) struct ScopedContext<'cx> {
    cx: &'cx Context,
    pub(super) scope: Option<&'cx ContextScope>,
}

impl<'cx> From<&'cx Context> for ScopedContext<'cx> {
    fn from(cx: &'cx Context) -> Self {
        Self { cx, scope: cx.get() }
    }
}

impl<'cx> ScopedContext<'cx> {
    /// Uses `scope` in place of the scope in the context.
    pub(super) fn new(cx: &'cx Context, scope: &'cx ContextScope) -> Self {
        Self { cx, scope: Some(scope) }
    }

    pub(crate) fn context(self) -> &'cx Context {
        self.cx
    }

    /// Returns the context to start a span of `identity` in. Its active span is the parent. Empty
    /// for a new trace.
    ///
    /// Never contains an invalid span: the sampler treats that as an unsampled parent.
    pub(crate) fn parent(self, identity: &Identity, trust_remote: bool) -> Cow<'cx, Context> {
        // A remote span in another tracer's scope was received by that tracer. A tracer trusts only
        // remote spans it received itself.
        let trust_active = trust_remote && self.scope.is_none_or(|scope| scope.is_of(identity));
        if identity.may_continue(self.cx, trust_active) {
            return Cow::Borrowed(self.cx);
        }
        let Some(scope) = self.scope else {
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

    /// Returns the session of a span that `identity` starts here: the session of its innermost
    /// scope, if any.
    pub(crate) fn session(self, identity: &Identity) -> Option<&'cx SessionScope> {
        self.innermost(identity)?.entry.session.as_ref()
    }

    /// Whether this is the scope of a request that ended more than 60 s ago.
    pub(crate) fn is_stale(self, identity: &Identity) -> bool {
        let root = self.innermost(identity).and_then(|own| own.root.as_ref());
        root.is_some_and(|root| root.is_stale())
    }

    /// Returns the innermost scope of a tracer: this one, or one that it hides.
    fn innermost(self, identity: &Identity) -> Option<&'cx ContextScope> {
        let scope = self.scope?;
        if scope.is_of(identity) {
            return Some(scope);
        }
        scope.outer(identity)?.get()
    }
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

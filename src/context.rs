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

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use opentelemetry::baggage::{BaggageExt, KeyValueMetadata};
use opentelemetry::trace::{Span as _, SpanContext, SpanId, TraceContextExt, TraceId};
use opentelemetry::{Context, ContextGuard, KeyValue};
use opentelemetry_sdk::trace::{IdGenerator, RandomIdGenerator, Span};

/// How many hidden scopes of other tracers a scope remembers; the ones hidden first are forgotten beyond that.
const MAX_HIDDEN: usize = 32;

/// What makes a tracer's span ids its own. Two are the same only if they are the same allocation.
#[derive(Debug)]
pub(crate) struct Identity {
    key: [u64; 2],
    next: AtomicU32,
    traces: RandomIdGenerator,
}

/// The SDK's generator of ids for one tracer.
#[derive(Debug)]
pub(crate) struct SpanIds(pub(crate) Arc<Identity>);

/// What a session puts on the spans of its scope: its id first, then what the backend wants besides.
pub(crate) type SessionStamp = Arc<[KeyValue]>;

/// "This code runs for that tracer, and that session."
#[derive(Clone)]
struct Scope {
    identity: Arc<Identity>,
    session: Option<SessionStamp>,
    /// The innermost span of the tracer that our own functions made current, for where somebody else's span lies over it.
    span: Option<SpanContext>,
    /// What this scope hides, the one hidden last at the end; none of it hides anything itself.
    hidden: Option<Arc<[Hidden]>>,
}

/// A context of another tracer, over which a scope was entered.
#[derive(Clone)]
struct Hidden {
    /// The tracer of the scope that it is; `None` where there was but a span that somebody had made current by hand.
    owner: Option<Arc<Identity>>,
    cx: Context,
}

/// The parent of a span that is about to be started.
#[derive(Debug)]
pub(crate) enum Parent {
    /// The active span of the given context.
    Active,
    /// The active span of this context, which is hidden in the given one.
    Hidden(Context),
    /// A new trace.
    None,
}

impl Identity {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self {
            key: rand::random(),
            // A random start: ids of two processes in one trace rarely meet.
            next: AtomicU32::new(rand::random()),
            traces: RandomIdGenerator::default(),
        })
    }

    /// Whether this tracer made the id.
    pub(crate) fn made(&self, id: SpanId) -> bool {
        let id = u64::from_be_bytes(id.to_bytes());
        (id & u64::from(u32::MAX)) == self.check(id >> 32)
    }

    /// A count spread over all 32 bits, and its check. Not zero: that id would be invalid.
    fn next_id(&self) -> SpanId {
        loop {
            // Relaxed: only the count itself matters, no other memory hangs on it. Multiplying by an odd number is one to one, so ids do not
            // repeat before four thousand million spans.
            let count =
                self.next.fetch_add(1, Ordering::Relaxed).wrapping_mul(0x9E37_79B1) ^ (self.key[1] >> 32) as u32;
            let id = (u64::from(count) << 32) | self.check(u64::from(count));
            if id != 0 {
                return SpanId::from(id);
            }
        }
    }

    /// 32 bits that depend on the count and on both halves of the key (a multiply-mix of the kind hash tables use).
    fn check(&self, count: u64) -> u64 {
        let mut mixed = (count ^ self.key[0]).wrapping_mul(0xFF51_AFD7_ED55_8CCD);
        mixed = (mixed ^ (mixed >> 32) ^ self.key[1]).wrapping_mul(0xC4CE_B9FE_1A85_EC53);
        mixed >> 32
    }
}

impl IdGenerator for SpanIds {
    fn new_trace_id(&self) -> TraceId {
        self.0.traces.new_trace_id()
    }

    fn new_span_id(&self) -> SpanId {
        self.0.next_id()
    }
}

/// Chooses the parent of a span that `identity` starts in a context.
pub(crate) fn parent(identity: &Arc<Identity>, cx: &Context, trust_remote: bool) -> Parent {
    let may = |span: &SpanContext| {
        let own = if span.is_remote() {
            trust_remote
        } else {
            identity.made(span.span_id())
        };
        span.is_valid() && own
    };
    if may(cx.span().span_context()) {
        return Parent::Active;
    }
    if let Some(span) = own_scope(identity, cx).and_then(|scope| scope.span.as_ref()) {
        return Parent::Hidden(Context::new().with_remote_span_context(span.clone()));
    }
    match hidden(identity, cx) {
        Some(hidden) if may(hidden.span().span_context()) => Parent::Hidden(hidden.clone()),
        _ => Parent::None,
    }
}

/// The session of a span that `identity` starts in a context: that of its innermost scope, if any.
pub(crate) fn session<'cx>(identity: &Arc<Identity>, cx: &'cx Context) -> Option<&'cx SessionStamp> {
    own_scope(identity, cx)
        .or_else(|| hidden_scope(identity, cx))?
        .session
        .as_ref()
}

/// A context in which code runs for `identity`, made from the one it is entered from.
///
/// Inside the same tracer's scope everything stays, with another session where one is given. Inside another tracer's scope, or
/// under another tracer's span, that context is hidden as a whole, with its span, its baggage and all else in it, and the innermost
/// context of this tracer, if there is one, is continued.
pub(crate) fn enter(identity: &Arc<Identity>, session: Option<SessionStamp>, from: &Context) -> Context {
    let own = own_scope(identity, from);
    let in_other_scope = own.is_none() && from.get::<Scope>().is_some();
    let entered = if in_other_scope || is_foreign(identity, from) {
        enter_over(identity, session, own, from)
    } else {
        from.with_value(Scope {
            identity: Arc::clone(identity),
            session: session.or_else(|| own.and_then(|own| own.session.clone())),
            span: own.and_then(|own| own.span.clone()),
            hidden: own.and_then(|own| own.hidden.clone()),
        })
    };
    if from.is_telemetry_suppressed() {
        entered.with_telemetry_suppressed()
    } else {
        entered
    }
}

/// A context with a span of `identity` current in its scope.
pub(crate) fn with_own_span(entered: &Context, span: Span) -> Context {
    let made = Some(span.span_context().clone()).filter(SpanContext::is_valid);
    match (made, entered.get::<Scope>()) {
        (Some(made), Some(scope)) => {
            let scope = Scope {
                span: Some(made),
                ..scope.clone()
            };
            entered.with_value(scope).with_span(span)
        }
        _ => entered.with_span(span),
    }
}

/// Enters over something of another tracer: its scope, or a span of it that somebody made current by hand in or outside our own.
fn enter_over(identity: &Arc<Identity>, session: Option<SessionStamp>, own: Option<&Scope>, from: &Context) -> Context {
    let inner = hidden(identity, from);
    let innermost = own.or_else(|| hidden_scope(identity, from));
    let active = from.span();
    let active = Some(active.span_context()).filter(|active| !active.is_remote() && identity.made(active.span_id()));
    let span = active.or_else(|| innermost?.span.as_ref()).cloned();
    let scope = Scope {
        identity: Arc::clone(identity),
        session: session.or_else(|| innermost.and_then(|scope| scope.session.clone())),
        span: span.clone(),
        hidden: hide(identity, from),
    };
    match (own, active, inner) {
        // Our own scope, under a span of somebody else's.
        (Some(_), _, _) => with_span_of(from, scope),
        // Our own context further out, with its span and its baggage.
        (None, None, Some(inner)) => inner.with_value(scope),
        // Our own span, made current by hand in another tracer's scope; or nothing of ours.
        (None, _, _) => {
            let bare = Context::new().with_value(scope);
            span.map_or(bare.clone(), |span| bare.with_remote_span_context(span))
        }
    }
}

/// The scope of a context, where it is that of `identity`.
fn own_scope<'cx>(identity: &Arc<Identity>, cx: &'cx Context) -> Option<&'cx Scope> {
    cx.get::<Scope>().filter(|scope| Arc::ptr_eq(&scope.identity, identity))
}

/// Whether a local span that `identity` did not make is active.
fn is_foreign(identity: &Identity, cx: &Context) -> bool {
    let active = cx.span();
    let active = active.span_context();
    active.is_valid() && !active.is_remote() && !identity.made(active.span_id())
}

/// The innermost hidden context of a tracer, or with a span of it.
fn hidden<'cx>(identity: &Arc<Identity>, cx: &'cx Context) -> Option<&'cx Context> {
    let hidden = cx.get::<Scope>()?.hidden.as_ref()?;
    hidden
        .iter()
        .rev()
        .find(|hidden| hidden.is_of(identity))
        .map(|hidden| &hidden.cx)
}

/// The innermost hidden scope of a tracer; a span made current by hand further in has none, and does not stand in its way.
fn hidden_scope<'cx>(identity: &Arc<Identity>, cx: &'cx Context) -> Option<&'cx Scope> {
    let hidden = cx.get::<Scope>()?.hidden.as_ref()?;
    hidden.iter().rev().find_map(|hidden| own_scope(identity, &hidden.cx))
}

/// What a scope of `identity` hides when it is entered over a context of another tracer.
fn hide(identity: &Arc<Identity>, from: &Context) -> Option<Arc<[Hidden]>> {
    let outer = from.get::<Scope>();
    let before = outer.and_then(|outer| outer.hidden.as_deref()).unwrap_or_default();
    let mut hidden: Vec<Hidden> = before
        .iter()
        .filter(|hidden| !hidden.is_of(identity))
        .cloned()
        .collect();
    let other = outer.filter(|outer| !Arc::ptr_eq(&outer.identity, identity));
    if let Some(other) = other {
        // Kept without what it hides itself: the list stays flat, so that dropping it is not recursive.
        let scope = Scope {
            hidden: None,
            ..other.clone()
        };
        let cx = if is_foreign(&other.identity, from) {
            with_span_of(from, scope)
        } else {
            from.with_value(scope)
        };
        hidden.push(Hidden {
            owner: Some(Arc::clone(&other.identity)),
            cx,
        });
    }
    if is_foreign(identity, from) && other.is_none_or(|other| is_foreign(&other.identity, from)) {
        // Nobody's scope has this span in it. Its id is kept, for a tracer that finds it to be its own, and nothing else that is current.
        let span = from.span().span_context().clone();
        hidden.push(Hidden {
            owner: None,
            cx: Context::new().with_remote_span_context(span),
        });
    }
    let excess = hidden.len().saturating_sub(MAX_HIDDEN);
    hidden.drain(..excess);
    (!hidden.is_empty()).then(|| hidden.into())
}

/// A context with another scope, and the span that the scope remembers in place of the one that is active.
fn with_span_of(cx: &Context, scope: Scope) -> Context {
    if let Some(span) = scope.span.clone() {
        return cx.with_value(scope).with_remote_span_context(span);
    }
    // A context cannot be freed of its span; it is built anew with what is known to belong in it.
    let bare = Context::new().with_value(scope);
    let baggage = cx.baggage().iter();
    let baggage: Vec<KeyValueMetadata> = baggage
        .map(|(key, (value, metadata))| KeyValueMetadata::new(key.clone(), value.clone(), metadata.clone()))
        .collect();
    if baggage.is_empty() {
        bare
    } else {
        bare.with_baggage(baggage)
    }
}

impl Hidden {
    fn is_of(&self, identity: &Arc<Identity>) -> bool {
        match &self.owner {
            Some(owner) => Arc::ptr_eq(owner, identity),
            None => identity.made(self.cx.span().span_context().span_id()),
        }
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

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
use opentelemetry::trace::{SpanId, TraceContextExt, TraceId};
use opentelemetry::{Context, ContextGuard, KeyValue};
use opentelemetry_sdk::trace::{IdGenerator, RandomIdGenerator};

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
    /// The contexts of other tracers that this scope hides, the one hidden last at the end; none has hidden ones of its own.
    hidden: Option<Hidden>,
}

type Hidden = Arc<[(Arc<Identity>, Context)]>;

/// The parent of a span that is about to be started.
#[derive(Debug)]
pub(crate) enum Parent {
    /// The active span of the given context.
    Active,
    /// The active span of a context that is hidden.
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
    let active = cx.span();
    let active = active.span_context();
    if active.is_valid() {
        let may = if active.is_remote() {
            trust_remote
        } else {
            identity.made(active.span_id())
        };
        if may {
            return Parent::Active;
        }
    }
    match hidden(identity, cx) {
        Some(hidden) if identity.made(hidden.span().span_context().span_id()) => Parent::Hidden(hidden.clone()),
        _ => Parent::None,
    }
}

/// The session of a span that `identity` starts in a context: that of its innermost scope, if any.
pub(crate) fn session<'cx>(identity: &Arc<Identity>, cx: &'cx Context) -> Option<&'cx SessionStamp> {
    let own = |cx: &'cx Context| cx.get::<Scope>().filter(|scope| Arc::ptr_eq(&scope.identity, identity));
    own(cx).or_else(|| hidden(identity, cx).and_then(own))?.session.as_ref()
}

/// A context in which code runs for `identity`, made from the one it is entered from.
///
/// Inside the same tracer's scope everything stays, with another session where one is given. Inside another tracer's scope, or
/// under another tracer's span, that context is hidden as a whole, with its span, its baggage and all else in it, and the innermost
/// context of this tracer, if there is one, is continued.
pub(crate) fn enter(identity: &Arc<Identity>, session: Option<SessionStamp>, from: &Context) -> Context {
    let outer = from.get::<Scope>();
    let active = from.span();
    let active = active.span_context();
    let foreign = active.is_valid() && !active.is_remote() && !identity.made(active.span_id());
    let in_own_scope = outer.is_none_or(|scope| Arc::ptr_eq(&scope.identity, identity));
    let entered = if in_own_scope && !foreign {
        let scope = Scope {
            identity: Arc::clone(identity),
            session: session.or_else(|| outer.and_then(|scope| scope.session.clone())),
            hidden: outer.and_then(|scope| scope.hidden.clone()),
        };
        from.with_value(scope)
    } else {
        let own = if in_own_scope { None } else { hidden(identity, from) };
        let inherited = if in_own_scope {
            outer
        } else {
            own.and_then(|own| own.get::<Scope>())
        };
        let scope = Scope {
            identity: Arc::clone(identity),
            session: session.or_else(|| inherited.and_then(|scope| scope.session.clone())),
            hidden: if in_own_scope {
                outer.and_then(|scope| scope.hidden.clone())
            } else {
                hide(identity, from)
            },
        };
        own.cloned().unwrap_or_default().with_value(scope)
    };
    if from.is_telemetry_suppressed() {
        entered.with_telemetry_suppressed()
    } else {
        entered
    }
}

/// The hidden context of a tracer.
fn hidden<'cx>(identity: &Arc<Identity>, cx: &'cx Context) -> Option<&'cx Context> {
    let hidden = cx.get::<Scope>()?.hidden.as_ref()?;
    hidden
        .iter()
        .find(|(owner, _)| Arc::ptr_eq(owner, identity))
        .map(|(_, cx)| cx)
}

/// What a scope of `identity` hides when it is entered from a context of another tracer's scope.
fn hide(identity: &Arc<Identity>, from: &Context) -> Option<Hidden> {
    let scope = from.get::<Scope>()?;
    // Kept without what it hides itself: the list stays flat, so that dropping it is not recursive.
    let mut kept = from.with_value(Scope {
        hidden: None,
        ..scope.clone()
    });
    if !scope.identity.made(from.span().span_context().span_id()) {
        // A third party made a span of somebody else active in here: it is not the owner's to come back to.
        kept = kept_without_span(scope, &kept);
    }
    let others = scope
        .hidden
        .iter()
        .flat_map(|hidden| hidden.iter())
        .filter(|(owner, _)| !Arc::ptr_eq(owner, identity));
    let mut hidden: Vec<_> = others.cloned().collect();
    hidden.push((Arc::clone(&scope.identity), kept));
    let excess = hidden.len().saturating_sub(MAX_HIDDEN);
    hidden.drain(..excess);
    Some(hidden.into())
}

fn kept_without_span(scope: &Scope, kept: &Context) -> Context {
    // A context cannot be freed of its span; it is built anew with what is known to belong in it.
    let bare = Context::new().with_value(Scope {
        hidden: None,
        ..scope.clone()
    });
    let baggage = kept.baggage().iter();
    let baggage: Vec<KeyValueMetadata> = baggage
        .map(|(key, (value, metadata))| KeyValueMetadata::new(key.clone(), value.clone(), metadata.clone()))
        .collect();
    if baggage.is_empty() {
        bare
    } else {
        bare.with_baggage(baggage)
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

//! Span ids that identify their tracer, and trace ids that identify their selector.

use std::cell::Cell;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use opentelemetry::Context;
use opentelemetry::trace::{SpanContext, SpanId, TraceContextExt, TraceId};
use opentelemetry_sdk::trace::{IdGenerator, RandomIdGenerator};
use rand::rngs::OsRng;
use rand::{Rng, TryRngCore};

use super::boundary::Boundary;
use super::trace_origin::{Tag, random_half};
use crate::selector::Selector;

/// What the check of a marked id differs in.
const MARK: u64 = 0x5A5A_5A5A;

thread_local! {
    /// Whether the next span id of this thread is marked. The SDK asks for an id without saying for which span.
    static MARKING: Cell<bool> = const { Cell::new(false) };
}

/// Makes and recognizes the span ids of one tracer. Two are the same only if they are the same allocation.
#[derive(Debug)]
pub(crate) struct Identity {
    key: [u64; 2],
    next: AtomicU32,
    traces: RandomIdGenerator,
    /// Mixed into the SDK's trace ids. A forked child makes the same random numbers as its parent; its own tracers mix in other ones.
    mix: u64,
    /// Its selector's, under the registry's key.
    tag: Tag,
    boundary: Arc<Boundary>,
}

/// The SDK's generator of ids for one tracer.
#[derive(Debug)]
pub(crate) struct SpanIds(pub(crate) Arc<Identity>);

impl Identity {
    pub(crate) fn new(selector: &Selector, boundary: &Arc<Boundary>) -> Arc<Self> {
        // The system's, because a forked child shares what is in memory.
        let mut random = OsRng.unwrap_err();
        Arc::new(Self {
            key: random.random(),
            // A random start, so that ids of two processes in one trace rarely collide.
            next: AtomicU32::new(random.random()),
            traces: RandomIdGenerator::default(),
            mix: random.random(),
            tag: boundary.traces.tag(&selector.to_string()),
            boundary: Arc::clone(boundary),
        })
    }

    /// Returns what its tracer shares with the others of its registry.
    pub(crate) fn boundary(&self) -> &Boundary {
        &self.boundary
    }

    /// Returns whether this tracer made the id.
    pub(crate) fn made(&self, id: SpanId) -> bool {
        let differs = self.differs(id);
        differs == 0 || differs == MARK
    }

    /// Returns whether this tracer made the id, and marked it: the span's session comes from its trace.
    pub(crate) fn marked(&self, id: SpanId) -> bool {
        self.differs(id) == MARK
    }

    /// Returns whether the tracer may continue the span that is active in a context: one of its own, or a remote one that it trusts.
    pub(super) fn may_continue(&self, cx: &Context, trust_remote: bool) -> bool {
        let span = cx.span();
        let span = span.span_context();
        let own = if span.is_remote() {
            trust_remote && self.takes_remote(span)
        } else {
            self.made(span.span_id())
        };
        own && span.is_valid()
    }

    /// Returns whether the tracer accepts a remote span as parent, given that its binding trusts remote parents. Counts a refusal.
    pub(crate) fn takes_remote(&self, span: &SpanContext) -> bool {
        let is_foreign = span.is_valid() && self.is_begun_by_another(span.trace_id());
        if is_foreign {
            self.boundary.note_foreign_parent();
        }
        !is_foreign
    }

    /// Returns whether the tracer's spans may link to a span: one of its own, or a remote one in a trace that no other selector of the registry began.
    pub(crate) fn may_link(&self, to: &SpanContext) -> bool {
        self.made(to.span_id()) || (to.is_remote() && !self.is_begun_by_another(to.trace_id()))
    }

    /// Whether another selector of the same registry began a trace.
    fn is_begun_by_another(&self, trace: TraceId) -> bool {
        let tag = self.boundary.traces.tag_of(trace);
        tag.is_some_and(|tag| tag != self.tag)
    }

    /// Starts a span with a marked id.
    pub(crate) fn marking<T>(start: impl FnOnce() -> T) -> T {
        MARKING.set(true);
        let started = start();
        MARKING.set(false);
        started
    }

    /// What an id's check differs in from the one that this tracer would have made.
    fn differs(&self, id: SpanId) -> u64 {
        let id = u64::from_be_bytes(id.to_bytes());
        (id & u64::from(u32::MAX)) ^ self.check(id >> 32)
    }

    /// A count spread over all 32 bits, and its check. Not zero: that id would be invalid.
    fn next_id(&self) -> SpanId {
        loop {
            // Relaxed: only the count matters, no other memory depends on it. Multiplying by an odd number is one to one, so ids do not repeat
            // before four thousand million spans.
            let count =
                self.next.fetch_add(1, Ordering::Relaxed).wrapping_mul(0x9E37_79B1) ^ (self.key[1] >> 32) as u32;
            let mark = if MARKING.get() { MARK } else { 0 };
            let id = (u64::from(count) << 32) | (self.check(u64::from(count)) ^ mark);
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
        let identity = &*self.0;
        loop {
            let random = random_half(identity.traces.new_trace_id()) ^ identity.mix;
            let id = identity.boundary.traces.id(identity.tag, random);
            // Zero would be invalid.
            if id != TraceId::INVALID {
                return id;
            }
        }
    }

    fn new_span_id(&self) -> SpanId {
        self.0.next_id()
    }
}

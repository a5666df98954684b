//! Span ids that identify their tracer, and trace ids that identify their selector.

use std::cell::Cell;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use opentelemetry::Context;
use opentelemetry::trace::{SpanContext, SpanId, TraceContextExt, TraceId};
use opentelemetry_sdk::trace::{IdGenerator, RandomIdGenerator};
use rand::rngs::OsRng;
use rand::{RngCore, TryRngCore};

use super::boundary::Boundary;
use super::trace_origin::{Tag, halves, random_half};
use crate::selector::Selector;

/// XOR difference between the check of a marked id and that of an unmarked one.
const MARK: u64 = 0x5A5A_5A5A;

thread_local! {
    /// Whether the next span id of this thread is marked. The SDK requests an id without naming the
    /// span.
    static MARKING: Cell<bool> = const { Cell::new(false) };
}

/// Creates and recognizes the span ids of one tracer. Compared by address.
#[derive(Debug)]
pub(crate) struct Identity {
    key: [u64; 2],
    next: AtomicU32,
    traces: RandomIdGenerator,
    /// Mixed into the SDK's trace ids. A forked child's generator repeats its parent's numbers; the
    /// child's own tracers use a different mix.
    mix: u64,
    /// Tag of the selector under the registry's key.
    tag: Tag,
    boundary: Arc<Boundary>,
}

/// The SDK's id generator for one provider of a tracer.
#[derive(Debug)]
pub(crate) struct SpanIds {
    identity: Arc<Identity>,
    /// Numbers taken in advance, if several providers share the identity: the next number, and in
    /// the lower half how many are left.
    block: Option<AtomicU64>,
}

/// Numbers that a provider takes in advance.
const BLOCK: u32 = 256;

impl Identity {
    pub(crate) fn new(selector: &Selector, boundary: &Arc<Boundary>) -> Arc<Self> {
        // From the operating system: random state in memory is shared with forked children.
        let mut random = [0; 32];
        OsRng.unwrap_err().fill_bytes(&mut random);
        let word = |at: usize| u64::from_ne_bytes(random[8 * at..][..8].try_into().expect("eight bytes"));
        Arc::new(Self {
            key: [word(0), word(1)],
            // Random start: ids of two processes in one trace rarely collide.
            next: AtomicU32::new(halves(word(2)).1),
            traces: RandomIdGenerator::default(),
            mix: word(3),
            tag: boundary.traces.tag(&selector.to_string()),
            boundary: Arc::clone(boundary),
        })
    }

    /// Returns the state shared with the other tracers of the registry.
    pub(crate) fn boundary(&self) -> &Boundary {
        &self.boundary
    }

    /// Whether this tracer created the id.
    pub(crate) fn made(&self, id: SpanId) -> bool {
        let check_difference = self.check_difference(id);
        check_difference == 0 || check_difference == MARK
    }

    /// Whether this tracer created the id and marked it, which means that the span's session comes
    /// from its trace.
    pub(crate) fn marked(&self, id: SpanId) -> bool {
        self.check_difference(id) == MARK
    }

    /// Whether the tracer may continue the active span of a context: its own span, or a remote span
    /// that it trusts.
    pub(super) fn may_continue(&self, cx: &Context, trust_remote: bool) -> bool {
        let span = cx.span();
        let span = span.span_context();
        let own = if span.is_remote() {
            trust_remote && self.accepts_remote(span)
        } else {
            self.made(span.span_id())
        };
        own && span.is_valid()
    }

    /// Whether the tracer accepts a remote span as parent, given that its binding trusts remote
    /// parents. Counts a rejection.
    pub(crate) fn accepts_remote(&self, span: &SpanContext) -> bool {
        let is_foreign = span.is_valid() && self.is_foreign_trace(span.trace_id());
        if is_foreign {
            self.boundary.note_foreign_parent();
        }
        !is_foreign
    }

    /// Whether the tracer's spans may link to a span: its own span, or a remote one in a trace that
    /// no other selector of the registry began.
    pub(crate) fn may_link(&self, to: &SpanContext) -> bool {
        self.made(to.span_id()) || (to.is_remote() && !self.is_foreign_trace(to.trace_id()))
    }

    /// Whether this selector began a trace.
    pub(crate) fn began(&self, trace: TraceId) -> bool {
        self.boundary.traces.tag_of(trace) == Some(self.tag)
    }

    /// Whether another selector of the same registry began a trace.
    fn is_foreign_trace(&self, trace: TraceId) -> bool {
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

    /// XOR difference between an id's check and the check that this tracer computes. Zero for its
    /// unmarked ids.
    fn check_difference(&self, id: SpanId) -> u64 {
        let id = u64::from_be_bytes(id.to_bytes());
        (id & u64::from(u32::MAX)) ^ self.check(id >> 32)
    }

    /// Takes numbers that no other call takes, until 2^32 are taken. Returns the first.
    fn take(&self, count: u32) -> u32 {
        // Relaxed: orders no other memory.
        self.next.fetch_add(count, Ordering::Relaxed)
    }

    /// Returns a number spread over 32 bits, followed by its check. Never zero, because that id is
    /// invalid.
    fn next_id(&self, take: impl Fn() -> u32) -> SpanId {
        loop {
            // Multiplication by an odd number is a bijection, so ids repeat only with their
            // numbers.
            let count = take().wrapping_mul(0x9E37_79B1) ^ (self.key[1] >> 32) as u32;
            let mark = if MARKING.get() { MARK } else { 0 };
            let id = (u64::from(count) << 32) | (self.check(u64::from(count)) ^ mark);
            if id != 0 {
                return SpanId::from(id);
            }
        }
    }

    /// Returns 32 bits that depend on the count and both halves of the key (a multiply-mix, as hash
    /// tables use).
    fn check(&self, count: u64) -> u64 {
        let mut mixed = (count ^ self.key[0]).wrapping_mul(0xFF51_AFD7_ED55_8CCD);
        mixed = (mixed ^ (mixed >> 32) ^ self.key[1]).wrapping_mul(0xC4CE_B9FE_1A85_EC53);
        mixed >> 32
    }
}

impl SpanIds {
    pub(crate) fn new(identity: &Arc<Identity>) -> Self {
        Self {
            identity: Arc::clone(identity),
            block: None,
        }
    }

    /// For one of several providers, whose spans start on different threads.
    pub(crate) fn in_blocks(identity: &Arc<Identity>) -> Self {
        Self {
            block: Some(AtomicU64::new(0)),
            ..Self::new(identity)
        }
    }

    /// Takes a number of the block, or a new block if none is left.
    fn take_of_block(&self, block: &AtomicU64) -> u32 {
        let mut known = block.load(Ordering::Relaxed);
        loop {
            let (next, left) = match halves(known) {
                (_, 0) => (self.identity.take(BLOCK), BLOCK),
                known => known,
            };
            let rest = u64::from(next.wrapping_add(1)) << 32 | u64::from(left - 1);
            // Numbers of a new block are lost if another thread was faster.
            match block.compare_exchange_weak(known, rest, Ordering::Relaxed, Ordering::Relaxed) {
                Ok(_) => return next,
                Err(changed) => known = changed,
            }
        }
    }
}

impl IdGenerator for SpanIds {
    fn new_trace_id(&self) -> TraceId {
        let identity = &*self.identity;
        loop {
            let random = random_half(identity.traces.new_trace_id()) ^ identity.mix;
            let id = identity.boundary.traces.id(identity.tag, random);
            // Zero is invalid.
            if id != TraceId::INVALID {
                return id;
            }
        }
    }

    fn new_span_id(&self) -> SpanId {
        self.identity.next_id(|| match &self.block {
            None => self.identity.take(1),
            Some(block) => self.take_of_block(block),
        })
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;
    use std::thread;

    use super::*;
    use crate::selector::{SelectorKind, Slug};

    #[test]
    fn providers_of_one_tracer_never_create_the_same_id() {
        let selector = Selector::of(SelectorKind::Tenant, Slug::new("acme").expect("a name"));
        let identity = Identity::new(&selector, &Arc::default());
        let (first, of_stripe) = (SpanIds::new(&identity), SpanIds::in_blocks(&identity));
        let other = SpanIds::in_blocks(&identity);
        let created: Vec<SpanId> = thread::scope(|threads| {
            let create = |ids: &SpanIds| (0..2_000).map(|_| ids.new_span_id()).collect::<Vec<_>>();
            let running = [&first, &of_stripe, &of_stripe, &other].map(|ids| threads.spawn(move || create(ids)));
            let ended = running.into_iter().map(|thread| thread.join().expect("no panic"));
            ended.flatten().collect()
        });
        assert!(created.iter().all(|id| identity.made(*id)));
        assert_eq!(created.iter().collect::<HashSet<_>>().len(), 8_000);
    }
}

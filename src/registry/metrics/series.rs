//! The numbers of one reading, by tracer.

use std::sync::Arc;

use crate::export::{EvictedLedgers, RedactionStatus, SelectorLedger, Server};
use crate::ledger::Ledger;

/// One tracer, or all tracers without their own series.
pub(super) struct Series {
    /// `None` for the shared series.
    pub(super) tracer: Option<Tracer>,
    pub(super) numbers: Numbers,
}

pub(super) struct Tracer {
    pub(super) selector: Arc<str>,
    pub(super) server: Option<Server>,
}

/// The numbers of one series.
#[derive(Default)]
pub(super) struct Numbers {
    pub(super) spans: Ledger,
    pub(super) events: Ledger,
    /// Spans started and recorded.
    pub(super) recorded: u64,
    /// Spans started but not sampled.
    pub(super) left_out: u64,
    pub(super) held_bytes: u64,
    pub(super) tracers: u64,
    pub(super) queue_capacity: u64,
    /// Paused selectors.
    pub(super) paused: u64,
    /// What redaction changed. Empty in the shared series.
    pub(super) redaction: RedactionStatus,
    /// The same in the shared series, all together.
    pub(super) redacted: u64,
    /// Selectors with each kind of problem, in the order of [`PROBLEMS`].
    pub(super) failing: [u64; PROBLEMS.len()],
}

/// Problems of a selector, as `error.type` names them.
pub(super) const PROBLEMS: [&str; 3] = ["key_refused", "key_source", "breaker_open"];

impl Tracer {
    pub(super) fn of(ledger: &SelectorLedger) -> Self {
        let entry = ledger.metrics.get();
        Self {
            selector: ledger.selector.to_string().into(),
            server: entry.and_then(|entry| Server::of(&entry.traces_url)),
        }
    }
}

impl Numbers {
    pub(super) fn of_evicted(evicted: &EvictedLedgers) -> Self {
        let (recorded, left_out) = (evicted.starts.recorded, evicted.starts.left_out);
        Self {
            spans: evicted.ledgers.spans,
            events: evicted.ledgers.events,
            recorded,
            left_out,
            redacted: evicted.redacted,
            ..Self::default()
        }
    }

    pub(super) fn add(&mut self, other: &Self) {
        self.spans.add(&other.spans);
        self.events.add(&other.events);
        self.recorded += other.recorded;
        self.left_out += other.left_out;
        self.held_bytes += other.held_bytes;
        self.tracers += other.tracers;
        self.queue_capacity += other.queue_capacity;
        self.paused += other.paused;
        self.redacted += other.redacted + other.redaction.total();
        for (sum, number) in self.failing.iter_mut().zip(other.failing) {
            *sum += number;
        }
    }
}

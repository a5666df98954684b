//! Counts of connections and requests.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

use serde::Serialize;

use crate::answer::RefusalKind;
use crate::durations::RequestDurations;

/// Counts since the gateway started, and what is in progress.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct GatewayStatus {
    /// False once a shutdown has begun.
    pub ready: bool,
    /// Connections.
    pub connections: ConnectionCounts,
    /// Exports of traces and requests to the session API, by their answer.
    pub requests: RequestCounts,
    /// Exports of metrics, logs and profiles.
    pub other_signals: OtherSignalCounts,
    /// The budget for the memory of all requests.
    pub memory: MemoryStatus,
}

/// Counts of connections.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct ConnectionCounts {
    /// Open connections.
    pub open: usize,
    /// All accepted connections.
    pub accepted: u64,
    /// Connections closed at once, because there were too many.
    pub over_limit: u64,
    /// Connections closed because of a failed or slow TLS handshake.
    pub failed_handshake: u64,
    /// Connections closed because the head of a request was too slow.
    pub slow_head: u64,
    /// Connections closed because there was no memory for an incomplete head.
    pub no_memory: u64,
    /// Connections closed because they were idle.
    pub idle: u64,
}

/// Counts of exports of traces and requests to the session API.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct RequestCounts {
    /// Requests in progress.
    pub running: usize,
    /// Requests whose data is queued.
    pub succeeded: u64,
    /// Requests to the session API whose data is queued. Also counted as succeeded.
    pub session_requests: u64,
    /// Requests of which some spans are too large and rejected. Also counted as succeeded.
    pub partial: u64,
    /// Refused requests of any path, by reason.
    pub refused: BTreeMap<RefusalKind, u64>,
    /// Requests that the client gave up before their answer.
    pub abandoned: u64,
    /// Spans queued in lanes.
    pub spans_accepted: u64,
    /// Spans that sampling left out.
    pub spans_sampled_out: u64,
    /// Spans rejected because they are too large.
    pub spans_too_large: u64,
}

/// Counts of exports of metrics, logs and profiles.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct OtherSignalCounts {
    /// Refused requests.
    pub refused: u64,
    /// Requests that got a success, and whose data was discarded.
    pub discarded: u64,
}

/// The budget for the memory of all requests.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct MemoryStatus {
    /// Bytes that requests in progress have reserved.
    pub used: usize,
    /// The limit of `gateway.memory`.
    pub limit: usize,
}

/// A count.
#[derive(Debug, Default)]
pub(crate) struct Count(AtomicU64);

impl Count {
    pub(crate) fn add(&self, number: u64) {
        self.0.fetch_add(number, Ordering::Relaxed);
    }

    fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub(crate) accepted: Count,
    pub(crate) over_limit: Count,
    pub(crate) failed_handshake: Count,
    pub(crate) slow_head: Count,
    pub(crate) no_memory: Count,
    pub(crate) idle: Count,
    pub(crate) succeeded: Count,
    pub(crate) session_requests: Count,
    pub(crate) partial: Count,
    pub(crate) abandoned: Count,
    pub(crate) spans_accepted: Count,
    pub(crate) spans_sampled_out: Count,
    pub(crate) spans_too_large: Count,
    pub(crate) other_refused: Count,
    pub(crate) other_discarded: Count,
    pub(crate) durations: RequestDurations,
    refused: [Count; RefusalKind::ALL.len()],
    is_stopping: AtomicBool,
    open: AtomicUsize,
    running: AtomicUsize,
}

/// An open connection. Dropping it ends it.
#[derive(Debug)]
pub(crate) struct OpenConnection(Arc<Counters>);

impl Drop for OpenConnection {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, Ordering::SeqCst);
    }
}

/// A running request. Dropping it without [`end`](Self::end) counts it as abandoned.
#[derive(Debug)]
pub(crate) struct RunningRequest<'c> {
    counters: &'c Counters,
    has_ended: bool,
}

impl RunningRequest<'_> {
    pub(crate) fn end(mut self) {
        self.has_ended = true;
    }
}

impl Drop for RunningRequest<'_> {
    fn drop(&mut self) {
        self.counters.running.fetch_sub(1, Ordering::SeqCst);
        if !self.has_ended {
            self.counters.abandoned.add(1);
        }
    }
}

impl Counters {
    /// Counts a connection. `None` if `limit` connections are open.
    pub(crate) fn open_connection(self: &Arc<Self>, limit: usize) -> Option<OpenConnection> {
        let fits = |open: usize| (open < limit).then_some(open + 1);
        if self
            .open
            .fetch_update(Ordering::SeqCst, Ordering::SeqCst, fits)
            .is_err()
        {
            self.over_limit.add(1);
            return None;
        }
        self.accepted.add(1);
        Some(OpenConnection(Arc::clone(self)))
    }

    /// Counts a request.
    pub(crate) fn start_request(&self) -> RunningRequest<'_> {
        self.running.fetch_add(1, Ordering::SeqCst);
        RunningRequest {
            counters: self,
            has_ended: false,
        }
    }

    pub(crate) fn refuse(&self, kind: RefusalKind) {
        self.refused[kind as usize].add(1);
    }

    /// Returns the number of open connections.
    pub(crate) fn open(&self) -> usize {
        self.open.load(Ordering::SeqCst)
    }

    /// Returns whether no shutdown has begun.
    pub(crate) fn is_ready(&self) -> bool {
        !self.is_stopping.load(Ordering::SeqCst)
    }

    /// Makes `/readyz` answer 503.
    pub(crate) fn set_not_ready(&self) {
        self.is_stopping.store(true, Ordering::SeqCst);
    }

    pub(crate) fn status(&self, memory: MemoryStatus) -> GatewayStatus {
        let refused = RefusalKind::ALL.into_iter();
        let refused = refused.map(|kind| (kind, self.refused[kind as usize].get()));
        GatewayStatus {
            ready: self.is_ready(),
            connections: ConnectionCounts {
                open: self.open(),
                accepted: self.accepted.get(),
                over_limit: self.over_limit.get(),
                failed_handshake: self.failed_handshake.get(),
                slow_head: self.slow_head.get(),
                no_memory: self.no_memory.get(),
                idle: self.idle.get(),
            },
            requests: RequestCounts {
                running: self.running.load(Ordering::SeqCst),
                succeeded: self.succeeded.get(),
                session_requests: self.session_requests.get(),
                partial: self.partial.get(),
                refused: refused.filter(|(_, count)| *count > 0).collect(),
                abandoned: self.abandoned.get(),
                spans_accepted: self.spans_accepted.get(),
                spans_sampled_out: self.spans_sampled_out.get(),
                spans_too_large: self.spans_too_large.get(),
            },
            other_signals: OtherSignalCounts {
                refused: self.other_refused.get(),
                discarded: self.other_discarded.get(),
            },
            memory,
        }
    }
}

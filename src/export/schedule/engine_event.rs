//! Events from lanes and session queues to the engine. An event carries its sender, which the
//! engine uses only through these traits.

use std::sync::Arc;
use std::time::Instant;

/// An event for the engine.
pub(crate) enum EngineEvent {
    /// The lane has its first span and sends after the delay.
    Timed(Arc<dyn ScheduledLane>),
    /// The lane has a batch, or is flushed.
    Ready(Arc<dyn ScheduledLane>),
    /// The lane is flushed. Handled only in inline mode, where flushes alone send.
    Flush(Arc<dyn ScheduledLane>),
    /// The queue has session events.
    Session(Arc<dyn SessionSender>),
    /// The lane has pending log lines.
    Log(Arc<dyn ScheduledLane>),
    /// Memory is under pressure.
    MemoryPressure,
}

/// Why a lane starts sending.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cause {
    /// The lane is ready.
    Ready,
    /// The lane's deadline has passed.
    Deadline(Instant),
    /// Memory is under pressure: a timed lane starts early.
    Memory,
}

/// A lane as the engine uses it.
pub(crate) trait ScheduledLane: Send + Sync {
    /// Spawns a task that sends the due spans, if the lane's schedule allows it for this cause.
    /// Returns the queued bytes, or `None` if it does not.
    fn send_due(self: Arc<Self>, cause: Cause) -> Option<usize>;

    /// Writes the pending log lines of the lane's selector.
    fn log_pending(&self);
}

/// A session queue as the engine uses it.
pub(crate) trait SessionSender: Send + Sync {
    /// Spawns a task that sends requests until no event is left.
    fn send_all(self: Arc<Self>);

    /// Returns the address of the queue's lane. The queue keeps the lane alive.
    fn lane_address(&self) -> usize;
}

/// Returns the address that identifies a lane.
pub(crate) fn address(lane: &Arc<dyn ScheduledLane>) -> usize {
    Arc::as_ptr(lane).addr()
}

//! What lanes and session queues tell the engine. An event carries what it wakes, which the engine
//! knows by these traits alone.

use std::sync::Arc;
use std::time::Instant;

/// What the engine is told.
pub(crate) enum EngineEvent {
    /// The lane has its first span: it sends when the delay is over.
    Timed(Arc<dyn ScheduledLane>),
    /// The lane has a batch, or is flushed.
    Ready(Arc<dyn ScheduledLane>),
    /// The lane is flushed: heard in a mode where nothing is sent at any other time.
    Flush(Arc<dyn ScheduledLane>),
    /// The queue has session events.
    Session(Arc<dyn SessionSender>),
    /// Something began that the log reports.
    Log(Arc<dyn ScheduledLane>),
    /// Memory is short.
    MemoryPressure,
}

/// Why a lane begins to send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cause {
    /// It is ready.
    Ready,
    /// A deadline has come that it asked for.
    Deadline(Instant),
    /// Memory is short: a timed lane begins before its time.
    Memory,
}

/// A lane, to the engine.
pub(crate) trait ScheduledLane: Send + Sync {
    /// Spawns a task that sends what is due, if the lane's schedule allows it for this cause.
    /// Returns the bytes that wait in its queue; `None` if something else came first.
    fn send_due(self: Arc<Self>, cause: Cause) -> Option<usize>;

    /// Writes the lines of what began for the lane's selector.
    fn log_begun(&self);
}

/// A queue of session events, to the engine.
pub(crate) trait SessionSender: Send + Sync {
    /// Spawns a task that sends request after request until no event is left.
    fn send_all(self: Arc<Self>);

    /// The address of the queue's lane, which lives at least as long as the queue.
    fn lane_address(&self) -> usize;
}

/// The address that tells lanes apart.
pub(crate) fn address(lane: &Arc<dyn ScheduledLane>) -> usize {
    Arc::as_ptr(lane).addr()
}

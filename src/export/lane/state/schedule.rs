//! When the spans of a queue are sent, or saved on disk.

use std::sync::Arc;

use crate::export::schedule::engine_event::{EngineEvent, ScheduledLane};

/// Creates the event that notifies the engine of a schedule change.
pub(crate) type MakeEvent = fn(Arc<dyn ScheduledLane>) -> EngineEvent;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Schedule {
    #[default]
    Idle,
    Timed,
    Ready,
    Running,
    Closed,
}

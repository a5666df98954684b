//! Tracers that get copies of the spans of others.

use std::any::Any;
use std::sync::Arc;

use super::handle::{Instance, TracerHandle};
use crate::export::{Lane, TargetTracer};

impl TracerHandle {
    /// Returns the tracer of a target that has one.
    pub(crate) fn of_target(target: &TargetTracer<Lane>) -> Option<Self> {
        Arc::clone(&target.handle).downcast::<Instance>().ok().map(Self)
    }

    /// Returns this tracer as a target holds it.
    pub(crate) fn as_target(&self) -> TargetTracer<Lane> {
        TargetTracer {
            lane: Arc::clone(self.lane()),
            handle: Arc::clone(&self.0) as Arc<dyn Any + Send + Sync>,
        }
    }
}

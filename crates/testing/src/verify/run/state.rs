//! Shared state and observations of a run.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, mpsc};

use tokio::sync::Semaphore;
use tokio::task::JoinHandle;

use super::super::oracle::expect::Instances;
use super::super::program::cast::Member;
use super::super::program::operation::OpId;
use super::super::subject::{Found, Subject};
use crate::lock::lock;

/// Values that only the running program knows, by operation.
#[derive(Debug, Default)]
pub(in super::super) struct Observed {
    /// Ids of started sessions.
    pub(in super::super) sessions: BTreeMap<OpId, String>,
    /// Headers of outgoing requests.
    pub(in super::super) headers: BTreeMap<OpId, HashMap<String, String>>,
    /// Member of the current scope, and the current session.
    pub(in super::super) current: BTreeMap<OpId, (Option<usize>, Option<String>)>,
    /// Incoming headers.
    pub(in super::super) incoming: BTreeMap<OpId, HashMap<String, String>>,
    /// Deviations found during the run.
    pub(in super::super) wrong: Vec<Wrong>,
    /// Tracer instances, if they are replaced while the program runs.
    pub(in super::super) instances: Instances,
}

/// A look-up or a disturbance with a wrong result.
#[derive(Debug)]
pub(in super::super) struct Wrong {
    pub(in super::super) op: OpId,
    pub(in super::super) member: usize,
    pub(in super::super) expected: &'static str,
    pub(in super::super) seen: String,
}

/// Work for a worker thread.
pub(super) type Job = Box<dyn FnOnce() + Send>;

/// Shared state of a run.
pub(super) struct Run<S: Subject> {
    pub(super) subject: Arc<S>,
    pub(super) cast: Arc<[Member]>,
    pub(super) seed: u64,
    pub(super) observed: Mutex<Observed>,
    pub(super) workers: Vec<mpsc::Sender<Job>>,
}

/// A thread, or a deferred task. Its own deferred tasks start when its block is done, and so all
/// its spans have ended.
pub(super) struct Root {
    pub(super) gate: Semaphore,
    pub(super) deferred: Mutex<Vec<JoinHandle<()>>>,
}

/// Opens the gate when it is dropped.
pub(super) struct OpenOnDrop(pub(super) Arc<Root>);

impl Drop for OpenOnDrop {
    fn drop(&mut self) {
        self.0.gate.close();
    }
}

impl<S: Subject> Run<S> {
    /// Records the result of a look-up. Returns the tracer and its instance.
    pub(super) fn found(&self, found: Found<S::Tracer>, member: usize, op: OpId) -> (S::Tracer, Option<usize>) {
        if let Some(seen) = found.wrong {
            lock(&self.observed).wrong.push(Wrong {
                op,
                member,
                expected: "the valid result for the name",
                seen,
            });
        }
        self.record_instance(op, found.instance);
        (found.tracer, found.instance)
    }

    pub(super) fn record_instance(&self, op: OpId, instance: Option<usize>) {
        if let Some(instance) = instance {
            lock(&self.observed).instances.insert(op, instance);
        }
    }
}

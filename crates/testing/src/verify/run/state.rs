//! What a run shares, and what it writes down.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, mpsc};

use tokio::sync::Semaphore;
use tokio::task::JoinHandle;

use super::super::oracle::expect::Instances;
use super::super::program::cast::Member;
use super::super::program::operation::OpId;
use super::super::subject::{Found, Subject};
use crate::lock::lock;

/// What only the running program can see.
#[derive(Debug, Default)]
pub(in super::super) struct Observed {
    /// The ids that sessions had, by the operation that started them.
    pub(in super::super) sessions: BTreeMap<OpId, String>,
    /// The headers that were made for outgoing requests.
    pub(in super::super) headers: BTreeMap<OpId, HashMap<String, String>>,
    /// The member with the current scope, and the session.
    pub(in super::super) current: BTreeMap<OpId, (Option<usize>, Option<String>)>,
    /// The headers that came in.
    pub(in super::super) incoming: BTreeMap<OpId, HashMap<String, String>>,
    /// What was wrong at once.
    pub(in super::super) wrong: Vec<Wrong>,
    /// Which tracer an operation came by, if they are replaced meanwhile.
    pub(in super::super) instances: Instances,
}

/// A look-up that gave what it must not, or a disturbance that came to something else.
#[derive(Debug)]
pub(in super::super) struct Wrong {
    pub(in super::super) op: OpId,
    pub(in super::super) member: usize,
    pub(in super::super) expected: &'static str,
    pub(in super::super) seen: String,
}

/// Work for a thread that lives as long as the program.
pub(super) type Job = Box<dyn FnOnce() + Send>;

/// What the whole run shares.
pub(super) struct Run<S: Subject> {
    pub(super) subject: Arc<S>,
    pub(super) cast: Arc<[Member]>,
    pub(super) seed: u64,
    pub(super) observed: Mutex<Observed>,
    pub(super) workers: Vec<mpsc::Sender<Job>>,
}

/// A thread, or a task that was put off: when its block is done, and so all its spans have ended,
/// the tasks that it put off begin.
pub(super) struct Root {
    pub(super) gate: Semaphore,
    pub(super) deferred: Mutex<Vec<JoinHandle<()>>>,
}

/// Opens the gate when it goes.
pub(super) struct Opening(pub(super) Arc<Root>);

impl Drop for Opening {
    fn drop(&mut self) {
        self.0.gate.close();
    }
}

impl<S: Subject> Run<S> {
    /// Writes down what an operation came by.
    pub(super) fn found(&self, found: Found<S::Tracer>, member: usize, op: OpId) -> (S::Tracer, Option<usize>) {
        if let Some(seen) = found.wrong {
            lock(&self.observed).wrong.push(Wrong {
                op,
                member,
                expected: "what holds for the name at this moment",
                seen,
            });
        }
        self.came_by(op, found.instance);
        (found.tracer, found.instance)
    }

    pub(super) fn came_by(&self, op: OpId, instance: Option<usize>) {
        if let Some(instance) = instance {
            lock(&self.observed).instances.insert(op, instance);
        }
    }
}

//! What a run shares: the subject, what was observed, what is put off; and how its code ends.

use std::collections::{BTreeMap, HashMap};
use std::panic::resume_unwind;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc};
use std::thread;

use tokio::sync::Semaphore;
use tokio::task::{JoinError, JoinHandle};

use super::super::cast::Member;
use super::super::expect::Instances;
use super::super::program::OpId;
use super::super::subject::{Found, Subject};

/// What only the running program can see.
#[derive(Debug, Default)]
pub(in crate::verify) struct Observed {
    /// The ids that sessions had, by the operation that started them.
    pub(in crate::verify) sessions: BTreeMap<OpId, String>,
    /// The headers that were made for outgoing requests.
    pub(in crate::verify) headers: BTreeMap<OpId, HashMap<String, String>>,
    /// The member whose scope was current, and the session.
    pub(in crate::verify) current: BTreeMap<OpId, (Option<usize>, Option<String>)>,
    /// The headers that came in.
    pub(in crate::verify) incoming: BTreeMap<OpId, HashMap<String, String>>,
    /// What was wrong at once.
    pub(in crate::verify) wrong: Vec<Wrong>,
    /// Which tracer an operation came by, where they are replaced meanwhile.
    pub(in crate::verify) instances: Instances,
}

/// A look-up that gave what it must not, or a disturbance that came to something else.
#[derive(Debug)]
pub(in crate::verify) struct Wrong {
    pub(in crate::verify) op: OpId,
    pub(in crate::verify) member: usize,
    pub(in crate::verify) expected: &'static str,
    pub(in crate::verify) seen: String,
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

/// A thread, or a task that was put off: when its block is done, and so all its spans have ended, the tasks that it put off begin.
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

/// Why an operation panics: it was told to. Not by `panic!`, which would print it.
pub(super) struct Told;

/// A task's end; its panic goes on in the one that waited for it.
pub(super) fn joined(ended: Result<(), JoinError>) {
    match ended.map_err(JoinError::try_into_panic) {
        Ok(()) | Err(Err(_)) => {}
        Err(Ok(panicked)) => resume_unwind(panicked),
    }
}

/// The end of code that was told to panic; any other panic goes on.
pub(super) fn told(ended: thread::Result<()>) {
    match ended {
        Err(panicked) if !panicked.is::<Told>() => resume_unwind(panicked),
        _ => {}
    }
}

pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

//! The interpreter: does what a program says, on a subject, and writes down what only the running program can see.

mod place;
mod sync;
mod tasks;

use std::collections::{BTreeMap, HashMap};
use std::panic::resume_unwind;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc};
use std::thread;

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use tokio::runtime::Handle;
use tokio::sync::Semaphore;
use tokio::task::{JoinError, JoinHandle};

use crate::verify::oracle::expect::Instances;
use crate::verify::program::cast::Member;
use crate::verify::program::operation::{Block, How, Mode, OpId, Program};
use crate::verify::subject::Subject;
use place::{Place, Reach};
pub(super) use place::{baggage_key, current, late_key, with_entry};

/// What only the running program can see.
#[derive(Debug, Default)]
pub(super) struct Observed {
    /// The ids that sessions had, by the operation that started them.
    pub(super) sessions: BTreeMap<OpId, String>,
    /// The headers that were made for outgoing requests.
    pub(super) headers: BTreeMap<OpId, HashMap<String, String>>,
    /// The member whose scope was current, and the session.
    pub(super) current: BTreeMap<OpId, (Option<usize>, Option<String>)>,
    /// The headers that came in.
    pub(super) incoming: BTreeMap<OpId, HashMap<String, String>>,
    /// What was wrong at once.
    pub(super) wrong: Vec<Wrong>,
    /// Which tracer an operation came by, where they are replaced meanwhile.
    pub(super) instances: Instances,
}

/// A look-up that gave what it must not, or a disturbance that came to something else.
#[derive(Debug)]
pub(super) struct Wrong {
    pub(super) op: OpId,
    pub(super) member: usize,
    pub(super) expected: &'static str,
    pub(super) seen: String,
}

/// Work for a thread that lives as long as the program.
type Job = Box<dyn FnOnce() + Send>;

/// What the whole run shares.
struct Run<S: Subject> {
    subject: Arc<S>,
    cast: Arc<[Member]>,
    seed: u64,
    observed: Mutex<Observed>,
    workers: Vec<mpsc::Sender<Job>>,
}

/// A thread, or a task that was put off: when its block is done, and so all its spans have ended, the tasks that it put off begin.
struct Root {
    gate: Semaphore,
    deferred: Mutex<Vec<JoinHandle<()>>>,
}

/// Opens the gate when it goes.
struct Opening(Arc<Root>);

impl Drop for Opening {
    fn drop(&mut self) {
        self.0.gate.close();
    }
}

/// Why an operation panics: it was told to. Not by `panic!`, which would print it.
struct Told;

/// Runs a program to its end, every task and thread of it.
pub(super) fn run<S: Subject>(
    program: &Program,
    subject: &Arc<S>,
    cast: &Arc<[Member]>,
    seed: u64,
    runtime: &Handle,
) -> Observed {
    let (senders, receivers): (Vec<_>, Vec<_>) = program.workers.iter().map(|_| mpsc::channel::<Job>()).unzip();
    let run = Arc::new(Run {
        subject: Arc::clone(subject),
        cast: Arc::clone(cast),
        seed,
        observed: Mutex::default(),
        workers: senders,
    });
    thread::scope(|threads| {
        for (receiver, (op, who)) in receivers.into_iter().zip(&program.workers) {
            let (tracer, _) = run.found(subject.tracer(who.member), who.member, *op);
            let name = cast[who.member].canary(*op);
            threads.spawn(move || {
                subject.span_sync(How::Closure, &tracer, name.clone(), |span| {
                    span.set("work".to_owned(), name);
                    for job in receiver {
                        job();
                    }
                });
            });
        }
        let mains: Vec<_> = program
            .threads
            .iter()
            .map(|thread| {
                let root = root(Arc::clone(&run), None, thread.mode, Arc::clone(&thread.block));
                threads.spawn(move || runtime.block_on(root))
            })
            .collect();
        let ended: Vec<_> = mains.into_iter().map(thread::ScopedJoinHandle::join).collect();
        let observed = std::mem::take(&mut *lock(&run.observed));
        // The workers end when nobody can send to them any more.
        drop(run);
        if let Some(panicked) = ended.into_iter().find_map(Result::err) {
            resume_unwind(panicked);
        }
        observed
    })
}

/// Runs a block, then lets begin what it put off.
fn root<S: Subject>(
    run: Arc<Run<S>>,
    reach: Option<Arc<Reach<S>>>,
    mode: Mode,
    block: Block,
) -> BoxFuture<'static, ()> {
    async move {
        let root = Arc::new(Root {
            gate: Semaphore::new(0),
            deferred: Mutex::default(),
        });
        // Also where the block panics: what waits at the gate keeps the workers waiting.
        let opening = Opening(Arc::clone(&root));
        let place = Place::new(run, reach, Arc::clone(&root));
        match mode {
            Mode::Sync => place.block(&block),
            Mode::Async => place.block_async(block).await,
        }
        drop(opening);
        let deferred = std::mem::take(&mut *lock(&root.deferred));
        for task in deferred {
            joined(task.await);
        }
    }
    .boxed()
}

/// A task's end; its panic goes on in the one that waited for it.
fn joined(ended: Result<(), JoinError>) {
    match ended.map_err(JoinError::try_into_panic) {
        Ok(()) | Err(Err(_)) => {}
        Err(Ok(panicked)) => resume_unwind(panicked),
    }
}

/// The end of code that was told to panic; any other panic goes on.
fn told(ended: thread::Result<()>) {
    match ended {
        Err(panicked) if !panicked.is::<Told>() => resume_unwind(panicked),
        _ => {}
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

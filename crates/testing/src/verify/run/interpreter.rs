//! Runs a program: its threads, its workers, and for each the tasks that it put off.

use std::panic::resume_unwind;
use std::sync::{Arc, Mutex, mpsc};
use std::thread;

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use tokio::runtime::Handle;
use tokio::sync::Semaphore;

use super::super::cast::Member;
use super::super::program::{Block, How, Mode, Program};
use super::super::subject::Subject;
use super::place::{Place, Reach};
use super::state::{Job, Observed, Opening, Root, Run, joined, lock};

/// Runs a program to its end, every task and thread of it.
pub(in crate::verify) fn run<S: Subject>(
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
pub(super) fn root<S: Subject>(
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

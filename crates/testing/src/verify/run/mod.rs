//! The interpreter: runs a program on a subject, and records values that only the running program
//! knows.

mod interpreter;
mod state;
mod sync;
mod tasks;

use std::panic::resume_unwind;
use std::sync::{Arc, Mutex, mpsc};
use std::thread;

use tokio::runtime::Handle;

pub(super) use self::interpreter::{baggage_key, current, late_key, with_entry};
pub(super) use self::state::Observed;
#[cfg(test)]
pub(super) use self::state::Wrong;
use self::state::{Job, Run};
use self::tasks::root;
use super::program::cast::{Member, planted};
use super::program::operation::{How, Program};
use super::subject::Subject;
use crate::lock::lock;

/// Runs a program and waits for all its tasks and threads.
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
        for (receiver, (op, target)) in receivers.into_iter().zip(&program.workers) {
            let (tracer, _) = run.found(subject.tracer(target.member), target.member, *op);
            let name = cast[target.member].canary(*op);
            threads.spawn(move || {
                subject.span_sync(How::Closure, &tracer, name.clone(), |span| {
                    span.plant(planted(&name));
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
        // The workers end when the last sender is dropped.
        drop(run);
        if let Some(panicked) = ended.into_iter().find_map(Result::err) {
            resume_unwind(panicked);
        }
        observed
    })
}

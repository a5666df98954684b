//! The runtime of an engine with threads of its own.
//!
//! tokio takes for granted that it gets its workers. If it gets none, it panics while the runtime
//! is built; if it gets some, that panic waits for them to end, which they never do. So threads are
//! tried before, and a worker works only once the runtime is built:
//!
//! | the gate | a worker that begins | the builder |
//! |---|---|---|
//! | closed | waits; after its patience it gives up and ends, which lets the panic go on | opens it once the runtime is built |
//! | open | works | |
//! | given up | ends | reports an error, also if the runtime was built by then |

use std::io;
use std::panic::{self, AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar};
use std::thread;
use std::time::Duration;

use tokio::runtime::{Builder, Runtime};

use super::blocking::THREADS;
use crate::context;
use crate::util::fork::{ForkLock, wait_timeout};

/// Threads that encode and send.
const WORKERS: usize = 2;
/// How long a worker waits for the others. They begin within microseconds, unless there is no
/// thread for one.
const PATIENCE: Duration = Duration::from_secs(10);

#[derive(Clone, Copy, PartialEq, Eq)]
enum Gate {
    Closed,
    Open,
    GivenUp,
}

/// What workers wait at until all of them are there.
struct Start {
    gate: ForkLock<Gate>,
    changed: Condvar,
}

/// A runtime with all its workers.
///
/// # Errors
/// The system's, where there is no thread for one of them.
pub(crate) fn runtime() -> io::Result<Runtime> {
    try_threads(WORKERS)?;
    build(PATIENCE)
}

/// Starts as many threads at once, and ends them.
fn try_threads(count: usize) -> io::Result<()> {
    let gate = ForkLock::new(());
    let closed = gate.lock();
    thread::scope(|threads| {
        let start = |_| thread::Builder::new().spawn_scoped(threads, || drop(gate.lock()));
        let mut started = Vec::with_capacity(count);
        let tried = (0..count).map(start).try_for_each(|thread| {
            started.push(thread?);
            Ok(())
        });
        drop(closed);
        // Joined, so that they are not there any more.
        for thread in started {
            drop(thread.join());
        }
        tried
    })
}

fn build(patience: Duration) -> io::Result<Runtime> {
    let start = Arc::new(Start {
        gate: ForkLock::new(Gate::Closed),
        changed: Condvar::new(),
    });
    let at_gate = Arc::clone(&start);
    let mut builder = Builder::new_multi_thread();
    builder
        .worker_threads(WORKERS)
        .thread_name(THREADS)
        .on_thread_start(move || {
            at_gate.pass(patience);
            context::suppress_on_this_thread();
        })
        .enable_all();
    let no_thread = || io::Error::from(io::ErrorKind::WouldBlock);
    let runtime = catch_unwind(AssertUnwindSafe(|| builder.build())).unwrap_or_else(|_| Err(no_thread()))?;
    if start.open() {
        Ok(runtime)
    } else {
        runtime.shutdown_background();
        Err(no_thread())
    }
}

impl Start {
    /// Waits until the gate is open. Unwinds where it stays closed: the thread ends.
    fn pass(&self, patience: Duration) {
        let (mut gate, mut is_over) = (self.gate.lock(), false);
        while *gate == Gate::Closed && !is_over {
            (gate, is_over) = wait_timeout(&self.changed, gate, patience);
        }
        if *gate != Gate::Open {
            *gate = Gate::GivenUp;
            drop(gate);
            panic::resume_unwind(Box::new("the runtime has too few threads"));
        }
    }

    /// Whether nobody gave up before.
    fn open(&self) -> bool {
        let mut gate = self.gate.lock();
        if *gate == Gate::Closed {
            *gate = Gate::Open;
        }
        self.changed.notify_all();
        *gate == Gate::Open
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use std::fs;

    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

    use super::*;
    use crate::util::own_process::is_own_process;

    /// Of each thread, in a process that has address space for few of them.
    const STACK: u64 = 512 << 20;

    /// Leaves address space for as many more threads, and some for other things.
    fn allow_threads(count: u64) {
        let status = fs::read_to_string("/proc/self/status").expect("Linux");
        let size = status
            .lines()
            .find_map(|line| line.strip_prefix("VmSize:"))
            .expect("its size");
        let kib: u64 = size.trim().trim_end_matches(" kB").parse().expect("a number");
        let allowed = kib * 1024 + count * STACK + STACK / 2;
        let before = getrlimit(Resource::As);
        let current = Some(allowed);
        setrlimit(Resource::As, Rlimit { current, ..before }).expect("below the hard limit");
    }

    #[test]
    fn a_runtime_that_gets_too_few_threads_is_an_error_whenever_that_turns_out() {
        const TEST: &str =
            "export::schedule::workers::tests::a_runtime_that_gets_too_few_threads_is_an_error_whenever_that_turns_out";
        if !is_own_process(TEST, &[("RUST_MIN_STACK", &STACK.to_string())]) {
            return;
        }
        for threads in [0, 1] {
            allow_threads(threads);
            try_threads(WORKERS).expect_err("too few threads");
            // Another part of the program took them after they were tried.
            build(Duration::from_millis(100)).expect_err("too few threads");
        }
        allow_threads(2);
        try_threads(WORKERS).expect("enough");
        drop(build(PATIENCE).expect("enough"));
    }

    #[test]
    fn a_worker_that_waits_in_vain_ends_and_the_runtime_is_not_used() {
        let start = Start {
            gate: ForkLock::new(Gate::Closed),
            changed: Condvar::new(),
        };
        catch_unwind(AssertUnwindSafe(|| start.pass(Duration::ZERO))).expect_err("it unwinds");
        assert!(!start.open());
        catch_unwind(AssertUnwindSafe(|| start.pass(PATIENCE))).expect_err("as all that come later");
    }
}

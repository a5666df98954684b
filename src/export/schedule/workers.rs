//! The runtime of an engine with background threads.
//!
//! tokio assumes that its worker threads start. If one fails to start, tokio panics while it builds
//! the runtime, and the panic waits for the started workers, which never end. So threads are tried
//! first, and workers wait at a gate until the runtime is built:
//!
//! | gate | a starting worker | the builder |
//! |---|---|---|
//! | closed | waits; on timeout it ends, which lets the panic proceed | opens it once the runtime is built |
//! | open | works | |
//! | timed out | ends | reports an error, even if the runtime was built by then |

use std::io;
use std::panic::{self, AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar};
use std::thread;
use std::time::Duration;

use tokio::runtime::{Builder, Runtime};

use super::blocking::THREAD_NAME;
use crate::context;
use crate::util::fork::{ForkLock, wait_timeout};

/// Threads that encode and send.
const WORKERS: usize = 2;
/// How long a worker waits for the others. They start within microseconds, unless a thread is
/// refused.
const START_TIMEOUT: Duration = Duration::from_secs(10);

#[derive(Clone, Copy, PartialEq, Eq)]
enum Gate {
    Closed,
    Open,
    TimedOut,
}

/// The gate where workers wait until all of them have started.
struct StartGate {
    gate: ForkLock<Gate>,
    changed: Condvar,
}

/// Creates a runtime with all its workers.
///
/// # Errors
/// If a thread cannot be started.
pub(crate) fn runtime() -> io::Result<Runtime> {
    try_threads(WORKERS)?;
    build(START_TIMEOUT)
}

/// Starts `count` concurrent threads and joins them.
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
        for thread in started {
            drop(thread.join());
        }
        tried
    })
}

fn build(start_timeout: Duration) -> io::Result<Runtime> {
    let start = Arc::new(StartGate {
        gate: ForkLock::new(Gate::Closed),
        changed: Condvar::new(),
    });
    let at_gate = Arc::clone(&start);
    let mut builder = Builder::new_multi_thread();
    builder
        .worker_threads(WORKERS)
        .thread_name(THREAD_NAME)
        .on_thread_start(move || {
            at_gate.pass(start_timeout);
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

impl StartGate {
    /// Waits until the gate is open. Unwinds on timeout, which ends the thread.
    fn pass(&self, start_timeout: Duration) {
        let (mut gate, mut is_over) = (self.gate.lock(), false);
        while *gate == Gate::Closed && !is_over {
            (gate, is_over) = wait_timeout(&self.changed, gate, start_timeout);
        }
        if *gate != Gate::Open {
            *gate = Gate::TimedOut;
            drop(gate);
            panic::resume_unwind(Box::new("the runtime has too few threads"));
        }
    }

    /// Opens the gate. Returns false if a worker timed out before.
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

    /// Stack size of each thread, in a process with address space for few of them.
    const STACK: u64 = 512 << 20;

    /// Limits address space to `count` more threads and a reserve.
    fn allow_threads(count: u64) {
        let status = fs::read_to_string("/proc/self/status").expect("Linux");
        let size = status
            .lines()
            .find_map(|line| line.strip_prefix("VmSize:"))
            .expect("VmSize");
        let kib: u64 = size.trim().trim_end_matches(" kB").parse().expect("a number");
        let allowed = kib * 1024 + count * STACK + STACK / 2;
        let before = getrlimit(Resource::As);
        let current = Some(allowed);
        setrlimit(Resource::As, Rlimit { current, ..before }).expect("below the hard limit");
    }

    #[test]
    fn a_runtime_with_too_few_threads_is_an_error() {
        const TEST: &str = "export::schedule::workers::tests::a_runtime_with_too_few_threads_is_an_error";
        if !is_own_process(TEST, &[("RUST_MIN_STACK", &STACK.to_string())]) {
            return;
        }
        for threads in [0, 1] {
            allow_threads(threads);
            try_threads(WORKERS).expect_err("too few threads");
            // As if another part of the program took the threads after `try_threads`.
            build(Duration::from_millis(100)).expect_err("too few threads");
        }
        allow_threads(2);
        try_threads(WORKERS).expect("enough");
        drop(build(START_TIMEOUT).expect("enough"));
    }

    #[test]
    fn a_worker_that_times_out_ends_and_the_gate_does_not_open() {
        let start = StartGate {
            gate: ForkLock::new(Gate::Closed),
            changed: Condvar::new(),
        };
        catch_unwind(AssertUnwindSafe(|| start.pass(Duration::ZERO))).expect_err("the first worker unwinds");
        assert!(!start.open());
        catch_unwind(AssertUnwindSafe(|| start.pass(START_TIMEOUT))).expect_err("later workers unwind");
    }
}

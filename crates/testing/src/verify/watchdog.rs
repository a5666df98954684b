//! Work that may have no end.

use std::panic::resume_unwind;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

/// Does the work on a thread that is left to itself where it takes longer than the limit: then there is nothing.
///
/// # Panics
/// As the work does.
pub(super) fn within<T: Send + 'static>(limit: Duration, work: impl FnOnce() -> T + Send + 'static) -> Option<T> {
    let (done, ended) = mpsc::sync_channel(1);
    let thread = thread::spawn(move || {
        // What the work held is dropped before its end is reported.
        let result = work();
        // Nobody waits any more where the limit is over.
        let _ = done.send(result);
    });
    match ended.recv_timeout(limit) {
        Ok(result) => Some(result),
        Err(mpsc::RecvTimeoutError::Timeout) => None,
        Err(mpsc::RecvTimeoutError::Disconnected) => match thread.join() {
            Err(panic) => resume_unwind(panic),
            Ok(()) => unreachable!("it reports its end before it ends"),
        },
    }
}

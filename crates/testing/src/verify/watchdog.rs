//! Time limit for work that may hang.

use std::panic::resume_unwind;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

/// Runs the work on a new thread. Returns `None` and abandons the thread if it exceeds the limit.
///
/// # Panics
/// If the work panics.
pub(super) fn within<T: Send + 'static>(limit: Duration, work: impl FnOnce() -> T + Send + 'static) -> Option<T> {
    let (done, ended) = mpsc::sync_channel(1);
    let thread = thread::spawn(move || {
        // The values that the work owns are dropped before its end is reported.
        let result = work();
        // After the limit, the receiver is gone.
        let _ = done.send(result);
    });
    match ended.recv_timeout(limit) {
        Ok(result) => Some(result),
        Err(mpsc::RecvTimeoutError::Timeout) => None,
        Err(mpsc::RecvTimeoutError::Disconnected) => match thread.join() {
            Err(panic) => resume_unwind(panic),
            Ok(()) => unreachable!("the work reports its end before the thread ends"),
        },
    }
}

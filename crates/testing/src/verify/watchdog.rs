//! Work that may have no end.

use std::panic::resume_unwind;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

/// Does the work on a thread that is abandoned if it takes longer than the limit. Returns `None` then.
///
/// # Panics
/// As the work does.
pub(super) fn within<T: Send + 'static>(limit: Duration, work: impl FnOnce() -> T + Send + 'static) -> Option<T> {
    let (done, ended) = mpsc::sync_channel(1);
    let thread = thread::spawn(move || {
        // What the work held is dropped before its end is reported.
        let result = work();
        // Nothing waits any more after the limit.
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

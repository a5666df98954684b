//! Detects connections with a silent client.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// Time of the last transfer on a connection, and whether the client waits for a response.
#[derive(Clone)]
pub(crate) struct Activity(Arc<State>);

struct State {
    began: Instant,
    /// Time of the last transfer, in milliseconds after `began`.
    last: AtomicU64,
    responding: AtomicUsize,
}

impl Default for Activity {
    fn default() -> Self {
        Self(Arc::new(State {
            began: Instant::now(),
            last: AtomicU64::new(0),
            responding: AtomicUsize::new(0),
        }))
    }
}

impl Activity {
    /// Records a transfer or a finished response.
    pub(crate) fn record(&self) {
        let millis = u64::try_from(self.0.began.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.0.last.store(millis, Ordering::SeqCst);
    }

    /// Starts a response. While the guard lives, the client may be silent.
    pub(crate) fn start_response(&self) -> Responding {
        self.0.responding.fetch_add(1, Ordering::SeqCst);
        Responding(self.clone())
    }

    /// Waits until no byte was transferred for `timeout`, while no response was in progress.
    pub(crate) async fn silent_for(&self, timeout: Duration) {
        loop {
            let last = self.0.began + Duration::from_millis(self.0.last.load(Ordering::SeqCst));
            let left = timeout.saturating_sub(last.elapsed());
            match self.0.responding.load(Ordering::SeqCst) {
                0 if left.is_zero() => return,
                0 => tokio::time::sleep(left).await,
                _ => tokio::time::sleep(timeout).await,
            }
        }
    }
}

/// Guard of a response in progress.
pub(crate) struct Responding(Activity);

impl Drop for Responding {
    fn drop(&mut self) {
        self.0.record();
        self.0.0.responding.fetch_sub(1, Ordering::SeqCst);
    }
}

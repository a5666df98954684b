//! Whether a connection is silent although its client should send or take bytes.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// When bytes last moved on a connection, and whether the client waits for an answer.
#[derive(Clone)]
pub(crate) struct Activity(Arc<Moves>);

struct Moves {
    began: Instant,
    /// Milliseconds after it began.
    last: AtomicU64,
    answering: AtomicUsize,
}

impl Default for Activity {
    fn default() -> Self {
        Self(Arc::new(Moves {
            began: Instant::now(),
            last: AtomicU64::new(0),
            answering: AtomicUsize::new(0),
        }))
    }
}

impl Activity {
    /// Bytes moved, or an answer is ready.
    pub(crate) fn note(&self) {
        let millis = u64::try_from(self.0.began.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.0.last.store(millis, Ordering::SeqCst);
    }

    /// While this lives the client waits for an answer, and may be silent.
    pub(crate) fn answer(&self) -> Answering {
        self.0.answering.fetch_add(1, Ordering::SeqCst);
        Answering(self.clone())
    }

    /// Returns when no byte moved for so long that the client should have sent or taken some.
    pub(crate) async fn silent_for(&self, timeout: Duration) {
        loop {
            let last = self.0.began + Duration::from_millis(self.0.last.load(Ordering::SeqCst));
            let left = timeout.saturating_sub(last.elapsed());
            match self.0.answering.load(Ordering::SeqCst) {
                0 if left.is_zero() => return,
                0 => tokio::time::sleep(left).await,
                _ => tokio::time::sleep(timeout).await,
            }
        }
    }
}

/// The client waits for an answer.
pub(crate) struct Answering(Activity);

impl Drop for Answering {
    fn drop(&mut self) {
        self.0.note();
        self.0.0.answering.fetch_sub(1, Ordering::SeqCst);
    }
}

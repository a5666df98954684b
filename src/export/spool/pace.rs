//! How fast rows are loaded, so that a large backlog does not delay other data.

use std::time::Duration;

use tokio::sync::Mutex;
use tokio::time::{Instant, sleep_until};

/// The time that loads which did not happen may catch up.
const BURST: Duration = Duration::from_millis(100);

/// One load after the other, at a rate in bytes. Loads come in the order in which they began to wait.
pub(crate) struct Pace {
    bytes_per_second: f64,
    /// When the next load may begin.
    next: Mutex<Option<Instant>>,
}

impl Pace {
    pub(super) fn new(bytes_per_second: usize) -> Self {
        #[expect(clippy::cast_precision_loss, reason = "a rate")]
        let bytes_per_second = bytes_per_second as f64;
        Self {
            bytes_per_second,
            next: Mutex::new(None),
        }
    }

    /// Runs a load when it is its turn. `bytes` returns how much it loaded.
    ///
    /// # Cancel safety
    /// A load that is cancelled does not count.
    pub(super) async fn keep<T>(&self, load: impl Future<Output = T>, bytes: impl FnOnce(&T) -> usize) -> T {
        let mut next = self.next.lock().await;
        if let Some(next) = *next {
            sleep_until(next).await;
        }
        let loaded = load.await;
        #[expect(clippy::cast_precision_loss, reason = "a time")]
        let time = Duration::from_secs_f64(bytes(&loaded) as f64 / self.bytes_per_second);
        let now = Instant::now();
        let earliest = now.checked_sub(BURST).unwrap_or(now);
        *next = Some(next.unwrap_or(earliest).max(earliest) + time);
        loaded
    }
}

#[cfg(test)]
mod tests {
    use std::future::ready;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn loads_keep_the_rate_after_a_burst() {
        let pace = Pace::new(1_000);
        let begun = Instant::now();
        for _ in 0..50 {
            pace.keep(ready(100), |bytes| *bytes).await;
        }
        // The last one does not wait for its own bytes.
        let expected = Duration::from_millis(49 * 100).saturating_sub(BURST);
        assert!(
            begun.elapsed().abs_diff(expected) < Duration::from_millis(60),
            "{:?}",
            begun.elapsed()
        );
    }

    #[tokio::test(start_paused = true)]
    async fn time_without_loads_is_no_credit() {
        let pace = Pace::new(1_000);
        pace.keep(ready(0), |bytes| *bytes).await;
        tokio::time::sleep(Duration::from_secs(60)).await;
        let begun = Instant::now();
        for _ in 0..11 {
            pace.keep(ready(100), |bytes| *bytes).await;
        }
        assert!(begun.elapsed() >= Duration::from_millis(850), "{:?}", begun.elapsed());
    }
}

//! The one task that keeps the pool and the books within their bounds, on the engine's threads. With `export.mode = "inline"` it stands still
//! between flushes: then look-ups that find the pool full sweep it, and a look-up that makes a tracer has the books forget.

use std::sync::{Arc, Weak};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::{Instant, sleep, timeout_at};

use super::tracer_pool::Pool;
use crate::export::Accounting;

/// Runs until the registry is gone. Sweeps the pool once in a period, and when `wake` says that there is something to do at once.
pub(crate) async fn maintain(pool: Weak<Pool>, books: Weak<Accounting>, wake: Arc<Notify>, period: Duration) {
    let mut next = Instant::now() + period;
    loop {
        let is_woken = timeout_at(next, wake.notified()).await.is_ok();
        let (Some(pool), Some(books)) = (pool.upgrade(), books.upgrade()) else {
            return;
        };
        books.evict();
        if is_woken && !pool.is_sweep_wanted() {
            continue;
        }
        let start = Instant::now();
        let freed = pool.sweep(pool.age());
        next = Instant::now() + period;
        drop((pool, books));
        if freed == 0 {
            // Look-ups that find no room, however many, take no more than half of this thread.
            sleep(start.elapsed()).await;
        }
    }
}

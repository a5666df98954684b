//! The task that keeps the pool and the accounting within their limits, on the engine's threads.
//! With `export.mode = "inline"` it does not run between flushes. Then look-ups sweep a full pool,
//! and creating a tracer evicts old totals.

use std::sync::{Arc, Weak};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::{Instant, sleep, timeout_at};

use super::tracer_pool::Pool;
use crate::export::Accounting;

/// Runs until the registry is dropped. Sweeps the pool once per `period`, and early if `wake` is
/// notified and a look-up wants a sweep.
pub(crate) async fn maintain(pool: Weak<Pool>, accounting: Weak<Accounting>, wake: Arc<Notify>, period: Duration) {
    let mut next = Instant::now() + period;
    loop {
        let is_woken = timeout_at(next, wake.notified()).await.is_ok();
        let (Some(pool), Some(accounting)) = (pool.upgrade(), accounting.upgrade()) else {
            return;
        };
        accounting.evict();
        if is_woken && !pool.is_sweep_wanted() {
            continue;
        }
        let start = Instant::now();
        let freed = pool.sweep(pool.age());
        next = Instant::now() + period;
        drop((pool, accounting));
        if freed == 0 {
            // Use at most half of this thread, however many look-ups find the pool full.
            sleep(start.elapsed()).await;
        }
    }
}

//! The one task that keeps the pool and the books within their bounds, on the engine's threads. With `export.mode = "inline"` it stands still
//! between flushes: there look-ups look through the pool where it is full, and who makes a tracer has the books forget.

use std::sync::{Arc, Weak};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::{Instant, sleep, timeout_at};

use super::tracer_pool::Pool;
use crate::export::Accounting;

/// Runs until the registry is gone. The pool is looked through once in a period; `bell` is rung where there is something to do at once.
pub(crate) async fn maintain(pool: Weak<Pool>, books: Weak<Accounting>, bell: Arc<Notify>, period: Duration) {
    let mut next = Instant::now() + period;
    loop {
        let rung = timeout_at(next, bell.notified()).await.is_ok();
        let (Some(pool), Some(books)) = (pool.upgrade(), books.upgrade()) else {
            return;
        };
        books.forget();
        if rung && !pool.is_asked() {
            continue;
        }
        let start = Instant::now();
        let freed = pool.look_through(pool.age());
        next = Instant::now() + period;
        drop((pool, books));
        if freed == 0 {
            // Look-ups that find no room, however many, take no more than half of this thread.
            sleep(start.elapsed()).await;
        }
    }
}

//! Purges in one partition.

use std::sync::Arc;

use tokio::sync::oneshot;
use tracer_registry_spool::{QueueDepth, Row};

use super::state::{Outcome, Partition};
use crate::send::count;

impl Partition {
    /// Deletes what the selector covers: in memory, and in the parking stream. What has not arrived yet
    /// is dropped when it does.
    pub(super) fn erase(&mut self, what: &str, done: oneshot::Sender<Vec<QueueDepth>>) {
        let covers = self.sending.shared.options.covers;
        let (mut counts, mut keys) = (Vec::new(), Vec::new());
        for key in self.window.keys() {
            if !covers(what, &key.0) {
                continue;
            }
            let erased = self.window.erase(&key);
            for (hot, published, items) in erased.settled {
                self.books.settle(&published, items);
                self.acks.settle(hot);
            }
            self.books.erased += erased.count.items.iter().sum::<u64>();
            self.is_dirty = true;
            counts.push((Arc::clone(&key.0), erased.count));
            self.forget_route(&key);
            keys.push(key);
        }
        let (parking, depths) = (self.parking.clone(), count::merge(counts.into_iter()));
        self.jobs.push(Box::pin(async move {
            let mut is_purged = true;
            for key in keys {
                is_purged &= parking.purge(&key).await;
            }
            // Without an answer, the purge is reported as not finished.
            if is_purged {
                let _ = done.send(depths);
            }
            Outcome::Erased
        }));
    }

    /// Whether a purge covers a row.
    pub(super) fn is_erased(&self, row: &Row) -> bool {
        let shared = &self.sending.shared;
        shared
            .erased()
            .refuses(shared.options.covers, &row.queue, row.generation)
    }
}

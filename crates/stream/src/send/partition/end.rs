//! How a partition ends: it is handed over, unless another process has it already.

use std::time::Duration;

use futures_util::StreamExt as _;
use tokio::time::timeout;
use tracer_registry_spool::RowId;

use super::state::Partition;
use crate::layout::names::CONSUMER;
use crate::send::window::Orphan;

/// How long jobs may go on.
const JOBS: Duration = Duration::from_secs(1);
/// How long the hand-over may take.
const HAND_OVER: Duration = Duration::from_secs(3);

impl Partition {
    /// Hands over what is not finished. Returns the rows that lanes still have.
    pub(super) async fn end(mut self) -> Vec<(RowId, Orphan)> {
        self.pulls = None;
        if !self.is_lost && timeout(HAND_OVER, self.hand_over()).await.is_err() {
            tracing::debug!(partition = self.number, "a partition was not handed over in time");
        }
        let (moved, orphans) = self.window.discard();
        self.report();
        self.report_parked();
        self.report_moved(moved);
        let id = |hot: u64| RowId::new(self.file, hot.cast_signed());
        orphans.into_iter().map(|(hot, orphan)| (id(hot), orphan)).collect()
    }

    async fn hand_over(&mut self) {
        // Messages on their way to the parking stream, and books that are written.
        let jobs = async {
            while let Some(outcome) = self.jobs.next().await {
                self.outcome(outcome).await;
            }
        };
        let _ = timeout(JOBS, jobs).await;
        // The last books, then what they cover.
        self.checkpoint();
        let last = async {
            while let Some(outcome) = self.jobs.next().await {
                self.outcome(outcome).await;
            }
        };
        let _ = timeout(JOBS, last).await;
        if self.is_lost {
            return;
        }
        let numbers: Vec<u64> = self.window.hot_numbers().collect();
        self.acks.give_back(numbers.into_iter()).await;
        let _ = self.hot.unpin_consumer(CONSUMER, CONSUMER).await;
        if let Some(lease) = self.lease.take() {
            self.books.owner = None;
            match lease.write(&self.books).await {
                Ok(_) => tracing::debug!(partition = self.number, "a partition is free"),
                Err(error) => tracing::debug!(partition = self.number, %error, "a partition was not given up"),
            }
        }
    }
}

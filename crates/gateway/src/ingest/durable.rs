//! Waiting until accepted data is safe.

use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tracer_registry::TracerHandle;
use tracer_registry::gateway::Charge;
use tracer_registry::ingest::{Accepted, IngestError, Ingested, Traces};

use super::handler::{Ingest, LARGE_BYTES};
use super::turn::Turn;
use crate::answer::Refusal;
use crate::callers::Caller;

/// How long a request waits until its data is on disk. Its memory stays reserved.
const LONGEST_WAIT: Duration = Duration::from_secs(10);

/// Data that is accepted, and counted once it is safe.
pub(super) enum Counted<T> {
    Now(T),
    /// Counts although the client leaves.
    OnceSafe(JoinHandle<Result<T, IngestError>>),
}

impl Ingest {
    /// Queues the parts of a message of `bytes`, and returns what became of them once they are safe.
    pub(super) async fn take(
        &self,
        caller: &Caller,
        charge: Option<Charge>,
        bytes: usize,
        parts: Vec<(TracerHandle, Traces)>,
    ) -> Result<Vec<Ingested>, Refusal> {
        let registry = &self.registry;
        let count = self.count_spans(caller, charge);
        if bytes <= LARGE_BYTES || !registry.takes_long(&parts) {
            let accepted = registry.ingest(Some(caller.name()), parts);
            return self.once_safe(counted(&Handle::current(), accepted, count)).await;
        }
        let mut turn = Turn::new(&caller.counts().large_message);
        turn.take().await;
        let (registry, name, runtime) = (registry.clone(), caller.name().clone(), Handle::current());
        let ingest = move || counted(&runtime, registry.ingest(Some(&name), parts), count);
        let accepted = self.decode.run_there(ingest).await;
        drop(turn);
        self.once_safe(accepted.unwrap_or(Err(IngestError::SpoolUnavailable)))
            .await
    }

    /// Returns what counts accepted spans, and keeps the charge of the caller's quota.
    fn count_spans(&self, caller: &Caller, charge: Option<Charge>) -> impl FnOnce(&Vec<Ingested>) + Send + 'static {
        let (caller, counters) = (Arc::clone(caller.counts()), Arc::clone(&self.counters));
        move |ingested| {
            let sum = |count: fn(&Ingested) -> u64| ingested.iter().map(count).sum();
            let accepted = sum(|part| part.accepted);
            caller.accept(accepted);
            counters.spans_accepted.add(accepted);
            counters.spans_sampled_out.add(sum(|part| part.sampled_out));
            counters.spans_too_large.add(sum(|part| part.too_large));
            if let Some(charge) = charge {
                charge.keep();
            }
        }
    }

    /// Returns what was accepted once it is safe: at once if it is queued in memory.
    ///
    /// # Errors
    /// Returns the refusal if it was not accepted, or is not on disk in time. In the latter case it
    /// may still be sent.
    ///
    /// # Cancel safety
    /// Dropping the future does not undo anything: the data is sent and counted once it is on disk.
    pub(super) async fn once_safe<T>(&self, accepted: Result<Counted<T>, IngestError>) -> Result<T, Refusal> {
        let safe = match accepted {
            Ok(Counted::Now(value)) => Ok(value),
            Ok(Counted::OnceSafe(task)) => {
                in_time(async { task.await.unwrap_or(Err(IngestError::SpoolUnavailable)) }).await
            }
            Err(error) => Err(error),
        };
        safe.map_err(|error| self.not_queued(&error))
    }
}

/// Calls `count` with what was accepted, once it is safe.
pub(super) fn counted<T: Send + Unpin + 'static>(
    runtime: &Handle,
    accepted: Result<Accepted<T>, IngestError>,
    count: impl FnOnce(&T) + Send + 'static,
) -> Result<Counted<T>, IngestError> {
    Ok(match accepted? {
        Accepted::Now(value) => {
            count(&value);
            Counted::Now(value)
        }
        Accepted::OnceDurable(durable) => Counted::OnceSafe(runtime.spawn(async move {
            let value = durable.await?;
            count(&value);
            Ok(value)
        })),
    })
}

/// Waits for data to reach the disk, within a limit.
async fn in_time<T>(durable: impl Future<Output = Result<T, IngestError>>) -> Result<T, IngestError> {
    let late = |_| Err(IngestError::SpoolUnavailable);
    timeout(LONGEST_WAIT, durable).await.unwrap_or_else(late)
}

#[cfg(test)]
mod tests {
    use std::future::{pending, ready};

    use tokio::time::{Instant, sleep};

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_disk_that_hangs_is_given_up_after_ten_seconds() {
        let began = Instant::now();
        assert_eq!(
            in_time(pending::<Result<(), _>>()).await,
            Err(IngestError::SpoolUnavailable)
        );
        assert_eq!(began.elapsed(), Duration::from_secs(10));
    }

    #[tokio::test(start_paused = true)]
    async fn a_slow_commit_is_waited_for_and_its_error_is_returned() {
        let slow = async {
            sleep(Duration::from_secs(9)).await;
            Ok(7)
        };
        assert_eq!(in_time(slow).await, Ok(7));
        let refused = ready(Err::<(), _>(IngestError::Closed));
        assert_eq!(in_time(refused).await, Err(IngestError::Closed));
    }
}

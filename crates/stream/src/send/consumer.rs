//! The consumer of a hot stream: one for each partition, shared by all senders.

use std::time::Duration;

use async_nats::jetstream::consumer::{PullConsumer, pull};
use async_nats::jetstream::stream::Stream;

use crate::layout::names::CONSUMER;

/// Most messages of one pull.
const BATCH: usize = 128;
/// How long one pull waits. Shorter than [`PIN_TIMEOUT`](crate::layout::wanted::PIN_TIMEOUT), so that
/// the owner stays pinned.
const PULL: Duration = Duration::from_secs(2);
const HEARTBEAT: Duration = Duration::from_millis(900);

/// Pulls messages. `bytes` bounds those of one pull: one message must fit.
pub(crate) async fn pull(consumer: &PullConsumer, bytes: usize) -> Result<pull::Stream, async_nats::Error> {
    let pulls = consumer.stream().group(CONSUMER).expires(PULL).heartbeat(HEARTBEAT);
    Ok(pulls
        .max_messages_per_batch(BATCH)
        .max_bytes_per_batch(bytes)
        .messages()
        .await?)
}

/// Ends the pin of an earlier owner, and makes the servers deliver all that is not acknowledged again,
/// in order. Returns false if they cannot: before 2.14, or they did not answer.
pub(crate) async fn reset(hot: &Stream<()>) -> bool {
    let _ = hot.unpin_consumer(CONSUMER, CONSUMER).await;
    hot.reset_consumer(CONSUMER, None).await.is_ok()
}

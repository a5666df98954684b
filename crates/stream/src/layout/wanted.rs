//! The configuration of all streams, consumers and buckets.

use std::time::Duration;

use async_nats::jetstream::consumer::{self, AckPolicy, DeliverPolicy, PriorityPolicy};
use async_nats::jetstream::stream::{self, DiscardPolicy, RetentionPolicy, StorageType};

use super::names::{CONSUMER, Names};
use crate::options::StreamOptions;

/// Metadata of each stream: the number of partitions.
pub(crate) const PARTITIONS: &str = "tracer-registry.partitions";

/// How long an unacknowledged message waits until it is delivered again.
pub(crate) const ACK_WAIT: Duration = Duration::from_secs(10);

/// How long a sender that does not pull keeps a partition.
pub(crate) const PIN_TIMEOUT: Duration = Duration::from_secs(4);

/// Unacknowledged messages of one partition.
pub(crate) const MAX_ACK_PENDING: i64 = 1024;

/// How long JetStream knows identities of messages.
const DUPLICATE_WINDOW: Duration = Duration::from_secs(120);

/// How long a replica without a heartbeat stays in its bucket.
const REPLICA_AGE: Duration = Duration::from_secs(60);

/// The largest value in a bucket.
const MAX_VALUE: i32 = 1 << 20;

/// Bytes of one bucket.
const BUCKET_BYTES: i64 = 256 << 20;

/// Names of buckets, without the prefix.
const BUCKETS: [&str; 5] = ["books", "totals", "replicas", "erased", "bindings"];

/// A stream or a bucket, which is a stream too, with its consumer.
#[derive(Clone, Debug)]
pub(crate) struct Wanted {
    pub(crate) stream: stream::Config,
    pub(crate) consumer: Option<consumer::pull::Config>,
}

/// Returns all streams and buckets.
pub(crate) fn all(options: &StreamOptions, names: &Names) -> Vec<Wanted> {
    let partitions = 0..options.partitions;
    let hot = partitions.clone().map(|partition| Wanted {
        stream: hot(options, names, partition),
        consumer: Some(sender(options)),
    });
    let parking = partitions.map(|partition| Wanted {
        stream: parking(options, names, partition),
        consumer: None,
    });
    let buckets = BUCKETS.map(|bucket_name| Wanted {
        stream: bucket(options, &names.bucket(bucket_name), bucket_name),
        consumer: None,
    });
    hot.chain(parking).chain(buckets).collect()
}

/// Returns the name of a bucket, if the stream of this name is one.
pub(crate) fn bucket_name(stream: &str) -> Option<&str> {
    stream.strip_prefix("KV_")
}

/// Settings of all streams. What has no bound is written as JetStream answers it.
fn base(options: &StreamOptions) -> stream::Config {
    stream::Config {
        storage: StorageType::File,
        num_replicas: options.replicas,
        discard: DiscardPolicy::New,
        max_messages: -1,
        max_consumers: -1,
        max_message_size: -1,
        duplicate_window: DUPLICATE_WINDOW,
        allow_direct: true,
        metadata: [(PARTITIONS.to_owned(), options.partitions.to_string())].into(),
        ..stream::Config::default()
    }
}

fn hot(options: &StreamOptions, names: &Names, partition: u16) -> stream::Config {
    stream::Config {
        name: names.hot_stream(partition),
        description: Some("tracer-registry: data to be sent".to_owned()),
        subjects: vec![names.hot_subjects(partition)],
        retention: RetentionPolicy::WorkQueue,
        max_bytes: part(options.limits.max_bytes, options.partitions),
        // A full stream refuses, and so does a full subject: nothing that was acknowledged is
        // deleted for something new.
        max_messages_per_subject: options.limits.max_messages_per_selector,
        discard_new_per_subject: true,
        allow_atomic_publish: true,
        ..base(options)
    }
}

fn parking(options: &StreamOptions, names: &Names, partition: u16) -> stream::Config {
    stream::Config {
        name: names.parking_stream(partition),
        description: Some("tracer-registry: data of failing receivers".to_owned()),
        subjects: vec![names.parking_subjects(partition)],
        retention: RetentionPolicy::Limits,
        max_bytes: part(options.limits.max_parked_bytes, options.partitions),
        max_messages_per_subject: -1,
        ..base(options)
    }
}

/// A bucket of JetStream's key-value store, which is a stream with these settings.
fn bucket(options: &StreamOptions, name: &str, what: &str) -> stream::Config {
    let max_age = if what == "replicas" {
        REPLICA_AGE
    } else {
        Duration::ZERO
    };
    stream::Config {
        name: format!("KV_{name}"),
        description: Some(format!("tracer-registry: {what}")),
        subjects: vec![format!("$KV.{name}.>")],
        retention: RetentionPolicy::Limits,
        max_bytes: BUCKET_BYTES,
        max_message_size: MAX_VALUE,
        max_messages_per_subject: 1,
        max_age,
        duplicate_window: if max_age.is_zero() { DUPLICATE_WINDOW } else { max_age },
        allow_rollup: true,
        deny_delete: true,
        ..base(options)
    }
}

fn sender(options: &StreamOptions) -> consumer::pull::Config {
    consumer::pull::Config {
        durable_name: Some(CONSUMER.to_owned()),
        description: Some("tracer-registry: the sender of the partition".to_owned()),
        deliver_policy: DeliverPolicy::All,
        ack_policy: AckPolicy::Explicit,
        ack_wait: ACK_WAIT,
        // A message that is never finished is delivered again until its sender drops it.
        max_deliver: -1,
        max_ack_pending: MAX_ACK_PENDING,
        num_replicas: options.replicas,
        priority_policy: PriorityPolicy::PinnedClient,
        priority_groups: vec![CONSUMER.to_owned()],
        priority_timeout: PIN_TIMEOUT,
        ..consumer::pull::Config::default()
    }
}

/// Returns the bytes of one partition.
fn part(bytes: u64, partitions: u16) -> i64 {
    i64::try_from(bytes / u64::from(partitions.max(1))).unwrap_or(i64::MAX)
}

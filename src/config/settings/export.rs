//! `[export]`: how spans are queued, batched, sent and retried, for all tracers of a registry.

use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::config::settings::units::{HumanDuration, HumanSize, replace};

/// The most requests under way at the same time: more than a process has sockets for.
pub(crate) const MAX_CONCURRENT_EXPORTS: usize = 65_536;

/// `[export]` as written.
#[derive(Clone, Debug, Default, PartialEq, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct Export {
    /// Who sends, and when. Default: background.
    pub mode: Option<ExportMode>,
    /// How spans are encoded and sent. Default: http/protobuf.
    pub protocol: Option<Protocol>,
    /// How bodies are compressed. Default: gzip.
    pub compression: Option<Compression>,
    /// How long a span waits for others before its batch is sent. Default: 1s.
    #[schemars(with = "Option<HumanDuration>")]
    pub scheduled_delay: Option<Duration>,
    /// Spans in a request at the most. Default: 512.
    #[schemars(range(min = 1))]
    pub max_export_batch_size: Option<usize>,
    /// Spans of one tracer that wait at the most, and as many session events; the newest is dropped and counted. Default: 8192.
    #[schemars(range(min = 1))]
    pub max_queue_size: Option<usize>,
    /// What the spans and session events of all tracers together may take that are queued and under way; each tracer may have as much as is
    /// free. Default: 64MiB.
    #[schemars(with = "Option<HumanSize>")]
    pub max_queue_bytes: Option<usize>,
    /// Requests under way at the same time, all tracers together. As many again may be waiting for receivers that are slow to answer, and
    /// an eighth of it for those that were slow before. Default: 64.
    #[schemars(range(min = 1, max = MAX_CONCURRENT_EXPORTS))]
    pub max_concurrent_exports: Option<usize>,
    /// How long one request may take. Default: 10s.
    #[schemars(with = "Option<HumanDuration>")]
    pub timeout: Option<Duration>,
    /// How long a registry that is dropped without `shutdown` goes on delivering. Default: 2s.
    #[schemars(with = "Option<HumanDuration>")]
    pub drop_timeout: Option<Duration>,
    /// What happens with a request that failed for a passing reason.
    #[schemars(with = "Option<Retry>")]
    pub retry: Retry,
}

/// `[export.retry]` as written.
#[derive(Clone, Debug, Default, PartialEq, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct Retry {
    /// The longest wait before the first repetition; it doubles each time, and each wait is drawn from zero to it. Default: 1s.
    #[schemars(with = "Option<HumanDuration>")]
    pub initial_backoff: Option<Duration>,
    /// The longest wait between two attempts. Default: 30s.
    #[schemars(with = "Option<HumanDuration>")]
    pub max_backoff: Option<Duration>,
    /// How long what failed for a passing reason is repeated before it is dropped and counted: from when it was due, or from when the
    /// receiver's present failure began, whichever is later. With `0s` nothing is repeated. Default: 5m.
    #[schemars(with = "Option<HumanDuration>")]
    pub max_elapsed: Option<Duration>,
    /// The longest wait that a receiver may ask for (`Retry-After`, gRPC's `RetryInfo`); a longer one is cut to it. With `0s` its wishes are
    /// ignored. Default: 1h.
    #[schemars(with = "Option<HumanDuration>")]
    pub max_retry_after: Option<Duration>,
    /// What is done where the receiver fails on a request by an HTTP status that may be about what it carries: 500, and any other 5xx but
    /// 502, 503 and 504 (gRPC: INTERNAL, UNKNOWN). Default: halve.
    pub server_errors: Option<ServerErrors>,
}

/// What is done where the receiver answers a batch with 500 or the like.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum ServerErrors {
    /// After three attempts the batch is sent in halves while others go on, until the span that the receiver fails on is alone. If nothing is
    /// taken, it is repeated as after a 503.
    #[default]
    Halve,
    /// It is repeated as after a 503.
    Repeat,
}

/// Who sends, and when.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum ExportMode {
    /// Threads of the registry, all the time.
    #[default]
    Background,
    /// The thread that flushes or shuts down, while it does, and nobody at any other time: for processes that are frozen in between.
    Inline,
}

/// How spans are encoded and sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[non_exhaustive]
pub enum Protocol {
    /// OTLP/HTTP with protobuf bodies.
    #[default]
    #[serde(rename = "http/protobuf")]
    HttpProtobuf,
    /// OTLP/HTTP with JSON bodies.
    #[serde(rename = "http/json")]
    HttpJson,
    /// OTLP/gRPC; the program must have been built with the feature `grpc`.
    #[serde(rename = "grpc")]
    Grpc,
}

/// How bodies are compressed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Compression {
    /// With gzip.
    #[default]
    Gzip,
    /// With zstd; the program must have been built with the feature `zstd`.
    Zstd,
    /// Not at all.
    None,
}

/// `[export]` with every default filled in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExportSettings {
    /// Who sends, and when.
    pub mode: ExportMode,
    /// How spans are encoded and sent.
    pub protocol: Protocol,
    /// How bodies are compressed.
    pub compression: Compression,
    /// How long a span waits for others before its batch is sent.
    pub scheduled_delay: Duration,
    /// Spans in a request at the most.
    pub max_export_batch_size: usize,
    /// Spans of one tracer that wait at the most, and as many session events.
    pub max_queue_size: usize,
    /// What the spans and session events of all tracers together may take.
    pub max_queue_bytes: usize,
    /// Requests under way at the same time.
    pub max_concurrent_exports: usize,
    /// How long one request may take.
    pub timeout: Duration,
    /// How long a registry that is dropped without `shutdown` goes on delivering.
    pub drop_timeout: Duration,
    /// What happens with a request that failed for a passing reason.
    pub retry: RetrySettings,
}

/// `[export.retry]` with every default filled in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RetrySettings {
    /// The longest wait before the first repetition.
    pub initial_backoff: Duration,
    /// The longest wait between two attempts.
    pub max_backoff: Duration,
    /// How long what failed for a passing reason is repeated: from when it was due, or from when the receiver's present failure began.
    pub max_elapsed: Duration,
    /// The longest wait that a receiver may ask for.
    pub max_retry_after: Duration,
    /// What is done where the receiver answers a batch with 500 or the like.
    pub server_errors: ServerErrors,
}

impl ExportSettings {
    /// Spans that are sent without waiting for more. A full queue is: it would only drop while it waits.
    pub(crate) fn full_batch(&self) -> usize {
        self.max_export_batch_size.min(self.max_queue_size)
    }
}

impl RetrySettings {
    /// The longest wait before a repetition, after `before` waits: it doubles each time, up to its bound.
    pub(crate) fn longest_wait(&self, before: u32) -> Duration {
        self.initial_backoff
            .saturating_mul(2_u32.saturating_pow(before))
            .min(self.max_backoff)
    }
}

impl Export {
    pub(crate) fn overlay(&mut self, over: &Self) {
        replace(&mut self.mode, over.mode.as_ref());
        replace(&mut self.protocol, over.protocol.as_ref());
        replace(&mut self.compression, over.compression.as_ref());
        replace(&mut self.scheduled_delay, over.scheduled_delay.as_ref());
        replace(&mut self.max_export_batch_size, over.max_export_batch_size.as_ref());
        replace(&mut self.max_queue_size, over.max_queue_size.as_ref());
        replace(&mut self.max_queue_bytes, over.max_queue_bytes.as_ref());
        replace(&mut self.max_concurrent_exports, over.max_concurrent_exports.as_ref());
        replace(&mut self.timeout, over.timeout.as_ref());
        replace(&mut self.drop_timeout, over.drop_timeout.as_ref());
        replace(&mut self.retry.initial_backoff, over.retry.initial_backoff.as_ref());
        replace(&mut self.retry.max_backoff, over.retry.max_backoff.as_ref());
        replace(&mut self.retry.max_elapsed, over.retry.max_elapsed.as_ref());
        replace(&mut self.retry.max_retry_after, over.retry.max_retry_after.as_ref());
        replace(&mut self.retry.server_errors, over.retry.server_errors.as_ref());
    }

    pub(crate) fn settings(&self) -> ExportSettings {
        ExportSettings {
            mode: self.mode.unwrap_or_default(),
            protocol: self.protocol.unwrap_or_default(),
            compression: self.compression.unwrap_or_default(),
            scheduled_delay: self.scheduled_delay.unwrap_or(Duration::from_secs(1)),
            max_export_batch_size: self.max_export_batch_size.unwrap_or(512),
            max_queue_size: self.max_queue_size.unwrap_or(8192),
            max_queue_bytes: self.max_queue_bytes.unwrap_or(64 << 20),
            max_concurrent_exports: self.max_concurrent_exports.unwrap_or(64),
            timeout: self.timeout.unwrap_or(Duration::from_secs(10)),
            drop_timeout: self.drop_timeout.unwrap_or(Duration::from_secs(2)),
            retry: RetrySettings {
                initial_backoff: self.retry.initial_backoff.unwrap_or(Duration::from_secs(1)),
                max_backoff: self.retry.max_backoff.unwrap_or(Duration::from_secs(30)),
                max_elapsed: self.retry.max_elapsed.unwrap_or(Duration::from_secs(300)),
                max_retry_after: self.retry.max_retry_after.unwrap_or(Duration::from_secs(3600)),
                server_errors: self.retry.server_errors.unwrap_or_default(),
            },
        }
    }
}

//! `[export]`: queueing, batching, sending and retrying, for all tracers of a registry.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::config::read::table::Table;
use crate::config::rules::values::{at_least_one, at_most_a_day, more_than_zero, needs_feature};
use crate::config::settings::declare::settings;
#[cfg(feature = "schema")]
use crate::config::settings::schema_types;
use crate::config::settings::setting::{impl_setting, size};
#[cfg(feature = "gateway")]
use crate::config::settings::written::written_as_json;

/// Maximum of concurrent requests, above the number of sockets of a process.
pub(crate) const MAX_CONCURRENT_EXPORTS: usize = 65_536;
/// Maximum traces to explain.
const MAX_TRACES: usize = 1_000_000;
/// Maximum refused batches of a selector.
const MAX_DEAD_LETTERS: usize = 16;

settings! {
    /// `[export]` as written.
    #[derive(Clone, Debug, Default, PartialEq)]
    #[at("export")]
    pub struct Export {
        /// Which threads send, and when. Default: background.
        #[default(ExportMode::Background)]
        pub mode: Option<ExportMode>,
        /// How spans are encoded and sent. Default: http/protobuf.
        #[default(Protocol::HttpProtobuf, protocol_feature)]
        pub protocol: Option<Protocol>,
        /// How bodies are compressed. Default: gzip.
        #[default(Compression::Gzip, compression_feature)]
        pub compression: Option<Compression>,
        /// Maximum time that a span waits for a full batch. Default: 1s.
        #[default(Duration::from_secs(1), at_most_a_day)]
        pub scheduled_delay: Option<Duration>,
        /// Maximum spans per request. Default: 512.
        #[schema(range(min = 1))]
        #[default(512, at_least_one)]
        pub max_export_batch_size: Option<usize>,
        /// Maximum queued spans of one tracer, and maximum queued session events. Beyond it, the
        /// newest is dropped and counted. Default: 8192.
        #[schema(range(min = 1))]
        #[default(8192, at_least_one)]
        pub max_queue_size: Option<usize>,
        /// Maximum bytes of queued and in-flight spans and session events, for all tracers
        /// together. One tracer may use all that is free. Default: 64MiB.
        #[schema(with = "Option<schema_types::Size>")]
        #[take(size)]
        #[default(64 << 20, at_least_one)]
        pub max_queue_bytes: Option<usize>,
        /// Maximum concurrent requests, for all tracers together. In addition, the same number may
        /// wait for slow receivers, and an eighth of it for receivers that were slow before.
        /// Default: 64.
        #[schema(range(min = 1, max = MAX_CONCURRENT_EXPORTS))]
        #[default(64, in_bounds)]
        pub max_concurrent_exports: Option<usize>,
        /// Timeout of one request. Default: 10s.
        #[default(Duration::from_secs(10), more_than_zero)]
        pub timeout: Option<Duration>,
        /// How long a registry that is dropped without `shutdown` continues to deliver. Default:
        /// 2s.
        #[default(Duration::from_secs(2), at_most_a_day)]
        pub drop_timeout: Option<Duration>,
        #[inner(RetrySettings)]
        /// Retries of requests with a temporary failure.
        pub retry: Retry,
        #[inner(ExplainSettings)]
        /// What `TracerRegistry::explain` remembers.
        pub explain: Explain,
        #[inner(DeadLetterSettings)]
        /// What `TracerRegistry::refused` keeps.
        pub dead_letters: DeadLetters,
    }

    /// `[export]` with every default filled in.
    pub struct ExportSettings;
}

settings! {
    /// `[export.retry]` as written.
    #[derive(Clone, Debug, Default, PartialEq)]
    #[at("export.retry")]
    pub struct Retry {
        /// Maximum wait before the first retry. It doubles with each retry, and each wait is random
        /// between zero and it. Default: 1s.
        #[default(Duration::from_secs(1), more_than_zero)]
        pub initial_backoff: Option<Duration>,
        /// Maximum wait between two attempts. Default: 30s.
        #[default(Duration::from_secs(30), more_than_zero)]
        pub max_backoff: Option<Duration>,
        /// How long a request with a temporary failure is retried before it is dropped and counted,
        /// from its due time or from the start of the receiver's current failure, whichever is
        /// later. `0s` disables retries. Default: 5m.
        #[default(Duration::from_secs(300), at_most_a_day)]
        pub max_elapsed: Option<Duration>,
        /// Maximum wait that a receiver may request (`Retry-After`, gRPC's `RetryInfo`); longer
        /// ones are reduced to it. `0s` ignores such requests. Default: 1h.
        #[default(Duration::from_secs(3600), at_most_a_day)]
        pub max_retry_after: Option<Duration>,
        /// What to do if the receiver fails with an HTTP status that may be caused by the request's
        /// content: 500, and any other 5xx but 502, 503 and 504 (gRPC: INTERNAL, UNKNOWN). Default:
        /// halve.
        #[default(ServerErrors::Halve)]
        pub server_errors: Option<ServerErrors>,
    }

    /// `[export.retry]` with every default filled in.
    pub struct RetrySettings;
}

settings! {
    /// `[export.explain]` as written.
    #[derive(Clone, Debug, Default, PartialEq)]
    #[at("export.explain")]
    pub struct Explain {
        /// Maximum traces to remember, a trace once for each tracer that it has spans of. About 300
        /// bytes each. `0` disables it. Default: 0.
        #[schema(range(max = MAX_TRACES))]
        #[default(0, at_most_a_million)]
        pub max_traces: Option<usize>,
        /// How long a trace is remembered after the last thing that happened to it. Default: 10m.
        #[default(Duration::from_secs(600), more_than_zero)]
        pub keep: Option<Duration>,
    }

    /// `[export.explain]` with every default filled in.
    pub struct ExplainSettings;
}

settings! {
    /// `[export.dead_letters]` as written.
    #[derive(Clone, Debug, Default, PartialEq)]
    #[at("export.dead_letters")]
    pub struct DeadLetters {
        /// Maximum refused batches to keep for a selector, with at most 1 MiB of bodies. `0` disables
        /// it. Default: 0.
        #[schema(range(max = MAX_DEAD_LETTERS))]
        #[default(0, at_most_sixteen)]
        pub max_batches: Option<usize>,
        /// Maximum bytes of the bodies of refused batches, for all selectors together. Default:
        /// 16MiB.
        #[schema(with = "Option<schema_types::Size>")]
        #[take(size)]
        #[default(16 << 20, at_least_one)]
        pub max_bytes: Option<usize>,
    }

    /// `[export.dead_letters]` with every default filled in.
    pub struct DeadLetterSettings;
}

/// What to do if the receiver responds to a batch with a status such as 500.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum ServerErrors {
    /// After three attempts, the batch is sent in halves, while other requests continue, until the
    /// span that causes the failure is alone. If nothing is accepted, it is retried as after a 503.
    #[default]
    Halve,
    /// The batch is retried as after a 503.
    Repeat,
}

/// Which threads send, and when.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum ExportMode {
    /// Threads of the registry, continuously.
    #[default]
    Background,
    /// Only a thread that flushes or shuts down, during that call. For processes that are frozen in
    /// between.
    Inline,
}

/// How spans are encoded and sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[non_exhaustive]
pub enum Protocol {
    /// OTLP/HTTP with protobuf bodies.
    #[default]
    #[serde(rename = "http/protobuf")]
    HttpProtobuf,
    /// OTLP/HTTP with JSON bodies.
    #[serde(rename = "http/json")]
    HttpJson,
    /// OTLP/gRPC. Requires the feature `grpc`.
    #[serde(rename = "grpc")]
    Grpc,
}

/// How bodies are compressed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Compression {
    /// gzip.
    #[default]
    Gzip,
    /// zstd. Requires the feature `zstd`.
    Zstd,
    /// No compression.
    None,
}

impl ExportSettings {
    /// Returns the number of spans that are sent without waiting for more. A full queue counts,
    /// because it would only drop spans while waiting.
    pub(crate) fn full_batch(&self) -> usize {
        self.max_export_batch_size.min(self.max_queue_size)
    }
}

impl RetrySettings {
    /// Returns the maximum wait before the next retry, after `before` retries: it doubles each
    /// time, up to `max_backoff`.
    pub(crate) fn longest_wait(&self, before: u32) -> Duration {
        self.initial_backoff
            .saturating_mul(2_u32.saturating_pow(before))
            .min(self.max_backoff)
    }
}

impl_setting! {
    ExportMode: Table::choose;
    Protocol: Table::choose;
    Compression: Table::choose;
    ServerErrors: Table::choose;
}

#[cfg(feature = "gateway")]
written_as_json!(Compression, ExportMode, Protocol, ServerErrors);

fn in_bounds(value: usize) -> Option<String> {
    at_least_one(value).or_else(|| at_most(MAX_CONCURRENT_EXPORTS, value))
}

fn at_most_a_million(value: usize) -> Option<String> {
    at_most(MAX_TRACES, value)
}

fn at_most_sixteen(value: usize) -> Option<String> {
    at_most(MAX_DEAD_LETTERS, value)
}

fn at_most(max: usize, value: usize) -> Option<String> {
    (value > max).then(|| format!("must be at most {max}"))
}

fn protocol_feature(protocol: Protocol) -> Option<String> {
    (protocol == Protocol::Grpc && cfg!(not(feature = "grpc"))).then(|| needs_feature("grpc", "grpc"))
}

fn compression_feature(compression: Compression) -> Option<String> {
    (compression == Compression::Zstd && cfg!(not(feature = "zstd"))).then(|| needs_feature("zstd", "zstd"))
}

//! `[export]`: how spans are queued, batched, sent and retried, for all tracers of a registry.

use std::time::Duration;

use bytesize::ByteSize;
use serde::{Deserialize, Serialize};

use crate::config::read::table::{SIZE, Table};
use crate::config::rules::values::{at_least_one, at_most_a_day, more_than_zero, needs_feature};
use crate::config::settings::declare::settings;
#[cfg(feature = "schema")]
use crate::config::settings::forms;
use crate::config::settings::setting::replaced;

/// The most requests under way at the same time: more than a process has sockets for.
pub(crate) const MAX_CONCURRENT_EXPORTS: usize = 65_536;

settings! {
    /// `[export]` as written.
    #[derive(Clone, Debug, Default, PartialEq)]
    #[at("export")]
    pub struct Export {
        /// Who sends, and when. Default: background.
        #[default(ExportMode::Background)]
        pub mode: Option<ExportMode>,
        /// How spans are encoded and sent. Default: http/protobuf.
        #[default(Protocol::HttpProtobuf, is_built)]
        pub protocol: Option<Protocol>,
        /// How bodies are compressed. Default: gzip.
        #[default(Compression::Gzip, is_built_too)]
        pub compression: Option<Compression>,
        /// How long a span waits for others before its batch is sent. Default: 1s.
        #[default(Duration::from_secs(1), at_most_a_day)]
        pub scheduled_delay: Option<Duration>,
        /// Spans in a request at the most. Default: 512.
        #[schema(range(min = 1))]
        #[default(512, at_least_one)]
        pub max_export_batch_size: Option<usize>,
        /// Spans of one tracer that wait at the most, and as many session events; the newest is dropped and counted. Default: 8192.
        #[schema(range(min = 1))]
        #[default(8192, at_least_one)]
        pub max_queue_size: Option<usize>,
        /// What the spans and session events of all tracers together may take that are queued and under way; each tracer may have as much as is
        /// free. Default: 64MiB.
        #[schema(with = "Option<forms::Size>")]
        #[take(size)]
        #[default(64 << 20, at_least_one)]
        pub max_queue_bytes: Option<usize>,
        /// Requests under way at the same time, all tracers together. As many again may be waiting for receivers that are slow to answer, and
        /// an eighth of it for those that were slow before. Default: 64.
        #[schema(range(min = 1, max = MAX_CONCURRENT_EXPORTS))]
        #[default(64, in_bounds)]
        pub max_concurrent_exports: Option<usize>,
        /// How long one request may take. Default: 10s.
        #[default(Duration::from_secs(10), more_than_zero)]
        pub timeout: Option<Duration>,
        /// How long a registry that is dropped without `shutdown` goes on delivering. Default: 2s.
        #[default(Duration::from_secs(2), at_most_a_day)]
        pub drop_timeout: Option<Duration>,
        #[inner(RetrySettings)]
        /// What happens with a request that failed for a passing reason.
        pub retry: Retry,
    }

    /// `[export]` with every default filled in.
    pub struct ExportSettings;
}

settings! {
    /// `[export.retry]` as written.
    #[derive(Clone, Debug, Default, PartialEq)]
    #[at("export.retry")]
    pub struct Retry {
        /// The longest wait before the first repetition; it doubles each time, and each wait is drawn from zero to it. Default: 1s.
        #[default(Duration::from_secs(1), more_than_zero)]
        pub initial_backoff: Option<Duration>,
        /// The longest wait between two attempts. Default: 30s.
        #[default(Duration::from_secs(30), more_than_zero)]
        pub max_backoff: Option<Duration>,
        /// How long what failed for a passing reason is repeated before it is dropped and counted: from when it was due, or from when the
        /// receiver's present failure began, whichever is later. With `0s` nothing is repeated. Default: 5m.
        #[default(Duration::from_secs(300), at_most_a_day)]
        pub max_elapsed: Option<Duration>,
        /// The longest wait that a receiver may ask for (`Retry-After`, gRPC's `RetryInfo`); a longer one is cut to it. With `0s` its wishes are
        /// ignored. Default: 1h.
        #[default(Duration::from_secs(3600), at_most_a_day)]
        pub max_retry_after: Option<Duration>,
        /// What is done if the receiver fails on a request by an HTTP status that may be about what it carries: 500, and any other 5xx but
        /// 502, 503 and 504 (gRPC: INTERNAL, UNKNOWN). Default: halve.
        #[default(ServerErrors::Halve)]
        pub server_errors: Option<ServerErrors>,
    }

    /// `[export.retry]` with every default filled in.
    pub struct RetrySettings;
}

/// What is done if the receiver answers a batch with 500 or the like.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
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
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum ExportMode {
    /// Threads of the registry, all the time.
    #[default]
    Background,
    /// The thread that flushes or shuts down, while it does, and no other: for processes that are frozen in between.
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
    /// OTLP/gRPC; the program must have been built with the feature `grpc`.
    #[serde(rename = "grpc")]
    Grpc,
}

/// How bodies are compressed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
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

replaced! {
    ExportMode: Table::choose;
    Protocol: Table::choose;
    Compression: Table::choose;
    ServerErrors: Table::choose;
}

fn size(table: &mut Table<'_>, name: &'static str) -> Option<usize> {
    table.take_text(name, SIZE, |text| {
        usize::try_from(text.parse::<ByteSize>().ok()?.as_u64()).ok()
    })
}

fn in_bounds(most: usize) -> Option<String> {
    let too_many = || (most > MAX_CONCURRENT_EXPORTS).then(|| format!("must be at most {MAX_CONCURRENT_EXPORTS}"));
    at_least_one(most).or_else(too_many)
}

fn is_built(protocol: Protocol) -> Option<String> {
    (protocol == Protocol::Grpc && cfg!(not(feature = "grpc"))).then(|| needs_feature("grpc", "grpc"))
}

fn is_built_too(compression: Compression) -> Option<String> {
    (compression == Compression::Zstd && cfg!(not(feature = "zstd"))).then(|| needs_feature("zstd", "zstd"))
}

//! A gateway that gives programs in any language isolated tracers.
//!
//! It takes OTLP and requests to HoneyHive's session API, finds the caller by its credential, and
//! queues the data in the lane of the caller's tenant, which sends it with the tenant's own key.
//! `tracer-registry serve` runs it.
//!
//! ```no_run
//! // Does not run here: it reads configuration and token files.
//! use tracer_registry::config::Config;
//! use tracer_registry_gateway::Gateway;
//!
//! let gateway = Gateway::start(Config::load_for_gateway("config")?)?;
//! println!("listening on {:?} and {:?}", gateway.http(), gateway.grpc());
//! // Wait for a signal, then:
//! let timeout = gateway.settings().shutdown_timeout;
//! let report = gateway.shutdown(timeout);
//! println!("{}", report.registry);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Constraints
//! - The caller's credential decides the tenant. Headers, attributes and paths choose only among
//!   what that credential may address, and a mismatch is refused.
//! - A success means that all data of the request is in queues. Before that, nothing is.
//! - Everything a client sends is bounded: bytes, nesting, number, time. Without room, the answer
//!   comes at once and asks for a later attempt. No request waits for memory.
//! - Load is never an internal error: 503 with `Retry-After`, or `UNAVAILABLE` with `RetryInfo`.
//! - A tenant without a key, a slow backend or a full queue concerns the requests of that tenant.
//! - No credential and no key is in an answer or in a log line.
//!
//! # Design
//! ```text
//!            HTTP/1.1   HTTP/2   gRPC
//!                │        │       │
//!   server   ┌───┴────────┴───────┴──┐  TLS, connections, heads, idle time
//!            └───────────┬───────────┘
//!   callers              │ credential ─► caller ─► what it may address
//!                        │
//!   ingest   ┌───────────┴───────────┐  memory budget: reserved, then read
//!            │ read ─► inflate ─► check   large messages on a thread of their own
//!            └───────────┬───────────┘
//!                        │ bytes of one or more tenants, never decoded
//!   library  ┌──────┬────┴─┬──────┐
//!            │ acme │globex│  ..  │     lanes: queue, key, ledger; all parts or none
//!            └───┬──┴───┬──┴───┬──┘
//!                ▼      ▼      ▼
//!                  receivers
//! ```
//! One request goes this way:
//! 1. The path says what it asks for. Both listeners serve each path and protocol.
//! 2. [`Callers::identify`](callers::Callers::identify) finds the caller, and
//!    [`Caller::target`](callers::Caller::target) the selector, or the resource attribute that
//!    names it. Nothing of the body has been read.
//! 3. Type and encoding are checked, then memory is reserved: the announced length, or step by step
//!    if there is none.
//! 4. The body is read, and inflated in slices of 64 KiB, between which other requests run. What is
//!    inflated is reserved too.
//! 5. JSON becomes protobuf. Protobuf is checked and counted by a walk, and stays bytes. JSON
//!    above 128 KiB and protobuf above 1 MiB are checked one message after another on one thread,
//!    so that small ones do not wait.
//! 6. A request whose resources name their tenant is split. Every tenant must be allowed before the
//!    first look-up.
//! 7. The look-up finds the tenant's tracer, or creates it and reads its key on a blocking thread.
//! 8. All parts are queued, or none.
//!
//! A request to the session API goes the same way. Its JSON is read whole, with bounds on nesting
//! and on memory, which is reserved before.
//!
//! A connection has no task beside its own. It ends if its handshake or the head of a request takes
//! too long, or if it has no request for a while; bytes alone do not keep it open. A refused body is
//! read for some time after the answer, because closing the connection at once could destroy the
//! answer.
//!
//! Settings, callers and certificates are one value, which a reload replaces as a whole. A request
//! uses the value of its start to its end.
//!
//! # Operation
//! | answer | cause |
//! |---|---|
//! | 200 | all spans are queued, or the partial success counts those that are too large for ever |
//! | 400 | malformed data, several credentials, no tenant or a repeated one |
//! | 401 | no credential, or an unknown one |
//! | 403 | the caller may not address the tenant, or the tenant is unknown |
//! | 404, 405 | unknown path or signal; wrong method |
//! | 408 | the body arrives too slowly |
//! | 413 | the body is too large, on the wire or inflated |
//! | 415 | unknown type or encoding |
//! | 503 | no memory, no room in the tenant's queue, its key cannot be read, or a shutdown |
//!
//! With `[gateway.admin]`, a listener of its own has pages and actions for operators. Its clients have
//! tokens of their own, and cannot use up what those of the other listeners need.
//!
//! `/healthz` answers 200 while the process serves. `/readyz` answers 503 once a shutdown has
//! begun, and while a replica on a stream can store nothing. [`Gateway::status`] counts answers and
//! connections, and [`Gateway::callers`] what each caller sent. A gateway has five threads: two for
//! connections, one for large messages, and two of the export engine. The admin listener adds one,
//! telemetry one, and files that are watched two. Look-ups that read keys add some for a short
//! time.

#![cfg_attr(docsrs, feature(doc_cfg))]

mod admin;
mod answer;
mod budget;
pub mod callers;
mod client;
mod cluster;
pub mod config;
mod counters;
#[cfg(test)]
mod documentation;
mod durations;
#[cfg(any(test, fuzzing))]
pub mod fuzzing;
mod gateway;
mod ingest;
mod log;
mod metrics;
mod otlp_json;
mod running;
mod server;
#[cfg(feature = "jetstream")]
mod stream;
mod tls;

pub use answer::RefusalKind;
pub use client::{AdminClient, ClientAnswer, ClientError, ClientStream};
pub use counters::{ConnectionCounts, GatewayStatus, MemoryStatus, OtherSignalCounts, RequestCounts};
pub use gateway::{Gateway, ShutdownReport, StartError};
pub use otlp_json::{InvalidJson, traces_from_json};
#[cfg(feature = "jetstream")]
#[doc(hidden)]
pub use stream::stream_options;

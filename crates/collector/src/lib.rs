//! A local OTLP receiver that shows which project received each span.
//!
//! For demos, examples and tests on loopback. Like hosted services, it has one project per key. It
//! keeps spans, sessions and events in bounded memory and returns them as values, text trees and
//! JSON. It simulates faults on request: it rejects a key, responds late or never, or breaks the
//! connection.
//!
//! ```
//! use tracer_registry_collector::{Fault, LocalCollector};
//!
//! let collector = LocalCollector::builder().project("acme", "key-1").start()?;
//! println!("send spans to {}/v1/traces", collector.url());
//!
//! collector.fault(Fault::status(429).retry_after("1").times(2).only("key-1"));
//! let acme = collector.project("acme").expect("the builder named it");
//! assert!(acme.spans().is_empty());
//! # Ok::<(), tracer_registry_collector::CollectorError>(())
//! ```
//!
//! It reads OTLP over HTTP (protobuf and JSON) and gRPC, and the HoneyHive session API.
//!
//! # Independence
//! The collector does not depend on `tracer-registry`: it is the independent witness of what the
//! exporter sends. It decodes messages with `opentelemetry-proto`; the exporter encodes protobuf
//! itself, so they share no code.
//!
//! # Invariants
//! - Only the key selects the project. Each key has its own project, unless several get the same
//!   name.
//! - Keys are stored only as fingerprints, and redacted in recorded requests.
//! - A request stores all of its valid spans or, if it is refused, none.
//! - Memory is bounded. Dropped data is counted for its project.
//! - Time and memory of a request are proportional to its body. The memory of all requests and the
//!   number of connections are bounded. A separate thread decodes bodies, so the server's thread is
//!   not blocked.
//! - Requests for a host that is neither loopback nor allowed are refused.

#![cfg_attr(docsrs, feature(doc_cfg))]

mod api;
mod builder;
mod error;
mod faults;
mod local;
mod lock;
mod model;
mod otlp;
mod page;
mod request;
mod respond;
mod server;
mod store;

pub use builder::CollectorBuilder;
pub use error::CollectorError;
pub use faults::fault::Fault;
pub use faults::list::FaultId;
pub use local::LocalCollector;
pub use model::{
    Attributes, Dropped, Endpoint, Fingerprint, Format, InstrumentationScope, Operation, OperationKind, PostedEvent,
    Project, ProjectSummary, Received, Resource, Session, SessionOrigin, Span, SpanEvent, SpanKind, SpanLink,
    SpanStatus, StatusCode, Trace, TreeDetail, tree, tree_with,
};
pub use request::recorder::RecordedRequest;

/// Runs the README's code as a doc test.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
mod readme {}

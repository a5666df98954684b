//! The local collector: an OTLP receiver that shows which project received each span.
//!
//! For demos, examples and tests, on loopback. It opens one project per key, as the hosted services
//! do, keeps spans, sessions and events in bounded memory, shows them as values, as text trees and
//! as JSON, and misbehaves on request: it rejects a key, answers late or never, breaks the
//! connection.
//!
//! ```
//! use tracer_registry_collector::{Fault, LocalCollector};
//!
//! let collector = LocalCollector::builder().project("acme", "key-1").start()?;
//! println!("send spans to {}/v1/traces", collector.url());
//!
//! collector.fault(Fault::status(429).retry_after("1").times(2).only("key-1"));
//! let acme = collector.project("acme").expect("it was named above");
//! assert!(acme.spans().is_empty());
//! # Ok::<(), tracer_registry_collector::CollectorError>(())
//! ```
//!
//! # What it owns
//! The reading of OTLP over HTTP (protobuf and JSON) and gRPC, and of the HoneyHive session calls,
//! and what was received.
//!
//! # What it must not know
//! The library. It is the independent witness of what the exporter sends. The exporter writes protobuf itself, so both
//! share no code, although the messages that are read here come from `opentelemetry-proto`.
//!
//! # Invariants
//! - The key alone chooses the project. Two keys are two projects unless the caller gave both the same name.
//! - A key is kept as its fingerprint only, and is taken out of the headers of recorded requests.
//! - A request either stores all of its valid spans or, if it is refused, none.
//! - What is kept is bounded; what is dropped to stay so is counted for the project that lost it.
//! - The time and the memory that a request takes are proportional to its body. What all requests hold together is
//!   bounded, and so are connections. The server's thread only moves bytes: bodies are read on a thread beside it.
//! - A request is for loopback or for a host that the caller allows, else it is refused, whatever it asks for.

#![cfg_attr(docsrs, feature(doc_cfg))]

mod api;
mod builder;
mod error;
mod faults;
mod local;
mod lock;
mod model;
mod otlp;
mod request;
mod server;
mod store;

pub use builder::CollectorBuilder;
pub use error::CollectorError;
pub use faults::fault::Fault;
pub use faults::list::FaultId;
pub use local::LocalCollector;
pub use model::{
    Attributes, Dropped, Endpoint, Fingerprint, Format, Operation, OperationKind, PostedEvent, Project, ProjectSummary,
    Received, Resource, Scope, Session, SessionOrigin, Span, SpanEvent, SpanKind, SpanLink, SpanStatus, StatusCode,
    Trace, TreeDetail, tree, tree_with,
};
pub use request::recorder::RecordedRequest;

/// The README: its code is compiled and run as a doc test.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
mod readme {}

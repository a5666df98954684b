//! Public types for received data.

pub(crate) mod byte_size;
mod endpoint;
mod fingerprint;
mod owner;
mod posted_event;
mod printable;
mod project;
mod received;
pub(crate) mod session;
mod span;
mod text_tree;

pub use endpoint::Endpoint;
pub use fingerprint::Fingerprint;
pub(crate) use fingerprint::Fingerprints;
pub(crate) use owner::OwnerAttributes;
pub use posted_event::PostedEvent;
pub use project::{Dropped, Project, ProjectSummary, Trace};
pub use received::{Format, Received};
pub use session::{Operation, OperationKind, Session, SessionOrigin};
pub use span::{
    Attributes, InstrumentationScope, Resource, Span, SpanEvent, SpanKind, SpanLink, SpanStatus, StatusCode,
};
pub use text_tree::{TreeDetail, tree, tree_with};

//! Protocol details of backends: key headers, paths and attribute names.
//!
//! The rest of the crate sees a backend only as a [`Destination`] and its [`AttributeNames`].
//! Depends on configuration and keys, not on queues or tracers.

mod attributes;
mod destination;
mod destination_cache;
#[cfg(feature = "encoded")]
mod edits;
mod error;
mod flatten;
mod honeyhive;
mod merged;
mod preset;
mod project;
#[cfg(feature = "encoded")]
mod project_key;
mod session_id;

pub use attributes::EventType;
pub(crate) use attributes::{AttributeNames, DataPart};
pub(crate) use destination::Destination;
#[cfg(feature = "encoded")]
pub(crate) use destination::SOURCE_ON_RESOURCE;
pub(crate) use destination_cache::DestinationCache;
#[cfg(feature = "encoded")]
pub(crate) use edits::Edits;
pub use error::DestinationError;
#[cfg(any(feature = "macros", feature = "tower"))]
pub(crate) use flatten::shorten;
pub(crate) use flatten::{CUT_VALUES, cut_values, flatten, shorten_text};
#[cfg(feature = "macros")]
pub(crate) use flatten::{MAX_DEPTH, MAX_NAME_BYTES, MAX_TEXT_BYTES, MAX_VALUES};
#[cfg(feature = "encoded")]
pub(crate) use honeyhive::event_type;
pub(crate) use honeyhive::{SessionStart, enrich_body, start_body};
pub(crate) use merged::MergedEnrichment;
#[cfg(feature = "encoded")]
pub(crate) use preset::chooses_project;
pub(crate) use project::{Project, ProjectId};
#[cfg(feature = "encoded")]
pub(crate) use project_key::is_project_attribute;
pub(crate) use session_id::{new_session_id, parse_session_id, trace_session_id};

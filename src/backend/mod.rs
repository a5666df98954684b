//! How each kind of destination wants it: which header carries the key, which path takes spans, how things are spelled.
//!
//! [`Destination`] and its [`Spelling`] are all that the rest of the crate sees of a backend. Knows configuration and keys, nothing of queues or tracers.

mod attributes;
mod destination;
mod destinations;
mod error;
mod flatten;
mod honeyhive;
mod merged;
mod preset;
mod project;
mod session_id;

pub use attributes::EventType;
pub(crate) use attributes::{DataPart, Spelling};
pub(crate) use destination::Destination;
pub(crate) use destinations::Destinations;
pub use error::DestinationError;
#[cfg(any(feature = "macros", feature = "tower"))]
pub(crate) use flatten::shorten;
pub(crate) use flatten::{CUT_VALUES, cut_values, flatten, shorten_text};
#[cfg(feature = "macros")]
pub(crate) use flatten::{MAX_DEPTH, MAX_NAME_BYTES, MAX_TEXT_BYTES, MAX_VALUES};
pub(crate) use honeyhive::{SessionStart, enrich_body, start_body};
pub(crate) use merged::Merged;
pub(crate) use project::{Project, ProjectId};
pub(crate) use session_id::{new_session_id, session_id_of_text, trace_session_id};

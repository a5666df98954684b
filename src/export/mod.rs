//! One engine that sends for all tracers of a registry, on a fixed few threads of its own, or on those that flush.
//!
//! A tracer's way out is its [`Lane`]: its queue, its ledger, its destination and its key. A batch is taken from one lane and sent with
//! a key of that lane's source; no type in here holds the spans of two lanes at once, and only lanes of the same source share a key.
//!
//! | folder | owns |
//! |---|---|
//! | `lane` | queue, schedule and ledger of one tracer |
//! | `queue` | spans and session events that wait, and the memory that they may take |
//! | `schedule` | threads, permits, breakers: when a request may be sent |
//! | `send` | a batch on its way to its outcome |
//! | `keys` | the keys of all lanes: read, shared, rotated |
//! | `encode` | spans to the body of a request |
//! | `net` | one request on the wire |
//! | `accounting` | what became of all that was accepted, by selector |
//! | `log` | the log's lines about losses, and their bounds |
//! | `engine` | deadlines, and who sends next |

mod accounting;
mod encode;
mod engine;
mod error;
mod keys;
mod lane;
mod log;
mod net;
mod queue;
mod schedule;
mod send;
mod shared;
#[cfg(test)]
mod test_fixtures;
#[cfg(test)]
mod test_receiver;

pub(crate) use accounting::accounting::Accounting;
pub(crate) use accounting::eviction::EvictedLedgers;
pub(crate) use accounting::flush::after;
pub use accounting::key_status::{KeyRefusal, KeyStatus};
pub use accounting::lane_status::{
    DestinationStatus, ErrorsStatus, RefusedSpan, RequestKind, RequestState, RequestStatus,
};
pub use accounting::report::{EvictedReport, Report, SessionEventsReport, TracerReport};
pub(crate) use accounting::selector_ledger::{SelectorFlush, SelectorLedger};
pub(crate) use engine::Engine;
pub use engine::EngineError;
pub use error::ExportError;
pub(crate) use lane::Lane;
pub(crate) use lane::processor::LaneProcessor;
pub(crate) use log::budget::LineBudget;
pub(crate) use log::episode::{Begun, Episode};
pub(crate) use log::episodes::TARGET as HEALTH;
pub(crate) use net::connections::{ConnectionKey, Connections};
pub(crate) use net::proxy::{Credentials, Proxy};
pub use net::tls::{TlsError, TlsErrorKind};
pub(crate) use queue::session_event::SessionEvent;
pub use schedule::breaker_status::{BreakerState, BreakerStatus, Breakers};
pub(crate) use send::probe::Sends;
pub use send::probe::SpanFate;
pub(crate) use send::session_queue::SessionQueue;
#[cfg(feature = "tracing")]
pub(crate) use shared::EngineMark;

//! The export engine: sends for all tracers of a registry, on a small fixed number of threads or on
//! the threads that flush.
//!
//! A tracer's path to its backend is its [`Lane`]: queue, ledger, destination and key. A batch is
//! taken from one lane and sent with a key of that lane's source. No type here holds the spans of
//! two lanes, and only lanes with the same key source share a key.
//!
//! | folder | owns |
//! |---|---|
//! | `lane` | queue, schedule and ledger of one tracer |
//! | `queue` | queued spans and session events, and their memory budget |
//! | `schedule` | threads, permits, breakers |
//! | `send` | delivery of a batch: attempts, retries, splitting |
//! | `keys` | the keys of all lanes: read, shared, rotated |
//! | `encode` | request bodies from spans |
//! | `payload` | request bodies from clients of the gateway |
//! | `net` | one request on the wire |
//! | `accounting` | ledgers by selector, status, reports |
//! | `copies` | tracers that get copies of a lane's spans |
//! | `log` | log lines about problems, their limits, and recorded changes |
//! | `explain` | what happened to each trace |
//! | `redact` | redaction of the program's data |
//! | `spool` | data on disk |
//! | `engine` | deadlines, and dispatch of events to lanes |

mod accounting;
mod copies;
mod encode;
mod engine;
mod error;
mod explain;
mod keys;
mod lane;
mod log;
mod net;
#[cfg(feature = "encoded")]
mod payload;
mod queue;
#[cfg(feature = "redact")]
mod redact;
mod schedule;
mod send;
mod shared;
#[cfg(feature = "spool")]
mod spool;
#[cfg(test)]
mod test_fixtures;
#[cfg(test)]
mod test_receiver;

pub(crate) use accounting::accounting::Accounting;
pub(crate) use accounting::counted_lane::{CountedLane, LaneSummary};
pub(crate) use accounting::eviction::EvictedLedgers;
pub(crate) use accounting::flush::after;
pub use accounting::key_status::{KeyRefusal, KeyStatus};
pub use accounting::lane_status::{
    CopyStatus, DestinationStatus, ErrorsStatus, RedactionStatus, RefusedSpan, RequestKind, RequestState, RequestStatus,
};
pub use accounting::refused::RefusedBatch;
pub use accounting::report::{EvictedReport, Report, SessionEventsReport, TracerReport};
pub(crate) use accounting::selector_ledger::{SelectorFlush, SelectorLedger};
pub(crate) use copies::{Copies, CopyTarget, TargetTracer};
pub(crate) use engine::Engine;
pub use engine::EngineError;
pub use error::ExportError;
#[cfg(feature = "encoded")]
pub(crate) use explain::counts::TraceKey;
pub use explain::explanation::{AnswerCount, TraceExplanation, TraceFate};
#[cfg(feature = "gateway")]
pub(crate) use explain::fate::Note;
#[cfg(feature = "encoded")]
pub(crate) use lane::payloads::NoRoom;
#[cfg(all(feature = "gateway", not(feature = "spool")))]
pub(crate) use lane::payloads::Room;
#[cfg(feature = "spool")]
pub(crate) use lane::place::Placed;
pub(crate) use lane::processor::{LaneProcessor, OpenLane};
pub(crate) use lane::stripes::STRIPES;
pub(crate) use lane::{Lane, LaneParts};
#[cfg(feature = "spool")]
pub(crate) use log::budget::Granted;
pub(crate) use log::budget::LineBudget;
pub(crate) use log::changes::ChangeLog;
pub use log::changes::{Change, ChangeKind, Problem};
pub(crate) use log::episode::{Begun, End, Episode, Ongoing, Start};
pub(crate) use log::episodes::{ReasonName, Subject, TARGET as HEALTH};
pub(crate) use net::connections::{ConnectionKey, Connections};
pub(crate) use net::proxy::{Credentials, Proxy};
pub use net::tls::{TlsError, TlsErrorKind};
#[cfg(all(feature = "encoded", any(test, fuzzing)))]
pub use payload::fuzzing::payload as fuzz_payload;
#[cfg(all(feature = "encoded", feature = "redact", any(test, fuzzing)))]
pub use payload::fuzzing::redact_payload as fuzz_redact_payload;
#[cfg(feature = "encoded")]
pub(crate) use payload::{Payload, PayloadError};
pub(crate) use queue::session_event::SessionEvent;
#[cfg(feature = "redact")]
pub(crate) use redact::attributes as redact_attributes;
#[cfg(all(feature = "gateway", feature = "redact"))]
pub(crate) use redact::fields as redact_session;
pub use schedule::breaker_status::{BreakerState, BreakerStatus, Breakers};
#[cfg(feature = "metrics")]
pub(crate) use send::durations::{Server, error_type};
pub(crate) use send::probe::ProbeContent;
pub use send::probe::SpanFate;
#[cfg(feature = "gateway")]
pub(crate) use send::session_queue::Pushed;
pub(crate) use send::session_queue::SessionQueue;
#[cfg(any(test, fuzzing))]
pub use send::verdict::fuzzing::answer as fuzz_answer;
#[cfg(feature = "tracing")]
pub(crate) use shared::EngineMark;
#[cfg(feature = "spool")]
pub(crate) use spool::Spool;
#[cfg(feature = "spool")]
pub(crate) use spool::drain_events::DrainEvent;

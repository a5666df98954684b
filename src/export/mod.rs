//! One engine that sends for all tracers of a registry, on a fixed few threads of its own, or on those that flush.
//!
//! A tracer's way out is its [`Lane`]: its queue, its ledger, its destination and its keyring. A batch is taken from one lane and sent with
//! a key of that lane's source; no type in here holds the spans of two lanes at once, and only lanes of the same source share a key.
//!
//! | file | owns |
//! |---|---|
//! | `lane` | queue, schedule and ledger of one tracer |
//! | `lane_status` | what a status shows of a tracer's requests |
//! | `budget` | how much all lanes may hold, and each |
//! | `weight` | how much a span takes |
//! | `outbox` | the ordered session events of one session |
//! | `batch` | a batch on its way: whole, and in halves where it is refused |
//! | `engine` | deadlines |
//! | `driver` | what moves the tasks: threads, or whoever flushes |
//! | `stopwatch` | a clock that stands still while nobody moves the tasks |
//! | `flush` | how a flush is waited for |
//! | `permits` | how many requests are under way |
//! | `turns` | who is next |
//! | `queue` | spans that wait, and their memory |
//! | `breaker` | while a receiver fails, one at a time tries for all |
//! | `gate` | the breakers on a request's way, and what an attempt tells them |
//! | `key_status` | a tracer's key, as it is shown |
//! | `keyring` | the key of one source, and how it becomes another one |
//! | `keyrings` | all of them: who reads and watches them |
//! | `lifetimes` | when which is to be renewed |
//! | `readers` | how many keys are read at the same time |
//! | `hand` | the key of one request, and what follows where it is refused |
//! | `deliver` | attempts, back-off, giving up |
//! | `verdict` | what an answer means |
//! | `receiver_text` | a receiver's text, made harmless |
//! | `transport` | one request, by HTTP |
//! | `grpc` | one request, by gRPC |
//! | `connections` | connections, shared by lanes that go the same way |
//! | `connector` | one new connection |
//! | `dial` | TCP, to the server or to a proxy |
//! | `proxy`, `tunnel` | who the proxy is, and the way through it |
//! | `tls` | certificates, from their files |
//! | `encode` | spans to the body of a request |
//! | `otlp` | spans to protobuf |
//! | `protobuf` | the wire format |
//! | `starts` | how many spans were started |
//! | `record` | spans that are made here, for what is told of a session |
//! | `probe` | whether an endpoint takes a key |
//! | `processor` | the SDK's side of a lane |
//! | `account` | all lanes that a selector ever had |
//! | `books` | the accounts of all selectors, and the sums of those that are forgotten |
//! | `error` | why a request failed |
//! | `log` | the log's lines about losses, and their bounds |
//! | `report` | what a flush or a shutdown tells the caller |

mod account;
mod batch;
mod blocking;
mod books;
mod breaker;
mod budget;
mod connections;
#[cfg(feature = "tls")]
mod connector;
mod deliver;
mod dial;
mod driver;
mod encode;
mod engine;
mod error;
mod flush;
mod gate;
#[cfg(feature = "grpc")]
mod grpc;
mod hand;
mod key_status;
mod keyring;
mod keyrings;
mod lane;
mod lane_status;
mod lifetimes;
mod log;
mod otlp;
mod outbox;
mod permits;
mod probe;
mod processor;
mod protobuf;
mod proxy;
mod queue;
mod readers;
#[cfg(test)]
mod receiver;
mod receiver_text;
mod record;
mod report;
mod resolver;
#[cfg(test)]
mod sample;
mod shortage;
#[cfg(feature = "metrics")]
mod starts;
mod stopwatch;
mod tls;
mod transport;
mod tunnel;
mod turns;
mod verdict;
mod weight;
mod workers;

pub(crate) use account::{Account, AccountFlush};
pub(crate) use books::{Books, Forgotten};
pub use breaker::{BreakerState, BreakerStatus, Breakers};
pub(crate) use connections::{Connections, Way};
pub(crate) use engine::Engine;
pub use engine::EngineError;
#[cfg(feature = "tracing-layer")]
pub(crate) use engine::EngineMark;
pub use error::ExportError;
pub(crate) use flush::after;
pub use key_status::{KeyRefusal, KeyStatus};
pub(crate) use lane::Lane;
pub use lane_status::{DestinationStatus, ErrorsStatus, RefusedSpan, RequestKind, RequestState, RequestStatus};
pub(crate) use log::{Begun, Episode, LineBudget, TARGET as HEALTH};
pub(crate) use outbox::{Outbox, SessionEvent};
pub(crate) use probe::Sends;
pub use probe::SpanFate;
pub(crate) use processor::LaneProcessor;
pub(crate) use proxy::{Credentials, Proxy};
pub use report::{ForgottenReport, Report, SessionEventsReport, TracerReport};
pub use tls::{TlsError, TlsErrorKind};

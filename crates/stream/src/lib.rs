//! The stream of `tracer-registry`: a durable queue on NATS JetStream that many replicas share.
//!
//! [`StreamStore`] implements `Store` of `tracer-registry-spool`. Appended rows are messages: the
//! replica that owns the partition of their tenant sends them.
//!
//! | module | owns |
//! |---|---|
//! | `options` | what a store needs to know |
//! | `layout` | names, subjects, and the configuration of streams, consumers and buckets |
//! | `message` | rows to messages and back |
//! | `connection` | the connection to the servers |
//! | `servers` | whether the servers keep what they acknowledge |
//! | `http` | one GET of a server's monitoring |
//! | `start` | the checks of a start |
//! | `publish` | appended rows to messages |
//! | `send` | messages to lanes, acknowledgements, parked tenants |
//! | `cluster` | what all replicas agree on: purges, bindings, nudges, the ledger of all |
//! | `erase`, `bindings`, `ledger` | what `cluster` reads: pure data |
//! | `status` | the state of this replica |
//! | `store`, `commands`, `shared` | the store, what it asks of its tasks, and what they share |
//! | `books` | what was published, received and finished in one partition, and what is missing |

mod bindings;
mod books;
mod cluster;
mod commands;
mod connection;
mod erase;
mod error;
mod http;
mod layout;
mod ledger;
mod message;
mod options;
mod publish;
mod send;
mod servers;
mod shared;
mod start;
mod status;
mod store;
#[cfg(all(feature = "test", unix))]
pub mod test;

pub use bindings::{BindingsError, SharedBindings};
pub use cluster::{list_bindings, put_binding, remove_binding};
pub use error::OpenError;
pub use layout::{Difference, Found, InitReport, Mode, Thing, ThingKind, init};
pub use ledger::{ClusterLedger, ReplicaLedger};
pub use options::{Covers, Credentials, Hooks, Limits, Local, OwnerOf, Role, StreamOptions, Tls};
pub use servers::{Server, ServerState};
pub use status::StreamStatus;
pub use store::StreamStore;

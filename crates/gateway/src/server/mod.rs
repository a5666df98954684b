//! Listeners and connections.
//!
//! Each port serves HTTP/1.1, HTTP/2 and gRPC, with or without TLS. The admin listener has limits of
//! its own, so that neither kind of client can use up those of the other.
//!
//! | file | owns |
//! |---|---|
//! | `activity.rs` | what a connection does, and when it must end |
//! | `tracked.rs` | streams and bodies that record it |
//! | `streams.rs` | the requests of an HTTP/2 connection |
//! | `shared.rs` | what all connections share |
//! | `connection.rs` | one connection |
//! | `listener.rs` | accepting connections |

mod activity;
mod connection;
mod listener;
mod shared;
mod streams;
mod tracked;

pub(crate) use listener::{accept, bind};
pub(crate) use shared::{Handler, Server};

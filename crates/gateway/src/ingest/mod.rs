//! From a request to the lanes of its tenants.
//!
//! The order is: credential, tenant, format, memory, body, inflation, check, look-up, queue, answer.
//! Nothing of a body is read before its caller is known, and nothing is queued before all of it is
//! allowed.
//!
//! | file | owns |
//! |---|---|
//! | `head.rs` | rules for heads, and their memory |
//! | `route.rs` | what a request asks for |
//! | `client.rs` | the client's address |
//! | `buffer.rs` | memory of a request |
//! | `frame.rs` | frames of gRPC |
//! | `read.rs` | reading a body |
//! | `turn.rs` | the order of a caller's large messages |
//! | `encoding.rs` | inflating it |
//! | `decode_thread.rs` | work on large messages |
//! | `durable.rs` | waiting until the data is safe |
//! | `handler.rs` | one request from its head to its answer |
//! | `info.rs` | checks of a credential |
//! | `session.rs` | requests to the session API |

mod buffer;
mod client;
mod decode_thread;
mod durable;
mod encoding;
mod frame;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzzing;
mod handler;
mod head;
mod info;
mod read;
mod route;
mod session;
mod turn;

pub(crate) use decode_thread::DecodeThread;
pub(crate) use handler::Ingest;
pub(crate) use head::check as check_head;

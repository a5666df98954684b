//! Answers to requests, in the format of the request.
//!
//! | file | owns |
//! |---|---|
//! | `format.rs` | formats of requests and answers |
//! | `refusal.rs` | refusals, and their codes in HTTP and gRPC |
//! | `rpc_status.rs` | `google.rpc.Status` and OTLP's success messages |
//! | `body.rs` | bodies of answers, with trailers |
//! | `respond.rs` | the answer of each outcome |

mod body;
mod format;
mod refusal;
mod respond;
mod rpc_status;

pub(crate) use body::AnswerBody;
pub(crate) use format::Format;
pub(crate) use refusal::Refusal;
pub use refusal::RefusalKind;
pub(crate) use respond::{Answer, discarded, exported, json, plain, refused, refused_api};

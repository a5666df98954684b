//! Handling of a request: key, body, storage and response.

pub(crate) mod answer;
mod body;
mod call;
pub(crate) mod grpc;
mod honeyhive;
pub(crate) mod key_headers;
pub(crate) mod receive;
pub(crate) mod recorder;
mod rpc_status;
mod serve;
mod traces;

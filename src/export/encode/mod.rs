//! From spans to the bytes of a request. No key is known here.

pub(super) mod body;
mod otlp;
mod protobuf;
pub(super) mod synthetic_span;

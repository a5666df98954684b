//! Encoding of spans and session events into request bodies. Never sees a key.

pub(super) mod body;
mod otlp;
mod protobuf;
pub(super) mod synthetic_span;

//! Encoding of spans and session events into request bodies. Never sees a key.

pub(super) mod body;
pub(super) mod otlp;
pub(super) mod protobuf;
pub(super) mod synthetic_span;

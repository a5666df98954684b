//! A gateway that gives programs in any language isolated tracers.
//!
//! It takes OTLP, finds the caller by its credential, and queues the data in the lane of the
//! caller's tenant, which sends it with the tenant's own key.

#![cfg_attr(docsrs, feature(doc_cfg))]

pub mod callers;
pub mod config;
#[cfg_attr(not(test), expect(dead_code, reason = "the receiver is not there yet"))]
mod otlp_json;

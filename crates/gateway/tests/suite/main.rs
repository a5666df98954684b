//! Tests of a whole gateway: real clients in front, the local collector behind.

#![expect(clippy::unwrap_used, reason = "helpers fail the test, as the tests do")]

mod admin;
mod admin_actions;
mod admin_events;
mod admin_hostile;
mod admin_pages;
mod answers;
mod browser;
mod bytes;
mod clients;
mod copies;
mod durable;
mod hostile;
mod lifecycle;
mod limits;
mod metrics;
mod pressure;
mod quota;
mod redaction;
mod requests;
mod sessions;
mod support;
mod telemetry;

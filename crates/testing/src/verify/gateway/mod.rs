//! Random requests to a `serve` process.
//!
//! | module | content |
//! |---|---|
//! | `world` | tenants and callers, and the state of the configuration over time |
//! | `program` | requests and disturbances, and their printed form |
//! | `generate` | programs from a seed |
//! | `content` | spans of a request, as sent |
//! | `wire` | protobuf and JSON |
//! | `oracle` | the permitted answers and the spans that arrive, from the rules of `docs/gateway.md` |
//! | `client` | requests over HTTP and gRPC |
//! | `files` | the configuration of the gateway |
//! | `process` | a `serve` process |
//! | `service` | the gateway with its collector, over restarts |
//! | `disturb` | disturbances |
//! | `run` | runs a program on several threads |
//! | `check` | comparison of received and expected data |
//! | `rounds` | runs programs and shortens those with a deviation |
//!
//! The oracle uses no code of the gateway and none of the library.

mod check;
mod client;
mod content;
mod disturb;
mod files;
mod generate;
mod oracle;
mod process;
mod program;
pub(super) mod rounds;
mod run;
mod service;
#[cfg(test)]
mod tests;
mod wire;
mod world;

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
//! | `replica` | a gateway over its processes |
//! | `servers` | NATS servers |
//! | `cluster` | the stream that replicas share, and the ledger of all |
//! | `seen` | what processes reported |
//! | `service` | the replicas with their collector, over restarts |
//! | `disturb` | disturbances |
//! | `run` | runs a program on several threads |
//! | `check` | comparison of received and expected data |
//! | `rounds` | runs programs and shortens those with a deviation |
//!
//! The oracle uses no code of the gateway and none of the library.

mod check;
mod client;
mod cluster;
mod content;
mod disturb;
mod files;
mod generate;
mod oracle;
mod process;
mod program;
mod replica;
pub(super) mod rounds;
mod run;
mod seen;
mod servers;
mod service;
#[cfg(test)]
mod tests;
mod wire;
mod world;

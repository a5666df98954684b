//! Runs random programs on tracers and compares the data that the collector received with the
//! prediction of an oracle.
//!
//! | module | content |
//! |---|---|
//! | `program` | operations (`operation`), their printed form (`print`), the tracers they use (`cast`), the reduction of failing programs (`shrink`) |
//! | `generate` | programs from a seed |
//! | `oracle` | expected data, from lexical rules only |
//! | `run` | the interpreter |
//! | `subject`, `ours`, `peer` | the system under test: this crate, or plain SDK providers |
//! | `stage` | a subject with its collector: runs, flushes and checks a program |
//! | `headers` | forged incoming headers |
//! | `chaos` | disturbances of the registries while programs run |
//! | `check` | comparison of received and expected data, and a search of every byte (`scan`) |
//! | `gateway` | the same for a `serve` process, with programs of requests |
//! | `watchdog` | time limit for work that may hang |
//! | `rounds`, `options`, `report` | the public function, its options and its result |
//!
//! The oracle and the interpreter share the program and nothing else.

mod chaos;
mod check;
mod error;
mod gateway;
mod generate;
mod headers;
mod options;
mod oracle;
mod ours;
mod peer;
mod program;
mod report;
mod rounds;
mod run;
mod stage;
mod subject;
#[cfg(test)]
mod tests;
mod watchdog;

pub use check::finding::{Finding, FindingKind};
pub use error::VerifyError;
pub use options::Verify;
pub use report::{ChaosReport, ClusterReport, Failure, GatewayReport, SideReport, VerifyReport};
pub use rounds::verify;

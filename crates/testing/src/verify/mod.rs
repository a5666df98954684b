//! Random programs, an oracle that says what they must come to, and a collector that says what they came to.
//!
//! | part | what it is |
//! |---|---|
//! | `program`, `print` | operations as values, and as text |
//! | `cast` | the tracers that they use |
//! | `generate` | programs from a seed |
//! | `env`, `expect` | the oracle: lexical rules and nothing else |
//! | `run` | the interpreter |
//! | `subject`, `ours`, `build`, `peer` | what it runs on: this crate, or plain providers |
//! | `traced`, `subscriber`, `requests` | existing programs' ways to spans: `#[trace]`, the `tracing` crate, layers for tower |
//! | `stage` | a subject with its collector: runs a program, flushes, checks |
//! | `headers` | incoming headers that lie |
//! | `chaos` | what is done to the registries meanwhile |
//! | `check`, `scan`, `finding` | what was received against what was expected |
//! | `watchdog` | an end for what has none |
//! | `shrink` | the shortest program that still shows a finding |
//! | `rounds`, `options`, `report` | what the caller asks and gets |
//!
//! The oracle and the interpreter know the program and nothing of one another.

mod build;
mod cast;
mod chaos;
mod check;
mod env;
mod error;
mod expect;
mod finding;
mod generate;
mod headers;
mod options;
mod ours;
mod peer;
mod print;
mod program;
mod report;
mod requests;
mod rounds;
mod run;
mod scan;
mod shrink;
mod stage;
mod subject;
mod subscriber;
#[cfg(test)]
mod tests;
mod traced;
mod watchdog;

pub use error::VerifyError;
pub use finding::{Finding, FindingKind};
pub use options::Verify;
pub use report::{ChaosReport, Failure, SideReport, VerifyReport};
pub use rounds::verify;

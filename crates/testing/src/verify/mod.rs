//! Random programs, an oracle that says what they must come to, and a collector that says what they came to.
//!
//! | part | what it is |
//! |---|---|
//! | `program` | operations as values (`operation`), as text (`print`), the tracers that they use (`cast`), and the shortest program that still shows a finding (`shrink`) |
//! | `generate` | programs from a seed |
//! | `oracle` | lexical rules and nothing else |
//! | `run` | the interpreter |
//! | `subject`, `ours`, `peer` | what it runs on: this crate, or plain providers |
//! | `stage` | a subject with its collector: runs a program, flushes, checks |
//! | `headers` | incoming headers that lie |
//! | `chaos` | what is done to the registries meanwhile |
//! | `check` | what was received against what was expected, and a search through every byte (`scan`) |
//! | `watchdog` | an end for work that has none |
//! | `rounds`, `options`, `report` | what the caller asks and gets |
//!
//! The oracle and the interpreter know the program and nothing of one another.

mod chaos;
mod check;
mod error;
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
pub use report::{ChaosReport, Failure, SideReport, VerifyReport};
pub use rounds::verify;

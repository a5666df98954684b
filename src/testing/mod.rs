//! Proof on your own machine that nothing leaks: random programs on real tracers, and every byte that they send looked through.
//!
//! It uses what the crate's root exports, as a user would, and the local collector as the witness.

mod verify;

pub use verify::{ChaosReport, Failure, Finding, FindingKind, SideReport, Verify, VerifyError, VerifyReport, verify};

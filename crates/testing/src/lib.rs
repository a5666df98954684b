//! For tests: a registry with a collector of its own for a service's tests, and the proof that
//! nothing leaks on your own machine.
//!
//! Both use what the crate's root exports, as a user would, and the local collector as the witness.

#![cfg_attr(docsrs, feature(doc_cfg))]

mod kit;
mod lock;
mod verify;

pub use kit::{Leak, Spans, TestProject, TestRegistry, TestRegistryBuilder};
pub use verify::{ChaosReport, Failure, Finding, FindingKind, SideReport, Verify, VerifyError, VerifyReport, verify};

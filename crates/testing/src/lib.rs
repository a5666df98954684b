//! Test support for `tracer-registry`: [`TestRegistry`] for the tests of a service, and [`verify()`],
//! which runs random programs and checks that no data crosses between tracers.
//!
//! Both use only the public API of `tracer-registry`, and the local collector as an independent
//! witness.

#![cfg_attr(docsrs, feature(doc_cfg))]

mod kit;
mod lock;
mod verify;

pub use kit::{Leak, Spans, TestProject, TestRegistry, TestRegistryBuilder};
pub use verify::{
    ChaosReport, ClusterReport, Failure, Finding, FindingKind, GatewayReport, SideReport, Verify, VerifyError,
    VerifyReport, verify,
};

//! This crate as the system under test: the registries of a cast (`build`), and its integrations:
//! `#[trace]` (`traced`), the `tracing` crate (`subscriber`), tower layers (`requests`).

mod build;
mod requests;
pub(super) mod subject;
mod subscriber;
pub(super) mod traced;

/// More than the traces of several rounds.
pub(super) const EXPLAINED: usize = 1 << 19;

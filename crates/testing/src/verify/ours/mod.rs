//! This crate, as what a program runs on.

mod build;
mod requests;
pub(super) mod subject;
mod subscriber;
pub(super) mod traced;

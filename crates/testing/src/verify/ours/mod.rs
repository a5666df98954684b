//! This crate, as what a program runs on: the registries of a cast (`build`), and the ways of existing programs to spans:
//! `#[trace]` (`traced`), the `tracing` crate (`subscriber`), layers for tower (`requests`).

mod build;
mod requests;
pub(super) mod subject;
mod subscriber;
pub(super) mod traced;

//! Behaviour, tested against real parts: a real receiver on loopback, real files, real processes. One binary, so that they are linked
//! once.

mod architecture;
mod child;
#[cfg(feature = "cli")]
mod cli;
mod collector;
mod config;
mod examples;
mod isolation;
mod keys;
mod lookup;
mod readme;
mod silence;
mod support;

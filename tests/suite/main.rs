//! Behaviour, tested against real parts: a real receiver on loopback, real files, real processes. One binary, so that they are linked
//! once.

mod architecture;
#[cfg(feature = "cli")]
mod cli;
mod collector;
mod examples;
mod isolation;
mod readme;
mod support;

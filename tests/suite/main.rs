//! Behaviour, tested against real parts: a real receiver on loopback, real files, real processes. One binary, so that they are linked
//! once.

mod architecture;
#[cfg(feature = "cli")]
mod cli;
mod collector;
mod encodings;
mod examples;
mod faults_out;
mod flush;
mod isolation;
mod ledger;
mod neighbours;
mod own_keys;
mod processes;
mod readme;
mod runtimes;
mod sessions;
mod support;

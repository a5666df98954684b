//! Behaviour, tested against real parts: a real receiver on loopback, real files, real processes. One binary, so that they are linked
//! once.

mod architecture;
mod child;
#[cfg(feature = "cli")]
mod cli;
mod collector;
mod config;
mod encodings;
mod examples;
mod faults_out;
mod flush;
mod isolation;
mod keys;
mod ledger;
mod llm;
mod lookup;
mod neighbours;
mod own_keys;
mod processes;
mod readme;
mod runtimes;
mod sessions;
mod silence;
mod support;

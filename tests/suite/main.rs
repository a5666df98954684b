//! Behaviour, tested against real parts: a real receiver on loopback, real files, real processes. One binary, so that they are linked
//! once.

mod collector;
mod encodings;
mod faults_out;
mod flush;
mod isolation;
mod ledger;
mod own_keys;
mod processes;
mod runtimes;
mod sessions;
mod support;

//! Behaviour, tested against real parts: a real receiver on loopback, real files, real processes. One binary, so that they are linked
//! once.

mod child;
mod collector;
mod config;
mod isolation;
mod keys;
mod lookup;
mod silence;
mod support;

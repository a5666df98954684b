//! Tests of the stream with real servers.

#![cfg(unix)]

mod cluster;
mod publish;
mod registry;
mod send;
mod start;
mod support;

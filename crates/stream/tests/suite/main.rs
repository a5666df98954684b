//! Tests of the stream with real servers.

#![cfg(unix)]

mod cluster;
mod publish;
mod purges;
mod registry;
mod send;
mod start;
mod support;

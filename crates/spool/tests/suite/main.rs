//! Tests of the store in a SQLite file.

#![cfg(all(feature = "sqlite", unix))]

mod basic;
mod bounds;
mod check;
mod erase;
mod faults;
mod folder;
mod model;
mod support;

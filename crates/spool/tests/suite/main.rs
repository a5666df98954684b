//! Tests of the store in a SQLite file.

#![cfg(all(feature = "sqlite", unix))]

mod basic;
mod bounds;
mod check;
mod crash;
mod diary;
mod erase;
mod faults;
mod folder;
mod model;
#[cfg(target_os = "linux")]
mod power;
mod support;
mod usage;
mod worker;

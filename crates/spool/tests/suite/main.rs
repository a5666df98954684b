//! Tests of the store in a SQLite file.

mod basic;
mod erase;
mod support;

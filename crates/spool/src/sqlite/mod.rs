//! The store in a SQLite file.
//!
//! `store.rs` is the store as callers see it, and `options.rs` its settings. Two threads own all
//! that is on disk, and talk by `commands.rs`. `reader.rs` takes, and knows which rows are taken.
//! `writer.rs` is the state of the thread that writes, and `run.rs` its loop. Its work is in
//! `opening.rs`, `transaction.rs` (appends and deletions), `erase.rs` (purges) and `full_disk.rs`.
//! Below them, `bounds.rs` counts and refuses, `schema.rs` connects and migrates, `erased.rs` and
//! `usage.rs` are tables, `body.rs` the layout of a row, `health.rs` sorts failures, and `files.rs` and `lock.rs`
//! own the folder.

mod body;
mod bounds;
pub mod check;
mod commands;
mod erase;
mod erased;
mod files;
mod full_disk;
mod health;
mod lock;
mod opening;
mod options;
mod reader;
mod run;
mod schema;
mod shared;
mod store;
mod transaction;
mod usage;
mod writer;

pub use options::{OpenError, Options, Point};
pub use store::SqliteStore;

//! Tenants outside the configuration: one file for each, or a binding source of the program.

mod files;
#[cfg(target_os = "linux")]
mod hostile_files;
mod races;
mod source;
mod source_async;

pub(crate) use source::HOUR;

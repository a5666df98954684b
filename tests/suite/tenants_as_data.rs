//! Tenants that are not in the configuration: a file for each, or a source of the program's own.

mod files;
#[cfg(target_os = "linux")]
mod hostile;
mod races;
mod source;
mod source_async;

pub(crate) use source::HOUR;

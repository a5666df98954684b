//! Helpers that do not depend on tracers: forks, times, numbers, text and files.

pub(crate) mod error_source;
pub(crate) mod fork;
pub(crate) mod grpc_code;
pub(crate) mod json_depth;
pub(crate) mod json_number;
#[cfg(all(test, target_os = "linux"))]
pub(crate) mod own_process;
pub(crate) mod printable;
pub(crate) mod regular_file;
pub(crate) mod serde_display;
pub(crate) mod system_error;
pub(crate) mod wall_time;

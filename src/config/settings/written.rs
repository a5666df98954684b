//! Settings as a configuration file would write them.

use std::time::Duration;

use crate::config::read::table::Table;

/// A value in TOML.
pub(crate) trait Written {
    fn written(&self) -> String;
}

/// Returns a size in bytes in TOML. `_take` is the function that parses it.
pub(crate) fn size(bytes: usize, _take: fn(&mut Table<'_>, &'static str) -> Option<usize>) -> String {
    let units = [("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)];
    let whole = units.iter().find(|(_, unit)| bytes > 0 && bytes.is_multiple_of(*unit));
    whole.map_or_else(
        || format!("\"{bytes}B\""),
        |(name, unit)| format!("\"{}{name}\"", bytes / unit),
    )
}

impl Written for Duration {
    fn written(&self) -> String {
        format!("\"{}\"", humantime::format_duration(*self))
    }
}

/// Implements [`Written`] for types that JSON writes as TOML does.
macro_rules! written_as_json {
    ($($Type:ty),+) => {
        $(
            impl $crate::config::settings::written::Written for $Type {
                fn written(&self) -> String {
                    serde_json::to_string(self).unwrap_or_default()
                }
            }
        )+
    };
}

written_as_json!(bool, usize);

pub(crate) use written_as_json;

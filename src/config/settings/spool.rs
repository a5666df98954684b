//! `[spool]`: data on disk, so that it survives the process.

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::config::problem::Problems;
use crate::config::read::table::Table;
use crate::config::rules::values::{at_least_one, at_most_a_day, needs_feature};
use crate::config::settings::declare::settings;
use crate::config::settings::export::{Export, ExportMode, Protocol};
#[cfg(feature = "schema")]
use crate::config::settings::schema_types;
use crate::config::settings::setting::{impl_setting, path, size};
#[cfg(feature = "gateway")]
use crate::config::settings::written::written_as_json;

/// Smallest `max_bytes`: enough for the largest request, the log and the spare file.
const MIN_BYTES: usize = 32 << 20;
const MIN_AGE: Duration = Duration::from_secs(60);
const MAX_AGE: Duration = Duration::from_secs(365 * 24 * 60 * 60);

settings! {
    /// `[spool]` as written.
    #[derive(Clone, Debug, Default, PartialEq)]
    #[at("spool")]
    pub struct Spool {
        /// What is written to disk. Requires the feature `spool`. Default: off.
        #[default(SpoolMode::Off, has_spool)]
        pub mode: Option<SpoolMode>,
        /// How long data waits on disk at most. Older data is dropped and counted. Default: 72h.
        #[default(Duration::from_secs(72 * 60 * 60), age_in_bounds)]
        pub max_age: Option<Duration>,
        /// How long a start waits for another process that uses the folder. Default: 0s, which
        /// fails at once.
        #[default(Duration::ZERO, at_most_a_day)]
        pub wait_for_lock: Option<Duration>,
        /// Most bytes per second that are read from disk to be sent, of all tenants together, so that
        /// a large backlog does not delay other data. Default: 32MiB.
        #[schema(with = "Option<schema_types::Size>")]
        #[take(size)]
        #[default(32 << 20, at_least_one)]
        pub drain_rate: Option<usize>,
        #[optional]
        /// Folder of the files, for this registry alone. Created if it is missing. Required unless
        /// `mode` is off.
        #[take(folder)]
        #[rule(not_empty)]
        pub path: Option<PathBuf>,
        #[optional]
        /// Maximum size of the files. Required unless `mode` is off.
        #[schema(with = "Option<schema_types::Size>")]
        #[take(size)]
        #[limit(enough_bytes)]
        pub max_bytes: Option<usize>,
        #[optional]
        /// Maximum bytes on disk of one tenant, or of one selector without a tenant. Default: none;
        /// one tenant gets at most half of what is free.
        #[schema(with = "Option<schema_types::Size>")]
        #[take(size)]
        #[limit(at_least_one)]
        pub tenant_max_bytes: Option<usize>,
    }

    /// `[spool]` with every default filled in.
    pub struct SpoolSettings;
}

/// What is written to disk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum SpoolMode {
    /// Nothing. Data waits in memory alone.
    #[default]
    Off,
    /// What cannot be sent or does not fit into memory.
    Overflow,
    /// All data, before it counts as safe.
    Through,
}

impl_setting! {
    SpoolMode: Table::choose;
}

#[cfg(feature = "gateway")]
written_as_json!(SpoolMode);

fn folder(table: &mut Table<'_>, name: &'static str) -> Option<PathBuf> {
    path(table, name, "the path of a folder")
}

fn not_empty(folder: &Path) -> Option<String> {
    let is_empty = folder.as_os_str().is_empty();
    is_empty.then(|| "expected the path of a folder".to_owned())
}

fn has_spool(mode: SpoolMode) -> Option<String> {
    (mode != SpoolMode::Off && cfg!(not(feature = "spool"))).then(|| needs_feature("data on disk", "spool"))
}

fn enough_bytes(bytes: usize) -> Option<String> {
    (bytes < MIN_BYTES).then(|| format!("must be at least {}MiB", MIN_BYTES >> 20))
}

fn age_in_bounds(age: Duration) -> Option<String> {
    (!(MIN_AGE..=MAX_AGE).contains(&age)).then(|| "must be from 1m to 365days".to_owned())
}

impl Spool {
    /// Checks settings of all layers together that depend on each other.
    pub(crate) fn check_whole(&self, export: &Export, problems: &mut Problems) {
        if let (Some(of_tenant), Some(max)) = (self.tenant_max_bytes, self.max_bytes)
            && of_tenant > max
        {
            problems.add("spool.tenant_max_bytes", "must be at most spool.max_bytes");
        }
        if self.mode.unwrap_or_default() == SpoolMode::Off {
            return;
        }
        let missing = [
            ("spool.path", self.path.is_none()),
            ("spool.max_bytes", self.max_bytes.is_none()),
        ];
        for (key, is_missing) in missing {
            // An unreadable file may have it, and an invalid value is a problem already.
            if is_missing && !problems.has_unread_file() && !problems.has(key) {
                problems.add(key, "missing; spool.mode is not \"off\"");
            }
        }
        if export.mode == Some(ExportMode::Inline) {
            problems.add(
                "spool.mode",
                "needs export.mode = \"background\": no thread writes between flushes",
            );
        }
        if export.protocol == Some(Protocol::HttpJson) {
            problems.add(
                "spool.mode",
                "needs export.protocol = \"http/protobuf\" or \"grpc\": data on disk is protobuf",
            );
        }
    }
}

//! What of a configuration cannot change while it runs.

use crate::config::resolve::config::Config;
use crate::config::settings::export::{ExportSettings, RetrySettings};
use crate::config::settings::pool::PoolSettings;

impl Config {
    /// The settings of `new` that differ, and that hold only from a start on: the threads and the memory that they are about are there
    /// already, and shared by all tracers.
    pub(crate) fn needs_restart(&self, new: &Self) -> Vec<&'static str> {
        let mut keys = export(self.export(), new.export());
        let PoolSettings {
            max_tracers,
            idle_timeout,
            when_full,
        } = self.pool();
        let same = [
            ("pool.max_tracers", *max_tracers == new.pool().max_tracers),
            ("pool.idle_timeout", *idle_timeout == new.pool().idle_timeout),
            ("metrics.max_tracers", self.metrics() == new.metrics()),
            ("pool.when_full", *when_full == new.pool().when_full),
        ];
        keys.extend(same.into_iter().filter(|(_, same)| !same).map(|(key, _)| key));
        if self.has_strict_permissions() != new.has_strict_permissions() {
            keys.push("keys.strict_permissions");
        }
        if self.is_watched() != new.is_watched() {
            keys.push("reload.watch");
        }
        keys
    }

    /// Takes the settings over that hold only from a start on.
    pub(crate) fn keep_of_start(&mut self, old: &Self) {
        self.export.clone_from(&old.export);
        self.pool.clone_from(&old.pool);
        self.metrics.clone_from(&old.metrics);
        self.document.keys.clone_from(&old.document.keys);
        self.document.reload.clone_from(&old.document.reload);
    }
}

fn export(old: &ExportSettings, new: &ExportSettings) -> Vec<&'static str> {
    // Without `..`: a setting that is added is not forgotten here.
    let ExportSettings {
        mode,
        protocol,
        compression,
        scheduled_delay,
        max_export_batch_size,
        max_queue_size,
        max_queue_bytes,
        max_concurrent_exports,
        timeout,
        drop_timeout,
        retry:
            RetrySettings {
                initial_backoff,
                max_backoff,
                max_elapsed,
                max_retry_after,
                server_errors,
            },
    } = old;
    let same = [
        ("export.mode", *mode == new.mode),
        ("export.protocol", *protocol == new.protocol),
        ("export.compression", *compression == new.compression),
        ("export.scheduled_delay", *scheduled_delay == new.scheduled_delay),
        (
            "export.max_export_batch_size",
            *max_export_batch_size == new.max_export_batch_size,
        ),
        ("export.max_queue_size", *max_queue_size == new.max_queue_size),
        ("export.max_queue_bytes", *max_queue_bytes == new.max_queue_bytes),
        (
            "export.max_concurrent_exports",
            *max_concurrent_exports == new.max_concurrent_exports,
        ),
        ("export.timeout", *timeout == new.timeout),
        ("export.drop_timeout", *drop_timeout == new.drop_timeout),
        (
            "export.retry.initial_backoff",
            *initial_backoff == new.retry.initial_backoff,
        ),
        ("export.retry.max_backoff", *max_backoff == new.retry.max_backoff),
        ("export.retry.max_elapsed", *max_elapsed == new.retry.max_elapsed),
        (
            "export.retry.max_retry_after",
            *max_retry_after == new.retry.max_retry_after,
        ),
        ("export.retry.server_errors", *server_errors == new.retry.server_errors),
    ];
    same.into_iter().filter(|(_, same)| !same).map(|(key, _)| key).collect()
}

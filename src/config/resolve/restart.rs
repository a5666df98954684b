//! Settings that cannot change at runtime.

use crate::config::resolve::config::Config;

impl Config {
    /// Returns the changed settings of `new` that require a restart. They define threads, memory and
    /// files that all tracers share and that already exist.
    pub(crate) fn needs_restart(&self, new: &Self) -> Vec<&'static str> {
        let mut differing = self.export.differing(&new.export);
        differing.extend(self.pool.differing(&new.pool));
        differing.extend(self.metrics.differing(&new.metrics));
        differing.extend(self.keys.differing(&new.keys));
        differing.extend(self.reload.differing(&new.reload));
        differing.extend(self.spool.differing(&new.spool));
        differing
    }

    /// Takes over the settings that require a restart.
    pub(crate) fn keep_startup_settings(&mut self, old: &Self) {
        self.export.clone_from(&old.export);
        self.pool.clone_from(&old.pool);
        self.metrics.clone_from(&old.metrics);
        self.keys.clone_from(&old.keys);
        self.reload.clone_from(&old.reload);
        self.spool.clone_from(&old.spool);
    }
}

//! What of a configuration cannot change while it runs.

use crate::config::resolve::config::Config;

impl Config {
    /// The settings of `new` that differ, and that hold only from a start on: the threads and the memory that they are about are there
    /// already, and shared by all tracers.
    pub(crate) fn needs_restart(&self, new: &Self) -> Vec<&'static str> {
        let mut differing = self.export.differing(&new.export);
        differing.extend(self.pool.differing(&new.pool));
        differing.extend(self.metrics.differing(&new.metrics));
        differing.extend(self.keys.differing(&new.keys));
        differing.extend(self.reload.differing(&new.reload));
        differing
    }

    /// Takes the settings over that hold only from a start on.
    pub(crate) fn keep_of_start(&mut self, old: &Self) {
        self.export.clone_from(&old.export);
        self.pool.clone_from(&old.pool);
        self.metrics.clone_from(&old.metrics);
        self.keys.clone_from(&old.keys);
        self.reload.clone_from(&old.reload);
    }
}

//! Handles changes of watched configuration files. Removals are delayed, see
//! [`removals`](super::removals).

#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use super::removals::{Removal, Removals};
use super::report::{Reload, ReloadError, listed};
use crate::config::tenant_of;
use crate::registry::state::RegistryState;
use crate::selector::{Selector, SelectorKind, Slug};

const WAITING: &str = "a change removes tables or settings; applying it once the files are unchanged for 2 s";

impl RegistryState {
    /// Returns the delay after which to call this again, if a removal is pending.
    pub(crate) fn files_changed(&self, changed: &BTreeSet<PathBuf>, now: Instant) -> Option<Duration> {
        let folder = self.bindings.config().tenants_dir().map(ToOwned::to_owned);
        let tenants = changed.iter().map(|path| {
            let is_inside = folder.is_some() && path.parent() == folder.as_deref();
            tenant_of(path).filter(|_| is_inside)
        });
        // Any other path may affect all tenants: a configuration file, or a link that all tenant
        // files go through.
        let tenants = tenants.collect::<Option<BTreeSet<_>>>();
        let (result, again) = self.reload_changed(tenants.as_ref(), now);
        if !matches!(&result, Ok(reload) if reload.is_empty()) {
            self.reloads.record(&result);
        }
        match result {
            Ok(reload) if reload.is_empty() => {}
            Ok(reload) if reload.kept.is_empty() && reload.needs_restart.is_empty() => {
                tracing::info!("configuration reloaded: {reload}");
            }
            Ok(reload) => tracing::warn!("configuration reloaded: {reload}"),
            // The last handle was dropped in the meantime.
            Err(ReloadError::Shutdown) => {}
            Err(error) => tracing::warn!("cannot reload the configuration: {error}"),
        }
        again
    }

    /// Like [`reload`](Self::reload), but delays removals. Reads only the files of `tenants` if no
    /// other file changed.
    fn reload_changed(
        &self,
        tenants: Option<&BTreeSet<Slug>>,
        now: Instant,
    ) -> (Result<Reload, ReloadError>, Option<Duration>) {
        let removals = &mut *self.reloads.removals.lock();
        let mut applied = match tenants {
            Some(_) => {
                self.bindings.note_change();
                Ok(None)
            }
            None => self.apply_config_or_wait(removals, now),
        };
        if tenants.is_none() {
            self.reloads.note(applied.as_ref().map(Option::is_some));
        }
        match &mut applied {
            Ok(reload) => {
                let reload = reload.get_or_insert_default();
                self.renew_or_wait(reload, tenants, removals, now);
            }
            // All or nothing: once the file is fixed, all files are read again.
            Err(_) => *removals = Removals::default(),
        }
        let left = removals.left(now);
        self.reloads.note_waiting(left.is_some());
        (applied.map(Option::unwrap_or_default), left)
    }

    /// Applies the configuration files. Returns `None` if they remove something and must wait.
    fn apply_config_or_wait(&self, removals: &mut Removals, now: Instant) -> Result<Option<Reload>, ReloadError> {
        let (running, read) = self.read_again()?;
        if running.any_removed_in(&read) {
            let removal = removals.note_config(&read, now);
            if removal == Removal::Starts {
                let mut reload = Reload::default();
                reload.compare(&running, &read);
                tracing::info!("{WAITING}: the files of the configuration ({reload})");
            }
            if removal != Removal::Due {
                self.bindings.note_change();
                return Ok(None);
            }
        }
        removals.clear_config();
        self.apply_config(&running, read).map(Some)
    }

    /// Retires the tracers of some or all tenants whose binding changed, unless they must wait.
    fn renew_or_wait(
        &self,
        reload: &mut Reload,
        tenants: Option<&BTreeSet<Slug>>,
        removals: &mut Removals,
        now: Instant,
    ) {
        let concerned = |selector: &Selector| {
            let is_one = |tenants: &BTreeSet<Slug>| {
                selector
                    .get(SelectorKind::Tenant)
                    .is_some_and(|name| tenants.contains(name))
            };
            tenants.is_none_or(is_one)
        };
        let (mut waiting, mut begun) = (BTreeSet::new(), Vec::new());
        self.renew(reload, concerned, |tracer, outcome| {
            let selector = tracer.selector();
            if !self.bindings.file_removes_paths(selector, tracer.defined_paths()) {
                return true;
            }
            let removal = removals.note_tracer(selector, outcome.map_err(ToString::to_string), now);
            if removal == Removal::Starts {
                begun.push(selector.clone());
            }
            if removal != Removal::Due {
                waiting.insert(selector.clone());
            }
            removal == Removal::Due
        });
        removals.clear_tracers(|selector| concerned(selector) && !waiting.contains(selector));
        if !begun.is_empty() {
            tracing::info!("{WAITING}: the file of {}", listed(&begun));
        }
    }
}

//! Files of the configuration that are seen to have changed. What takes something away waits, see [`removals`](super::removals).

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

const WAITS: &str = "a change takes tables or settings away, and waits until the files have been the same for 2 s";

impl RegistryState {
    /// Returns in how long this is to be called again because something waits.
    pub(crate) fn files_changed(&self, changed: &BTreeSet<PathBuf>, now: Instant) -> Option<Duration> {
        let folder = self.bindings.config().tenants_dir().map(ToOwned::to_owned);
        let tenants = changed.iter().map(|path| {
            let is_inside = folder.is_some() && path.parent() == folder.as_deref();
            tenant_of(path).filter(|_| is_inside)
        });
        // Any other path may concern all tenants: a file of the configuration, or a link that all files of the folder go through.
        let tenants = tenants.collect::<Option<BTreeSet<_>>>();
        let (result, again) = self.reload_changed(tenants.as_ref(), now);
        match result {
            Ok(reload) if reload.is_empty() => {}
            Ok(reload) if reload.kept.is_empty() && reload.needs_restart.is_empty() => {
                tracing::info!("the configuration was read again: {reload}");
            }
            Ok(reload) => tracing::warn!("the configuration was read again: {reload}"),
            // The last handle was dropped meanwhile.
            Err(ReloadError::Shutdown) => {}
            Err(error) => tracing::warn!("the configuration cannot be read again: {error}"),
        }
        again
    }

    /// As [`reload`](Self::reload), but what takes something away waits. Reads only the files of some tenants, if these are all that changed.
    fn reload_changed(
        &self,
        tenants: Option<&BTreeSet<Slug>>,
        now: Instant,
    ) -> (Result<Reload, ReloadError>, Option<Duration>) {
        let removals = &mut *self.reloads.one.lock();
        let mut taken = match tenants {
            Some(_) => {
                self.bindings.note_change();
                Ok(None)
            }
            None => self.take_over_later(removals, now),
        };
        if tenants.is_none() {
            self.reloads.note(taken.as_ref().map(Option::is_some));
        }
        match &mut taken {
            Ok(reload) => {
                let reload = reload.get_or_insert_default();
                self.renew_later(reload, tenants, removals, now);
            }
            // As a whole or not at all: a mended file is read with all others.
            Err(_) => *removals = Removals::default(),
        }
        let left = removals.left(now);
        self.reloads.note_waiting(left.is_some());
        (taken.map(Option::unwrap_or_default), left)
    }

    /// Takes over what the files of the configuration say. Returns `None` if that must wait.
    fn take_over_later(&self, removals: &mut Removals, now: Instant) -> Result<Option<Reload>, ReloadError> {
        let (running, read) = self.read_again()?;
        if running.loses(&read) {
            let removal = removals.note_config(&read, now);
            if removal == Removal::Begins {
                let mut reload = Reload::default();
                reload.compare(&running, &read);
                tracing::info!("{WAITS}: the files of the configuration ({reload})");
            }
            if removal != Removal::Taken {
                self.bindings.note_change();
                return Ok(None);
            }
        }
        removals.settle_config();
        Ok(Some(self.take_over(&running, read)))
    }

    /// Retires the tracers of some tenants, or of all, whose binding is another one now, unless that must wait.
    fn renew_later(
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
            if !self.bindings.file_loses(selector, tracer.shape()) {
                return true;
            }
            let removal = removals.note_tracer(selector, outcome.map_err(ToString::to_string), now);
            if removal == Removal::Begins {
                begun.push(selector.clone());
            }
            if removal != Removal::Taken {
                waiting.insert(selector.clone());
            }
            removal == Removal::Taken
        });
        removals.settle_tracers(|selector| concerned(selector) && !waiting.contains(selector));
        if !begun.is_empty() {
            tracing::info!("{WAITS}: the file of {}", listed(&begun));
        }
    }
}

//! Reloads: the files of the configuration are read again, and take effect as a whole or not at all.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::report::{Reload, ReloadError, RetainedTracer};
use crate::config::{Config, Digest, ResolveError};
use crate::registry::error::LookupError;
use crate::registry::handle::TracerRegistry;
use crate::registry::state::RegistryState;
use crate::selector::Selector;
use crate::tracer::TracerHandle;

impl TracerRegistry {
    /// Reads the files of the configuration again and, if they have no fault, takes them over. Files of tenants in `tenants_dir` are read
    /// again if their tenants have tracers. What was made in code stays as it is.
    ///
    /// A tracer stays the same if its binding does. If it changed, the next look-up makes a new one; handles of the old one go on with it,
    /// and what it holds is delivered. Look-ups of a name that is gone fail. Keys are not read.
    ///
    /// What the files say takes effect at once, also if they take a table or a setting away; only a change that is seen by watching waits
    /// before it takes something away.
    ///
    /// Blocks the thread while files are read. Look-ups do not wait for it.
    ///
    /// # Errors
    /// [`ReloadError::Config`] with every fault; everything is as it was.
    pub fn reload(&self) -> Result<Reload, ReloadError> {
        self.0.state.reload()
    }
}

impl RegistryState {
    pub(crate) fn reload(&self) -> Result<Reload, ReloadError> {
        if self.fork.is_forked_child() {
            return Err(ReloadError::Forked);
        }
        let _one = self.reloads.begin_now();
        let taken = self.read_again().map(|(running, read)| {
            let mut reload = self.take_over(&running, read);
            self.renew(&mut reload, |_| true, |_, _| true);
            reload
        });
        self.reloads.note(taken.as_ref().map(|_| true));
        self.reloads.note_waiting(false);
        taken
    }

    /// Returns the running configuration, and what its files say.
    pub(super) fn read_again(&self) -> Result<(Arc<Config>, Config), ReloadError> {
        self.check_open().map_err(|_| ReloadError::Shutdown)?;
        let running = self.bindings.config();
        let read = running.read_again()?;
        Ok((running, read))
    }

    pub(super) fn take_over(&self, running: &Config, mut read: Config) -> Reload {
        let mut reload = Reload {
            needs_restart: running.needs_restart(&read),
            ..Reload::default()
        };
        read.keep_of_start(running);
        if *running == read {
            self.bindings.note_change();
        } else {
            reload.compare(running, &read);
            self.bindings.replace(read);
        }
        #[cfg(feature = "watch")]
        self.watched.point_at(&self.bindings.config());
        reload
    }

    /// Retires the tracers whose binding is another one now, if they `may_go`. That is passed what they would be made of.
    pub(super) fn renew(
        &self,
        reload: &mut Reload,
        concerned: impl Fn(&Selector) -> bool,
        mut may_go: impl FnMut(&TracerHandle, Result<Digest, &LookupError>) -> bool,
    ) {
        let mut changed: BTreeSet<Selector> = reload.changed.drain(..).collect();
        let mut removed: BTreeSet<Selector> = reload.removed.drain(..).collect();
        // Before the tracers that are there: one that is finished in between is among them.
        self.pool.remove_building(&concerned);
        for tracer in self.pool.tracers() {
            let selector = tracer.selector();
            if !concerned(selector) {
                continue;
            }
            let resolved = self.bindings.resolve_without_asking(selector);
            match &resolved {
                Ok(Some(binding)) if binding.digest() == tracer.digest() => {
                    // A tracer made of a table or a file never expires. If the source decides now, the next look-up takes the expiry
                    // of the source's answer.
                    if self.bindings.of_source(selector).is_some() {
                        tracer.freshness().mark_stale();
                    }
                    continue;
                }
                // The next look-up asks, and compares.
                Ok(None) => {
                    tracer.freshness().mark_stale();
                    continue;
                }
                Ok(Some(binding)) if !may_go(&tracer, Ok(binding.digest())) => continue,
                Err(error @ LookupError::Resolve(_)) if !may_go(&tracer, Err(error)) => continue,
                Err(LookupError::Resolve(ResolveError::Unknown { .. })) => {
                    removed.insert(selector.clone());
                }
                // Look-ups fail from now on: the configuration says nothing that a tracer could be made of, or no longer allows it.
                Ok(Some(_)) | Err(LookupError::Resolve(_)) => {
                    changed.insert(selector.clone());
                }
                Err(error) => {
                    let (selector, error) = (selector.clone(), error.clone());
                    reload.kept.push(RetainedTracer { selector, error });
                    continue;
                }
            }
            self.pool.retire(&tracer);
        }
        // A table that went can leave the tenant with a file, or with the table "*".
        changed.retain(|selector| !removed.contains(selector));
        self.projects
            .forget(|selector| changed.contains(selector) || removed.contains(selector));
        reload.changed = changed.into_iter().collect();
        reload.removed = removed.into_iter().collect();
    }
}

//! Reloads: reading the configuration files again, and applying them as a whole or not at all.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::report::{Reload, ReloadError, RetainedTracer};
use crate::config::{Config, Digest, ResolveError};
#[cfg(feature = "spool")]
use crate::export::DrainEvent;
use crate::registry::error::LookupError;
use crate::registry::handle::TracerRegistry;
use crate::registry::state::RegistryState;
use crate::selector::Selector;
use crate::tracer::TracerHandle;

impl TracerRegistry {
    /// Reads the configuration files again and applies them if they are valid. Reads tenants' files
    /// in `tenants_dir` again if their tenants have tracers. Settings defined in code do not
    /// change.
    ///
    /// A tracer is kept if its binding is unchanged. If the binding changed, the next look-up
    /// creates a new tracer; handles keep the old one, which still delivers its data. Look-ups of
    /// removed names fail. Reads no key.
    ///
    /// Applies removed tables and settings at once. Only changes detected by the file watcher delay
    /// removals.
    ///
    /// Blocks the thread while it reads files. Look-ups do not wait for it.
    ///
    /// # Errors
    /// [`ReloadError::Config`] with every error of the files. The running configuration is kept.
    pub fn reload(&self) -> Result<Reload, ReloadError> {
        self.0.state.reload()
    }
}

impl RegistryState {
    pub(crate) fn reload(&self) -> Result<Reload, ReloadError> {
        if self.fork.is_forked_child() {
            return Err(ReloadError::Forked);
        }
        let _removals = self.reloads.begin();
        let result = self.read_again().and_then(|(running, read)| {
            let mut reload = self.apply_config(&running, read)?;
            self.renew(&mut reload, |_| true, |_, _| true);
            Ok(reload)
        });
        self.reloads.note(result.as_ref().map(|_| true));
        self.reloads.note_waiting(false);
        self.reloads.record(&result);
        result
    }

    /// Returns the running configuration and the one read from its files.
    pub(super) fn read_again(&self) -> Result<(Arc<Config>, Config), ReloadError> {
        self.check_open().map_err(|_| ReloadError::Shutdown)?;
        let running = self.bindings.config();
        let read = running.read_again()?;
        Ok((running, read))
    }

    /// Applies a configuration, unless the program's own part of it is invalid.
    pub(super) fn apply_config(&self, running: &Config, mut read: Config) -> Result<Reload, ReloadError> {
        let prepared = self.extension.prepare(&read);
        let commit = match prepared.commit {
            Ok(commit) => commit,
            Err(error) => {
                // An error may end when one of these files changes.
                #[cfg(feature = "watch")]
                self.watched.also(&prepared.watch);
                return Err(error.into());
            }
        };
        let mut reload = Reload {
            needs_restart: running.needs_restart(&read),
            ..Reload::default()
        };
        read.keep_startup_settings(running);
        if *running == read {
            self.bindings.note_change();
        } else {
            reload.compare(running, &read);
            self.bindings.replace(read);
        }
        commit();
        #[cfg(feature = "watch")]
        self.watched.point_at(&self.bindings.config(), &prepared.watch);
        Ok(reload)
    }

    /// Retires the tracers whose binding changed, if `may_go` allows it. `may_go` gets the digest
    /// of the new binding, or the error.
    pub(super) fn renew(
        &self,
        reload: &mut Reload,
        concerned: impl Fn(&Selector) -> bool,
        mut may_go: impl FnMut(&TracerHandle, Result<Digest, &LookupError>) -> bool,
    ) {
        let mut changed: BTreeSet<Selector> = reload.changed.drain(..).collect();
        let mut removed: BTreeSet<Selector> = reload.removed.drain(..).collect();
        // Before the ready tracers: a build that finishes in between is then among those.
        self.pool.remove_building(&concerned);
        for tracer in self.pool.tracers() {
            let selector = tracer.selector();
            if !concerned(selector) {
                continue;
            }
            let resolved = self.bindings.resolve_without_asking(selector);
            if let (Ok(Some(binding)), Some(limiter)) = (&resolved, &tracer.lane().policies.quota) {
                limiter.convert(&binding.quota);
            }
            match &resolved {
                Ok(Some(binding)) if binding.digest() == tracer.digest() => {
                    // A tracer created from a table or a file never expires. If the source decides
                    // now, the next look-up takes the expiry of the source's answer.
                    if self.bindings.source_of(selector).is_some() {
                        tracer.freshness().mark_stale();
                    }
                    continue;
                }
                // The next look-up asks the source and compares.
                Ok(None) => {
                    tracer.freshness().mark_stale();
                    continue;
                }
                Ok(Some(binding)) if !may_go(&tracer, Ok(binding.digest())) => continue,
                Err(error @ LookupError::Resolve(_)) if !may_go(&tracer, Err(error)) => continue,
                Err(LookupError::Resolve(ResolveError::Unknown { .. })) => {
                    removed.insert(selector.clone());
                }
                // Look-ups fail from now on: the binding is incomplete or no longer allowed.
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
        // The selector is listed as removed if its table was removed, even if a file or the table
        // "*" now applies.
        changed.retain(|selector| !removed.contains(selector));
        self.projects
            .forget(|selector| changed.contains(selector) || removed.contains(selector));
        reload.changed = changed.into_iter().collect();
        reload.removed = removed.into_iter().collect();
        self.copies.note_change();
        #[cfg(feature = "spool")]
        if let Some(spool) = &self.spool {
            spool.drain.send(DrainEvent::Reloaded);
        }
    }
}

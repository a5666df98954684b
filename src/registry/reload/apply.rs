//! A configuration that is read again while it runs.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;
#[cfg(feature = "watch")]
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

#[cfg(feature = "watch")]
use super::removals::{Removal, Removals};
use crate::config::{Config, ConfigError, Digest, ResolveError};
use crate::faults::{Fault, planted};
use crate::registry::error::LookupError;
use crate::registry::handle::TracerRegistry;
use crate::registry::state::Live;
use crate::selector::Selector;
#[cfg(feature = "watch")]
use crate::selector::{SelectorKind, Slug};
use crate::tracer::TracerHandle;
use crate::util::serde_display::FromMessage;
use crate::util::serde_display::debug_as_display;
use crate::util::{serde_display, wall_time};

#[cfg(feature = "watch")]
const WAITS: &str = "a change takes tables or settings away, and waits until the files have been the same for 2 s";

/// What a reload changed, by name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reload {
    /// What the configuration did not name before.
    pub added: Vec<Selector>,
    /// What has another binding now, whether its tracer was there or not; with them tracers of tenants that have no table of their own.
    pub changed: Vec<Selector>,
    /// What the configuration names no more, and tracers of tenants that are unknown now.
    pub removed: Vec<Selector>,
    /// Whether [`active`](TracerRegistry::active) gives the tracer of another environment now.
    pub active_environment: bool,
    /// Whether spans outside any scope go to another tracer now, or to none.
    pub routing_default: bool,
    /// Settings that differ and hold only from a start on. They stay as they were.
    pub needs_restart: Vec<&'static str>,
    /// Tracers that stay as they were, because the files of their tenants cannot be used.
    pub kept: Vec<RetainedTracer>,
}

/// A tracer that a reload left as it was.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RetainedTracer {
    /// Whose.
    pub selector: Selector,
    /// Why.
    pub error: LookupError,
}

/// Why a reload changed nothing. The running configuration is kept, with all its tracers. Two errors are equal if they have the same message.
#[derive(Clone, thiserror::Error)]
#[non_exhaustive]
pub enum ReloadError {
    /// The files have faults.
    #[error("the running configuration is kept: {0}")]
    Config(#[from] ConfigError),
    /// The registry was shut down.
    #[error("the registry was shut down")]
    Shutdown,
    /// The process is a fork of the one that made the registry.
    #[error("the process was forked after the registry was made: make a registry in the child")]
    Forked,
    /// The error was read back from a status, as its message.
    #[error("{0}")]
    Reported(String),
}

debug_as_display!(ReloadError);

impl PartialEq for ReloadError {
    fn eq(&self, other: &Self) -> bool {
        self.to_string() == other.to_string()
    }
}

impl Eq for ReloadError {}

impl FromMessage for ReloadError {
    fn from_message(message: String) -> Self {
        Self::Reported(message)
    }
}

/// How the configuration came to be what it is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct ConfigurationStatus {
    /// Whether its files are watched.
    pub watched: bool,
    /// How often it was read again and found to be without faults.
    pub reloads: u64,
    /// When that was the last time.
    #[serde(with = "wall_time::optional")]
    pub last_reload: Option<SystemTime>,
    /// Why the running configuration is not what the files say. None where it is.
    #[serde(with = "serde_display")]
    pub error: Option<ReloadError>,
    /// Since when a change of watched files waits, because it takes a table or a setting away: until the files have said the same for 2 s.
    /// None where nothing waits.
    #[serde(with = "wall_time::optional")]
    pub waiting_since: Option<SystemTime>,
}

/// One reload at a time, and what became of the last.
#[derive(Default)]
pub(crate) struct Reloads {
    pub(crate) one: Mutex<Turn>,
    status: Mutex<ConfigurationStatus>,
}

/// What only who reloads has.
#[derive(Default)]
pub(crate) struct Turn {
    #[cfg(feature = "watch")]
    removals: Removals,
}

impl TracerRegistry {
    /// Reads the files of the configuration again, and takes them over where they have no fault; files of tenants in `tenants_dir` are
    /// looked at again where their tenants have tracers. What was made in code stays as it is.
    ///
    /// A tracer stays the same where its binding does. Where it changed, the next look-up makes a new one; handles of the old one go on with
    /// it, and what it holds is delivered. Where a name is gone, look-ups of it fail. Keys are not read.
    ///
    /// What the files say holds at once, also where they take a table or a setting away; only a change that is seen by watching waits before
    /// it takes something away.
    ///
    /// Blocks the thread while files are read. Look-ups do not wait for it.
    ///
    /// # Errors
    /// [`ReloadError::Config`] with every fault; everything is as it was.
    pub fn reload(&self) -> Result<Reload, ReloadError> {
        self.0.live.reload()
    }
}

impl Live {
    pub(crate) fn reload(&self) -> Result<Reload, ReloadError> {
        if self.home.is_forked_child() {
            return Err(ReloadError::Forked);
        }
        let mut turn = self.reloads.one.lock().unwrap_or_else(PoisonError::into_inner);
        // Whatever waited is taken now.
        *turn = Turn::default();
        let taken = self.read_again().map(|(running, read)| {
            let mut told = self.take_over(&running, read);
            self.renew(&mut told, |_| true, |_, _| true);
            told
        });
        self.reloads.note(taken.as_ref().map(|_| true));
        self.reloads.note_waiting(false);
        taken
    }

    /// What the configuration is, and what its files say.
    fn read_again(&self) -> Result<(Arc<Config>, Config), ReloadError> {
        self.check_open().map_err(|_| ReloadError::Shutdown)?;
        let running = self.bindings.config();
        let read = running.read_again()?;
        Ok((running, read))
    }

    fn take_over(&self, running: &Config, mut read: Config) -> Reload {
        let mut told = Reload {
            needs_restart: running.needs_restart(&read),
            ..Reload::default()
        };
        read.keep_of_start(running);
        if *running == read {
            self.bindings.note_change();
        } else {
            told.compare(running, &read);
            self.bindings.replace(read);
        }
        #[cfg(feature = "watch")]
        self.watch.point(&self.bindings.config());
        told
    }

    /// As [`reload`](Self::reload), for files that are seen to have changed: what takes something away waits. Looks at the files of some tenants
    /// only, where these are all that changed. Gives in how long it is to be called again because something waits.
    #[cfg(feature = "watch")]
    pub(crate) fn reload_changed(
        &self,
        tenants: Option<&BTreeSet<Slug>>,
        now: Instant,
    ) -> (Result<Reload, ReloadError>, Option<Duration>) {
        let mut turn = self.reloads.one.lock().unwrap_or_else(PoisonError::into_inner);
        let removals = &mut turn.removals;
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
            Ok(told) => {
                let told = told.get_or_insert_default();
                self.renew_later(told, tenants, removals, now);
            }
            // As a whole or not at all: a mended file is looked at with all others.
            Err(_) => *removals = Removals::default(),
        }
        let left = removals.left(now);
        self.reloads.note_waiting(left.is_some());
        (taken.map(Option::unwrap_or_default), left)
    }

    /// Takes over what the files of the configuration say; `None` where that has to wait.
    #[cfg(feature = "watch")]
    fn take_over_later(&self, removals: &mut Removals, now: Instant) -> Result<Option<Reload>, ReloadError> {
        let (running, read) = self.read_again()?;
        if running.loses(&read) {
            let removal = removals.note_config(&read, now);
            if removal == Removal::Begins {
                let mut told = Reload::default();
                told.compare(&running, &read);
                tracing::info!("{WAITS}: the files of the configuration ({told})");
            }
            if removal != Removal::Taken {
                self.bindings.note_change();
                return Ok(None);
            }
        }
        removals.settle_config();
        Ok(Some(self.take_over(&running, read)))
    }

    /// Retires the tracers of some tenants, or all, whose binding is not what it was, unless that has to wait.
    #[cfg(feature = "watch")]
    fn renew_later(&self, told: &mut Reload, tenants: Option<&BTreeSet<Slug>>, removals: &mut Removals, now: Instant) {
        let concerned = |selector: &Selector| {
            let is_one = |tenants: &BTreeSet<Slug>| {
                selector
                    .get(SelectorKind::Tenant)
                    .is_some_and(|name| tenants.contains(name))
            };
            tenants.is_none_or(is_one)
        };
        let (mut waiting, mut begun) = (BTreeSet::new(), Vec::new());
        self.renew(told, concerned, |tracer, outcome| {
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

    /// Retires the tracers whose binding is not what it was, and that `may_go` with what they would be made of now.
    fn renew(
        &self,
        told: &mut Reload,
        concerned: impl Fn(&Selector) -> bool,
        mut may_go: impl FnMut(&TracerHandle, Result<Digest, &LookupError>) -> bool,
    ) {
        let mut changed: BTreeSet<Selector> = told.changed.drain(..).collect();
        let mut removed: BTreeSet<Selector> = told.removed.drain(..).collect();
        // Before those that are there are looked at: what is finished in between is among them.
        self.pool.take_out_unfinished(&concerned);
        for tracer in self.pool.tracers() {
            let selector = tracer.selector();
            if !concerned(selector) {
                continue;
            }
            let resolved = self.bindings.resolve_without_asking(selector);
            match &resolved {
                Ok(Some(binding)) if binding.digest() == tracer.digest() => continue,
                Ok(Some(_)) if planted(Fault::ChangedKept) => continue,
                // Whoever looks it up asks, and compares.
                Ok(None) => {
                    tracer.mark_stale();
                    continue;
                }
                Err(LookupError::Resolve(ResolveError::Unknown { .. })) if planted(Fault::RemovedServed) => continue,
                Ok(Some(binding)) if !may_go(&tracer, Ok(binding.digest())) => continue,
                Err(error @ LookupError::Resolve(_)) if !may_go(&tracer, Err(error)) => continue,
                Err(LookupError::Resolve(ResolveError::Unknown { .. })) => {
                    removed.insert(selector.clone());
                }
                // An error is what look-ups get from now on, as the configuration says nothing that a tracer could be made of, or allows it no more.
                Ok(Some(_)) | Err(LookupError::Resolve(_)) => {
                    changed.insert(selector.clone());
                }
                Err(error) => {
                    told.kept.push(RetainedTracer {
                        selector: selector.clone(),
                        error: error.clone(),
                    });
                    continue;
                }
            }
            self.pool.retire(&tracer);
        }
        // A table that went can leave the tenant with a file, or with what holds for everybody.
        changed.retain(|selector| !removed.contains(selector));
        self.projects
            .forget(|selector| changed.contains(selector) || removed.contains(selector));
        told.changed = changed.into_iter().collect();
        told.removed = removed.into_iter().collect();
    }

    pub(crate) fn configuration_status(&self) -> ConfigurationStatus {
        let status = self.reloads.status.lock().unwrap_or_else(PoisonError::into_inner);
        status.clone()
    }
}

impl Reload {
    /// Whether nothing changed.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// What two configurations say of the names that are in them.
    fn compare(&mut self, old: &Config, new: &Config) {
        let (before, after): (BTreeSet<_>, BTreeSet<_>) = (
            old.selectors().into_iter().collect(),
            new.selectors().into_iter().collect(),
        );
        self.added = after.difference(&before).cloned().collect();
        self.removed = before.difference(&after).cloned().collect();
        let both = before.intersection(&after);
        self.changed = both
            .filter(|selector| old.resolve_for_program(selector, None) != new.resolve_for_program(selector, None))
            .cloned()
            .collect();
        self.active_environment = old.active_environment() != new.active_environment();
        self.routing_default = old.routing_default() != new.routing_default();
    }
}

/// One line.
impl fmt::Display for Reload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kept = self
            .kept
            .iter()
            .map(|kept| format!("{} ({})", kept.selector, kept.error));
        let parts = [
            ("added", listed(&self.added)),
            ("changed", listed(&self.changed)),
            ("removed", listed(&self.removed)),
            ("needs a restart", self.needs_restart.join(", ")),
            ("kept as it was", kept.collect::<Vec<_>>().join(", ")),
        ];
        let mut said = parts.iter().filter(|(_, names)| !names.is_empty()).peekable();
        if said.peek().is_none() {
            return f.write_str(match (self.active_environment, self.routing_default) {
                (true, _) => "another environment is active",
                (false, true) => "spans outside any scope go elsewhere",
                (false, false) => "nothing changed",
            });
        }
        while let Some((what, names)) = said.next() {
            let more = if said.peek().is_some() { "; " } else { "" };
            write!(f, "{what}: {names}{more}")?;
        }
        Ok(())
    }
}

/// The first few, and how many more there are.
fn listed(selectors: &[Selector]) -> String {
    const SHOWN: usize = 20;
    let mut names: Vec<String> = selectors.iter().take(SHOWN).map(ToString::to_string).collect();
    if selectors.len() > SHOWN {
        names.push(format!("and {} more", selectors.len() - SHOWN));
    }
    names.join(", ")
}

impl Reloads {
    pub(crate) fn new(watched: bool) -> Self {
        let status = ConfigurationStatus {
            watched,
            ..ConfigurationStatus::default()
        };
        Self {
            one: Mutex::default(),
            status: Mutex::new(status),
        }
    }

    /// The files have no fault, and were taken over or not; or they cannot be.
    fn note(&self, taken: Result<bool, &ReloadError>) {
        let mut status = self.status.lock().unwrap_or_else(PoisonError::into_inner);
        if taken == Ok(true) {
            status.reloads += 1;
            status.last_reload = Some(wall_time::shown(SystemTime::now()));
        }
        status.error = taken.err().cloned();
    }

    fn note_waiting(&self, waits: bool) {
        let mut status = self.status.lock().unwrap_or_else(PoisonError::into_inner);
        let now = || Some(wall_time::shown(SystemTime::now()));
        status.waiting_since = if waits { status.waiting_since.or_else(now) } else { None };
    }
}

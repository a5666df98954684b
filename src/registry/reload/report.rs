//! What a reload changed, and what a status says of reloads.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::MutexGuard;
use std::time::SystemTime;

use serde::{Deserialize, Serialize};

#[cfg(feature = "watch")]
use super::removals::Removals;
use crate::config::{Config, ConfigError};
use crate::registry::error::LookupError;
use crate::selector::Selector;
use crate::util::fork::ForkLock;
use crate::util::serde_display::FromMessage;
use crate::util::serde_display::debug_as_display;
use crate::util::{serde_display, wall_time};

/// What a reload changed, by name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Reload {
    /// What the configuration did not name before.
    pub added: Vec<Selector>,
    /// What has another binding now, whether its tracer was there or not, and tracers of tenants without a table of their own.
    pub changed: Vec<Selector>,
    /// What the configuration no longer names, and tracers of tenants that are unknown now.
    pub removed: Vec<Selector>,
    /// Whether [`active`](crate::TracerRegistry::active) returns the tracer of another environment now.
    pub active_environment: bool,
    /// Whether spans outside any scope go to another tracer now, or to none.
    pub routing_default: bool,
    /// Settings that differ and take effect only at a start. They stay as they were.
    pub needs_restart: Vec<&'static str>,
    /// Tracers that stay as they were, because the files of their tenants cannot be used.
    pub kept: Vec<RetainedTracer>,
}

/// A tracer that a reload left as it was.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct RetainedTracer {
    /// What it is looked up by.
    pub selector: Selector,
    /// Why.
    pub error: LookupError,
}

/// Why a reload changed nothing. The running configuration is kept, with all its tracers. Two errors are equal if their messages are.
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

/// Where the running configuration comes from.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct ConfigurationStatus {
    /// Whether its files are watched.
    pub watched: bool,
    /// How often its files were read again without a fault.
    pub reloads: u64,
    /// When that last happened.
    #[serde(with = "wall_time::optional")]
    pub last_reload: Option<SystemTime>,
    /// Why the running configuration is not what the files say. `None` if it is.
    #[serde(with = "serde_display")]
    pub error: Option<ReloadError>,
    /// Since when a change of watched files waits, because it takes a table or a setting away: until the files have said the same for 2 s.
    /// `None` if nothing waits.
    #[serde(with = "wall_time::optional")]
    pub waiting_since: Option<SystemTime>,
}

impl Reload {
    /// Whether nothing changed.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Notes how the names of two configurations differ.
    pub(super) fn compare(&mut self, old: &Config, new: &Config) {
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
        let parts = parts.iter().filter(|(_, names)| !names.is_empty());
        let parts: Vec<_> = parts.map(|(what, names)| format!("{what}: {names}")).collect();
        if parts.is_empty() {
            return f.write_str(match (self.active_environment, self.routing_default) {
                (true, _) => "another environment is active",
                (false, true) => "spans outside any scope go elsewhere",
                (false, false) => "nothing changed",
            });
        }
        f.write_str(&parts.join("; "))
    }
}

/// Returns the first few names, and how many more there are.
pub(super) fn listed(selectors: &[Selector]) -> String {
    const SHOWN: usize = 20;
    let mut names: Vec<String> = selectors.iter().take(SHOWN).map(ToString::to_string).collect();
    if selectors.len() > SHOWN {
        names.push(format!("and {} more", selectors.len() - SHOWN));
    }
    names.join(", ")
}

/// One reload at a time, and what came of the last.
#[derive(Default)]
pub(crate) struct Reloads {
    /// Held while the files are read and taken over. With what waits because it takes something away.
    pub(super) one: ForkLock<Removals>,
    status: ForkLock<ConfigurationStatus>,
}

/// Without watching nothing waits.
#[cfg(not(feature = "watch"))]
type Removals = ();

impl Reloads {
    pub(crate) fn new(watched: bool) -> Self {
        let reloads = Self::default();
        reloads.status.lock().watched = watched;
        reloads
    }

    pub(crate) fn status(&self) -> ConfigurationStatus {
        self.status.lock().clone()
    }

    /// Waits until no other reload runs. What waits because it takes something away is forgotten: it is taken now.
    pub(super) fn begin_now(&self) -> MutexGuard<'_, Removals> {
        let mut removals = self.one.lock();
        *removals = Removals::default();
        removals
    }

    /// The files have no fault, and were taken over or not; or they have a fault.
    pub(super) fn note(&self, taken: Result<bool, &ReloadError>) {
        let mut status = self.status.lock();
        if taken == Ok(true) {
            status.reloads += 1;
            status.last_reload = Some(wall_time::shown(SystemTime::now()));
        }
        status.error = taken.err().cloned();
    }

    pub(super) fn note_waiting(&self, waits: bool) {
        let mut status = self.status.lock();
        let now = || Some(wall_time::shown(SystemTime::now()));
        status.waiting_since = if waits { status.waiting_since.or_else(now) } else { None };
    }
}

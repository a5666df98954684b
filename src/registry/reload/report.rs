//! The report of a reload, and the status of reloads.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::{Arc, MutexGuard};
use std::time::SystemTime;

use serde::{Deserialize, Serialize};

#[cfg(feature = "watch")]
use super::removals::Removals;
use crate::config::{Config, ConfigError};
use crate::export::{ChangeKind, ChangeLog};
use crate::registry::error::LookupError;
use crate::selector::Selector;
use crate::util::fork::ForkLock;
use crate::util::serde_display::FromMessage;
use crate::util::serde_display::debug_as_display;
use crate::util::{serde_display, wall_time};

/// Changes made by a reload, by selector.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Reload {
    /// Selectors that the configuration did not name before.
    pub added: Vec<Selector>,
    /// Selectors with a changed binding, with or without a tracer, and changed tracers of tenants
    /// without their own table.
    pub changed: Vec<Selector>,
    /// Selectors that the configuration no longer names, and tracers of tenants that are now
    /// unknown.
    pub removed: Vec<Selector>,
    /// Whether [`active`](crate::TracerRegistry::active) now returns the tracer of another
    /// environment.
    pub active_environment: bool,
    /// Whether spans outside any scope now go to another tracer, or to none.
    pub routing_default: bool,
    /// Changed settings that require a restart. The running values are kept.
    pub needs_restart: Vec<&'static str>,
    /// Tracers kept because the files of their tenants are invalid.
    pub kept: Vec<RetainedTracer>,
}

/// A tracer that a reload kept despite an error.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct RetainedTracer {
    /// Selector of the tracer.
    pub selector: Selector,
    /// Error of its tenant's file.
    pub error: LookupError,
}

/// Error of a reload that changed nothing. The running configuration and all its tracers are kept.
/// Errors are equal if their messages are equal.
#[derive(Clone, thiserror::Error)]
#[non_exhaustive]
pub enum ReloadError {
    /// The files are invalid.
    #[error("the running configuration is kept: {0}")]
    Config(#[from] ConfigError),
    /// The registry was shut down.
    #[error("the registry was shut down")]
    Shutdown,
    /// The process is a fork of the registry's process.
    #[error("the process was forked after the registry was created: create a registry in the child")]
    Forked,
    /// An error read back from a serialized status, as its message.
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

/// State of the running configuration.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct ConfigurationStatus {
    /// Whether its files are watched.
    pub watched: bool,
    /// Number of successful reloads.
    pub reloads: u64,
    /// Time of the last successful reload.
    #[serde(with = "wall_time::optional")]
    pub last_reload: Option<SystemTime>,
    /// Why the running configuration differs from its files. `None` if it does not.
    #[serde(with = "serde_display")]
    pub error: Option<ReloadError>,
    /// Since when a removal of tables or settings in watched files is pending. It is applied once
    /// the files are unchanged for 2 s. `None` if nothing is pending.
    #[serde(with = "wall_time::optional")]
    pub waiting_since: Option<SystemTime>,
}

impl Reload {
    /// Whether nothing changed.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Records the differences between two configurations.
    pub(super) fn compare(&mut self, old: &Config, new: &Config) {
        let (before, after): (BTreeSet<_>, BTreeSet<_>) = (
            old.selectors().into_iter().collect(),
            new.selectors().into_iter().collect(),
        );
        self.added = after.difference(&before).cloned().collect();
        self.removed = before.difference(&after).cloned().collect();
        let both = before.intersection(&after);
        self.changed = both
            .filter(|selector| {
                old.resolve_without_suggestions(selector, None) != new.resolve_without_suggestions(selector, None)
            })
            .cloned()
            .collect();
        self.active_environment = old.active_environment() != new.active_environment();
        self.routing_default = old.routing_default() != new.routing_default();
    }
}

/// Formats the changes in one line.
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
            ("kept", kept.collect::<Vec<_>>().join(", ")),
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

/// Returns the first few names, and the number of the others.
pub(super) fn listed(selectors: &[Selector]) -> String {
    const SHOWN: usize = 20;
    let mut names: Vec<String> = selectors.iter().take(SHOWN).map(ToString::to_string).collect();
    if selectors.len() > SHOWN {
        names.push(format!("and {} more", selectors.len() - SHOWN));
    }
    names.join(", ")
}

/// Serializes reloads, keeps the result of the last one, and records their changes.
pub(crate) struct Reloads {
    /// Held while files are read and applied. Contains the pending removals.
    pub(super) removals: ForkLock<Removals>,
    status: ForkLock<ConfigurationStatus>,
    changes: Arc<ChangeLog>,
}

/// Without the watcher no removal is delayed.
#[cfg(not(feature = "watch"))]
type Removals = ();

impl Reloads {
    pub(crate) fn new(watched: bool, changes: Arc<ChangeLog>) -> Self {
        Self {
            removals: ForkLock::default(),
            status: ForkLock::new(ConfigurationStatus {
                watched,
                ..ConfigurationStatus::default()
            }),
            changes,
        }
    }

    pub(crate) fn status(&self) -> ConfigurationStatus {
        self.status.lock().clone()
    }

    /// Waits for a running reload, and clears pending removals because they are applied now.
    pub(super) fn begin(&self) -> MutexGuard<'_, Removals> {
        let mut removals = self.removals.lock();
        *removals = Removals::default();
        removals
    }

    /// Records a reload: whether valid files were applied, or the error.
    pub(super) fn note(&self, applied: Result<bool, &ReloadError>) {
        let mut status = self.status.lock();
        if applied == Ok(true) {
            status.reloads += 1;
            status.last_reload = Some(wall_time::to_millis(SystemTime::now()));
        }
        status.error = applied.err().cloned();
    }

    /// Records a reload and what it changed, or its error.
    pub(super) fn record(&self, result: &Result<Reload, ReloadError>) {
        let (kind, detail) = match result {
            Ok(reload) => (ChangeKind::Reloaded, reload.to_string()),
            Err(ReloadError::Shutdown | ReloadError::Forked) => return,
            Err(error) => (ChangeKind::ReloadRefused, error.to_string()),
        };
        self.changes.record(kind, None, None, Some(detail));
    }

    pub(super) fn note_waiting(&self, is_waiting: bool) {
        let mut status = self.status.lock();
        let now = || Some(wall_time::to_millis(SystemTime::now()));
        status.waiting_since = if is_waiting {
            status.waiting_since.or_else(now)
        } else {
            None
        };
    }
}

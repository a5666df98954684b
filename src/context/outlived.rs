//! Scopes that outlive the request that they were entered for.
//!
//! Work that is spawned inside a request takes the request's scope along. If it goes on after the request, as an actor that the first
//! request starts, everything that it traces goes to that request's tenant. So each scope under the first span of the process in a trace
//! keeps the [`Root`] of that span, which records when the span ended.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::OnceLock;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use crate::selector::Selector;
use crate::util::fork::ForkLock;

/// A span that starts later than this after the end of its root counts as one of a stale scope. Most work that requests leave behind is done by
/// then.
const STALE_AFTER: Duration = Duration::from_secs(60);
/// Most selectors that are counted by name.
const MAX_SELECTORS: usize = 1_000;
/// Most names of spans that are logged.
const MAX_NAMES: usize = 100;
/// Longest name that is logged, in bytes.
const MAX_NAME: usize = 256;

/// The first span that is made current in a scope, such as the span of a request.
#[derive(Debug, Default)]
pub(crate) struct Root {
    ended: OnceLock<Instant>,
    /// Whether its scope ends with it.
    ends_scope: bool,
}

/// Counts spans of stale scopes. These are rare, so a lock is fast enough.
#[derive(Debug, Default)]
pub(super) struct StaleScopes {
    stale: ForkLock<Stale>,
}

#[derive(Debug, Default)]
struct Stale {
    status: StaleScopeStatus,
    names: BTreeSet<String>,
}

/// Spans that were started under a request that had ended more than 60 s before.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct StaleScopeStatus {
    /// All of them.
    pub spans: u64,
    /// By the selector of the tracer that they went to, for the first 1,000 selectors.
    pub by_selector: BTreeMap<Selector, u64>,
}

impl Root {
    /// Returns a root whose scope ends with it.
    #[cfg(feature = "tower")]
    pub(crate) fn of_request() -> Self {
        Self {
            ended: OnceLock::new(),
            ends_scope: true,
        }
    }

    pub(crate) fn end(&self) {
        // A second end changes nothing.
        let _ = self.ended.set(Instant::now());
    }

    /// Returns whether its scope ended with it.
    pub(super) fn is_scope_over(&self) -> bool {
        self.ends_scope && self.ended.get().is_some()
    }

    /// Returns whether a span that starts under it now belongs to work that outlived it.
    pub(super) fn is_stale(&self) -> bool {
        self.ended.get().is_some_and(|ended| ended.elapsed() > STALE_AFTER)
    }
}

impl StaleScopes {
    /// Counts a span, and logs its name if it is new.
    pub(super) fn note(&self, selector: &Selector, name: &str) {
        let is_new = {
            let Some(mut stale) = self.stale.lock_unless_forked() else {
                return;
            };
            let Stale { status, names } = &mut *stale;
            status.spans += 1;
            let is_full = status.by_selector.len() >= MAX_SELECTORS;
            if let Some(spans) = status.by_selector.get_mut(selector) {
                *spans += 1;
            } else if !is_full {
                status.by_selector.insert(selector.clone(), 1);
            }
            name.len() <= MAX_NAME && !names.contains(name) && names.len() < MAX_NAMES && names.insert(name.to_owned())
        };
        if is_new {
            tracing::warn!(
                %selector,
                span = name,
                "a span was started in the scope of a request that ended more than 60 s ago; work that outlives its request goes to that \
                 request's tenant"
            );
        }
    }

    pub(super) fn status(&self) -> StaleScopeStatus {
        let stale = self.stale.lock_unless_forked();
        stale.map(|stale| stale.status.clone()).unwrap_or_default()
    }
}

//! Detects scopes that outlive the request they were entered for.
//!
//! Work spawned in a request keeps the request's scope. If it continues after the request, such as
//! an actor started by the first request, all its spans go to that request's tenant. So each scope
//! under the first local span of a trace keeps that span's [`Root`], which records when the span
//! ended.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::OnceLock;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use crate::selector::Selector;
use crate::util::fork::ForkLock;

/// Spans started later than this after the end of their root count as spans of a stale scope. Most
/// background work of a request is finished by then.
const STALE_AFTER: Duration = Duration::from_secs(60);
/// Maximum number of selectors counted individually.
const MAX_SELECTORS: usize = 1_000;
/// Maximum number of span names logged.
const MAX_NAMES: usize = 100;
/// Maximum length of a logged span name, in bytes.
const MAX_NAME: usize = 256;

/// The first span made current in a scope, such as a request's span.
#[derive(Debug, Default)]
pub(crate) struct Root {
    ended: OnceLock<Instant>,
    /// Whether the scope ends with the span.
    ends_scope: bool,
}

/// Counts spans of stale scopes. They are rare, so a lock is fast enough.
#[derive(Debug, Default)]
pub(super) struct StaleScopes {
    stale: ForkLock<Stale>,
}

#[derive(Debug, Default)]
struct Stale {
    status: StaleScopeStatus,
    names: BTreeSet<String>,
}

/// Spans started under a request that ended more than 60 s earlier.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct StaleScopeStatus {
    /// Total number of spans.
    pub spans: u64,
    /// Spans by selector of their tracer, for the first 1,000 selectors.
    pub by_selector: BTreeMap<Selector, u64>,
}

impl Root {
    /// Creates a root that ends its scope.
    #[cfg(feature = "tower")]
    pub(crate) fn of_request() -> Self {
        Self {
            ended: OnceLock::new(),
            ends_scope: true,
        }
    }

    pub(crate) fn end(&self) {
        // Only the first end counts.
        let _ = self.ended.set(Instant::now());
    }

    /// Whether the scope has ended.
    pub(super) fn is_scope_over(&self) -> bool {
        self.ends_scope && self.ended.get().is_some()
    }

    /// Whether a span started now belongs to work that outlived the root.
    pub(super) fn is_stale(&self) -> bool {
        self.ended.get().is_some_and(|ended| ended.elapsed() > STALE_AFTER)
    }
}

impl StaleScopes {
    /// Counts a span, and logs its name the first time.
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
                "span started in the scope of a request that ended more than 60 s ago: work that outlives its request is recorded for \
                 that request's tenant"
            );
        }
    }

    pub(super) fn status(&self) -> StaleScopeStatus {
        let stale = self.stale.lock_unless_forked();
        stale.map(|stale| stale.status.clone()).unwrap_or_default()
    }
}

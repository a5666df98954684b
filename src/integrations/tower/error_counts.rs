//! Counts requests without a tracer.

use std::sync::atomic::{AtomicU64, Ordering};

use serde::{Deserialize, Serialize};

use super::{TenantError, TenantErrorKind};
use crate::selector::{SelectorError, SlugErrorKind};

/// Number of requests without a tracer, by reason and independent of the fallback.
/// Counted since the creation of the layer, over all its services.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct TenantErrorCounts {
    /// The request has no tenant identifier.
    pub missing: u64,
    /// The request names its tenant more than once.
    pub repeated: u64,
    /// The identifier is not UTF-8.
    pub not_text: u64,
    /// The identifier is empty.
    pub empty: u64,
    /// The identifier exceeds the maximum length of a name.
    pub too_long: u64,
    /// The identifier violates another rule of names or hosts.
    pub not_a_name: u64,
    /// The tenant is not configured.
    pub unknown: u64,
    /// The tracer was unavailable at that moment.
    pub unavailable: u64,
}

#[derive(Debug, Default)]
pub(super) struct Counts {
    missing: AtomicU64,
    repeated: AtomicU64,
    not_text: AtomicU64,
    empty: AtomicU64,
    too_long: AtomicU64,
    not_a_name: AtomicU64,
    unknown: AtomicU64,
    unavailable: AtomicU64,
}

impl Counts {
    pub(super) fn count(&self, error: &TenantError) {
        let count = match error {
            TenantError::Missing => &self.missing,
            TenantError::Repeated => &self.repeated,
            TenantError::NotText => &self.not_text,
            TenantError::Selector(SelectorError::Slug { source, .. }) => match source.kind() {
                SlugErrorKind::Empty => &self.empty,
                SlugErrorKind::TooLong(_) => &self.too_long,
                SlugErrorKind::Character(_) | SlugErrorKind::Edge(_) | SlugErrorKind::Dots => &self.not_a_name,
            },
            TenantError::NotAHost | TenantError::Selector(SelectorError::Empty | SelectorError::Syntax(_)) => {
                &self.not_a_name
            }
            TenantError::Lookup(_) if error.kind() == TenantErrorKind::Unknown => &self.unknown,
            TenantError::Lookup(_) => &self.unavailable,
        };
        // Relaxed: a plain counter that orders no other memory.
        count.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn snapshot(&self) -> TenantErrorCounts {
        let read = |count: &AtomicU64| count.load(Ordering::Relaxed);
        TenantErrorCounts {
            missing: read(&self.missing),
            repeated: read(&self.repeated),
            not_text: read(&self.not_text),
            empty: read(&self.empty),
            too_long: read(&self.too_long),
            not_a_name: read(&self.not_a_name),
            unknown: read(&self.unknown),
            unavailable: read(&self.unavailable),
        }
    }
}

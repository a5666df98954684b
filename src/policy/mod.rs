//! Policies of bindings: what may leave, and how much.
//!
//! | folder | owns |
//! |---|---|
//! | `redaction` | rules that remove data, for spans, payloads and session data alike |

#[cfg(feature = "redact")]
pub(crate) mod redaction;

#[cfg(feature = "redact")]
use std::sync::Arc;

#[cfg(feature = "redact")]
use redaction::Redaction;

/// Policies of one tracer.
#[derive(Clone, Default)]
pub(crate) struct Policies {
    /// `None` if nothing is removed.
    #[cfg(feature = "redact")]
    pub(crate) redaction: Option<Arc<Redaction>>,
}

impl Policies {
    /// Returns whether anything may be removed from data.
    #[cfg(feature = "spool")]
    pub(crate) fn redacts(&self) -> bool {
        #[cfg(feature = "redact")]
        return self.redaction.is_some();
        #[cfg(not(feature = "redact"))]
        false
    }
}

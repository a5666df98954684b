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

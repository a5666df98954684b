//! Policies of bindings: what may leave, and how much.
//!
//! | file or folder | owns |
//! |---|---|
//! | `quota` | how much a tenant or a caller of the gateway may send |
//! | `redaction` | rules that remove data, for spans, payloads and session data alike |
//! | `sampling` | which traces pass |

pub(crate) mod quota;
#[cfg(feature = "redact")]
pub(crate) mod redaction;
mod sampling;

use std::sync::Arc;

use quota::Limiter;
#[cfg(feature = "redact")]
use redaction::Redaction;
pub(crate) use sampling::Sampling;

/// Policies of one tracer.
#[derive(Clone, Default)]
pub(crate) struct Policies {
    pub(crate) sampling: Sampling,
    /// `None` if nothing is removed.
    #[cfg(feature = "redact")]
    pub(crate) redaction: Option<Arc<Redaction>>,
    /// `None` without a limit.
    pub(crate) quota: Option<Arc<Limiter>>,
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

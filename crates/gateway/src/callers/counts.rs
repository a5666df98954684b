//! Counts of accepted and refused requests.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use serde::Serialize;
use tokio::sync::Mutex;

/// Declares [`Reason`] and its names.
macro_rules! reasons {
    ($($(#[doc = $doc:literal])+ $reason:ident = $name:literal,)+) => {
        /// Why a request is refused.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Reason {
            $($(#[doc = $doc])+ $reason,)+
        }

        impl Reason {
            /// All reasons.
            pub const ALL: [Self; [$($name),+].len()] = [$(Self::$reason),+];

            /// Returns the name in status and metrics.
            pub fn name(self) -> &'static str {
                match self {
                    $(Self::$reason => $name,)+
                }
            }
        }
    };
}

reasons! {
    /// No credential, or one that is malformed, unknown or revoked. Never counted for a caller.
    Unauthorized = "unauthorized",
    /// More than one credential. Never counted for a caller.
    SeveralCredentials = "several_credentials",
    /// No tenant, although the caller must name one.
    NoTenant = "no_tenant",
    /// The tenant's header is repeated.
    RepeatedTenant = "repeated_tenant",
    /// The tenant's header is not UTF-8.
    InvalidTenant = "invalid_tenant",
    /// The caller may not address the tenant.
    TenantNotAllowed = "tenant_not_allowed",
    /// The body is not a valid request.
    Malformed = "malformed",
    /// The body or a span exceeds a limit.
    TooLarge = "too_large",
    /// The type or encoding of the body is not supported.
    UnsupportedType = "unsupported_type",
    /// Metrics or logs.
    OtherSignal = "other_signal",
    /// The body did not arrive in time, or the client went away.
    Incomplete = "incomplete",
    /// No memory, no room in the tenant's queue, or its key cannot be read right now.
    NoCapacity = "no_capacity",
    /// The quota of the tenant or the caller is exceeded.
    Quota = "quota",
    /// The selector has no usable binding.
    NoBinding = "no_binding",
    /// The tenant's data is erased.
    Erased = "erased",
}

/// Counts of one caller, or of requests without a caller. A reload keeps them.
#[derive(Debug, Default)]
pub struct Counts {
    requests: AtomicU64,
    spans: AtomicU64,
    session_requests: AtomicU64,
    refused: [AtomicU64; Reason::ALL.len()],
    /// Bytes of memory that its requests have reserved.
    pub(crate) reserved: Arc<AtomicUsize>,
    /// Held by the request whose large message is inflated or checked.
    pub(crate) large_message: Mutex<()>,
}

/// Counts of one caller at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct CallerSnapshot {
    /// Name of the caller.
    pub caller: String,
    /// Accepted requests.
    pub requests: u64,
    /// Accepted spans.
    pub spans: u64,
    /// Accepted requests to the session API. Also counted as requests.
    pub session_requests: u64,
    /// Refused requests by reason. Omits reasons that did not occur.
    pub refused: BTreeMap<&'static str, u64>,
}

// Relaxed, because the counts publish no other data.
impl Counts {
    /// Counts an accepted request to the session API.
    pub fn accept_session_request(&self) {
        self.accept(0);
        self.session_requests.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts an accepted request.
    pub fn accept(&self, spans: u64) {
        self.requests.fetch_add(1, Ordering::Relaxed);
        self.spans.fetch_add(spans, Ordering::Relaxed);
    }

    /// Counts a refused request.
    pub fn refuse(&self, reason: Reason) {
        self.refused[reason as usize].fetch_add(1, Ordering::Relaxed);
    }

    /// Returns how many requests were refused for a reason.
    pub fn refused(&self, reason: Reason) -> u64 {
        self.refused[reason as usize].load(Ordering::Relaxed)
    }

    /// Returns the number of refused requests by reason. Omits reasons that did not occur.
    pub(crate) fn refusals(&self) -> BTreeMap<&'static str, u64> {
        let refused = Reason::ALL.map(|reason| (reason.name(), self.refused(reason)));
        refused.into_iter().filter(|(_, count)| *count > 0).collect()
    }

    pub(super) fn snapshot(&self, caller: &str) -> CallerSnapshot {
        CallerSnapshot {
            caller: caller.to_owned(),
            requests: self.requests.load(Ordering::Relaxed),
            spans: self.spans.load(Ordering::Relaxed),
            session_requests: self.session_requests.load(Ordering::Relaxed),
            refused: self.refusals(),
        }
    }
}

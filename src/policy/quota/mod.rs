//! How much a tenant or a caller of the gateway may send.
//!
//! | file | owns |
//! |---|---|
//! | `rate` | a rate with a burst, in one atomic word |
//! | `count` | a count of the current day or month, in one atomic word |
//! | `clock` | the monotonic clock of rates, and days and months that follow the wall clock |
//! | `usage` | what one owner has used |
//! | `limiter` | limits, applied to the usage of an owner |
//! | `quotas` | the usage of all owners of a registry |
//!
//! All selectors of one tenant share one usage, which outlives their tracers. Their limits may
//! differ. No lock is taken to charge a request.

#![cfg_attr(
    not(feature = "gateway"),
    expect(unreachable_pub, reason = "public with the feature `gateway`")
)]

mod clock;
mod count;
mod limiter;
mod quotas;
mod rate;
#[cfg(test)]
mod tests;
mod usage;

#[cfg(feature = "gateway")]
pub use limiter::Charge;
pub use limiter::Limiter;
pub(crate) use limiter::Taken;
pub(crate) use quotas::Quotas;
pub use usage::{Amount, QuotaUse};

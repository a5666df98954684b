//! Data on disk, and erasing the data of a tenant.
//!
//! | file | owns |
//! |---|---|
//! | `open` | the open store: what it reports becomes counts, log lines and changes |
//! | `drain` | tracers for selectors that only the disk knows |
//! | `status` | the status of data on disk |
//! | `erased` | what was erased and is not allowed again |
//! | `purge` | erasing, and allowing again |

#[cfg(feature = "spool")]
mod drain;
mod erased;
#[cfg(feature = "spool")]
mod open;
mod purge;
mod status;

pub(super) use erased::ErasedSelectors;
#[cfg(feature = "spool")]
pub(super) use open::{GivenStore, OpenSpool, OpenedStore};
pub use purge::{Erased, PurgeError, PurgeReceipt};
#[cfg(feature = "metrics")]
pub(super) use status::SpoolView;

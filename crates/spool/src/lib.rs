#![doc = include_str!("../README.md")]
#![cfg_attr(docsrs, feature(doc_cfg))]

#[cfg(all(feature = "sqlite", any(test, fuzzing)))]
#[doc(hidden)]
pub mod fuzzing;
#[cfg(feature = "sqlite")]
mod sqlite;
mod store;
#[cfg(any(test, feature = "test"))]
pub mod test;

#[cfg(feature = "sqlite")]
#[doc(hidden)]
pub use sqlite::Point;
#[cfg(feature = "sqlite")]
pub use sqlite::check;
#[cfg(feature = "sqlite")]
pub use sqlite::{OpenError, Options, SqliteStore};
pub use store::{
    AppendError, Depth, Done, Event, Failing, Health, Kind, Limit, Lost, Oldest, Purged, QueueDepth, Recovery, Rest,
    Row, RowId, Store, Taken, Usage,
};

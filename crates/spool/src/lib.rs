#![doc = include_str!("../README.md")]
#![cfg_attr(docsrs, feature(doc_cfg))]

mod store;
#[cfg(any(test, feature = "test"))]
pub mod test;

pub use store::{
    AppendError, Depth, Done, Event, Failing, Health, Kind, Limit, Lost, Purged, QueueDepth, Recovery, Rest, Row,
    RowId, Store, Taken,
};

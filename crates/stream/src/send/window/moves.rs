//! What a window and the parking stream hand to each other.

use tracer_registry_spool::Row;

use super::{Entry, Numbered};
use crate::message::Published;
use crate::send::count::Count;

/// A message that was read from the parking stream, with its numbers there and in the hot stream.
#[derive(Debug)]
pub(crate) struct ParkedMessage {
    pub(crate) sequence: u64,
    pub(crate) hot: u64,
    pub(crate) row: Row,
    pub(crate) published: Published,
}

/// A message to be published to the parking stream.
#[derive(Clone, Debug)]
pub(crate) struct ToPark {
    pub(crate) hot: u64,
    pub(crate) row: Row,
    pub(crate) published: Published,
}

/// A message that is in the parking stream now, so that the hot one can be acknowledged.
#[derive(Debug)]
pub(crate) struct Moved {
    pub(crate) hot: u64,
    pub(crate) published: Published,
    /// Items at its arrival, and those of them that are finished and not parked.
    pub(crate) items: u32,
    pub(crate) finished: u32,
    /// What was counted twice: as parked by an earlier owner, and when it arrived here.
    pub(crate) repeated: Count,
}

/// Where a message is in the parking stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ParkedAt {
    pub(crate) sequence: u64,
    /// Whether [`Window::count_parked`] counted it: an earlier owner parked it.
    pub(crate) is_counted: bool,
}

/// What an earlier owner parked of a queue.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Counted {
    /// The first number in the parking stream.
    pub(crate) first: u64,
    pub(crate) count: Count,
}

/// What a read of the parking stream hands out.
#[derive(Debug, Default)]
pub(crate) struct ReadRows {
    pub(crate) rows: Vec<Numbered>,
    /// What was parked twice and is deleted.
    pub(crate) copies: Count,
}

/// What a purge took out of the window.
#[derive(Debug, Default)]
pub(crate) struct Erased {
    pub(crate) count: Count,
    /// Messages of the hot stream, with their items: to be settled and acknowledged.
    pub(crate) settled: Vec<(u64, Published, u32)>,
}

/// What to delete in the parking stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Delete {
    /// All messages of the queue up to this number.
    UpTo(u64),
    /// One message.
    One(u64),
}

/// Bounds of a window: of the messages that occupy the consumer.
#[derive(Clone, Copy, Debug)]
pub(crate) struct WindowBounds {
    pub(crate) messages: usize,
    pub(crate) bytes: u64,
}

impl Moved {
    pub(super) fn of(hot: u64, entry: &Entry, finished: u32, at: Option<ParkedAt>) -> Self {
        let is_counted = at.is_some_and(|at| at.is_counted);
        let repeated = is_counted.then(|| Count::of(entry.row.kind, entry.row.items, entry.bytes));
        Self {
            repeated: repeated.unwrap_or_default(),
            hot,
            published: entry.published,
            items: entry.arrived_items,
            finished,
        }
    }
}

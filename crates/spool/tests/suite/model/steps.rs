//! Steps in a random order.

use proptest::prelude::*;
use proptest::sample::Index;
use tracer_registry_spool::Kind;

pub(super) const QUEUES: [&str; 4] = ["a", "a/x", "b", "b/x"];
pub(super) const KINDS: [Kind; 2] = [Kind::Spans, Kind::SessionEvents];
#[derive(Debug, Clone)]
pub(super) enum Step {
    Append {
        rows: Vec<New>,
        stale: bool,
    },
    Take {
        queue: usize,
        kind: usize,
        rows: usize,
        bytes: usize,
        before: Index,
    },
    Complete(Index),
    Release(Index, Option<(u32, usize)>),
    Purge(usize),
    Allow(usize),
    Expire,
    Restart,
    Crash,
}

#[derive(Debug, Clone)]
pub(super) struct New {
    pub(super) queue: usize,
    pub(super) kind: usize,
    pub(super) items: u32,
    pub(super) bytes: usize,
    pub(super) old: bool,
    /// Takes an order number that is smaller than those before.
    pub(super) early: bool,
}

fn new_row() -> impl Strategy<Value = New> {
    let bytes = prop_oneof![0..200_usize, 3_600..4_100_usize, 8_000..8_300_usize, Just(60_000)];
    (
        0..4_usize,
        0..2_usize,
        1..9_u32,
        bytes,
        prop::bool::weighted(0.2),
        prop::bool::weighted(0.2),
    )
        .prop_map(|(queue, kind, items, bytes, old, early)| New {
            queue,
            kind,
            items,
            bytes,
            old,
            early,
        })
}

pub(super) fn step() -> impl Strategy<Value = Step> {
    let rest = prop::option::weighted(0.4, (1..5_u32, 0..9_000_usize));
    prop_oneof![
        8 => (prop::collection::vec(new_row(), 1..5), prop::bool::weighted(0.1))
            .prop_map(|(rows, stale)| Step::Append { rows, stale }),
        6 => (0..4_usize, 0..2_usize, 1..6_usize, 1..100_000_usize, any::<Index>())
            .prop_map(|(queue, kind, rows, bytes, before)| Step::Take { queue, kind, rows, bytes, before }),
        6 => any::<Index>().prop_map(Step::Complete),
        6 => (any::<Index>(), rest).prop_map(|(row, rest)| Step::Release(row, rest)),
        1 => (0..4_usize).prop_map(Step::Purge),
        2 => (0..4_usize).prop_map(Step::Allow),
        1 => Just(Step::Expire),
        1 => Just(Step::Restart),
        1 => Just(Step::Crash),
    ]
}

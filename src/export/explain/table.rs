//! Fates by trace, bounded in number and age.
//!
//! The table is split into shards, so that threads seldom meet. Each shard has its part of
//! `export.explain.max_traces`, and forgets its oldest traces if that is used up. A trace is also
//! forgotten `export.explain.keep` after the last thing that happened to it.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, VecDeque};
use std::hash::{BuildHasher, RandomState};
use std::time::Duration;

use opentelemetry::trace::TraceId;

use super::counts::{TraceCounts, TraceKey};
use super::explanation::TraceExplanation;
use super::fate::{Fate, Note};
use crate::config::ExplainSettings;
use crate::selector::Selector;
use crate::util::fork::ForkLock;
use crate::util::wall_time::Moment;

const SHARDS: usize = 16;
/// Most selectors of a trace. A client may send one trace for many tenants.
const MAX_SELECTORS: usize = 8;

/// What happened to the traces of one registry.
pub(crate) struct TraceTable {
    shards: Box<[ForkLock<Shard>]>,
    /// Keyed, so that no client can choose ids with equal hashes.
    hasher: RandomState,
    /// Most fates of a shard.
    max_fates: usize,
    keep: Duration,
    start: Moment,
}

#[derive(Default)]
struct Shard {
    traces: HashMap<TraceKey, Trace, foldhash::fast::RandomState>,
    /// Each trace, with the time of what last happened to it when it was listed. In the order of
    /// listing.
    order: VecDeque<(TraceKey, u32)>,
    fates: usize,
}

#[derive(Default)]
struct Trace {
    fates: Vec<Fate>,
    /// A bit for each further selector, by its hash.
    more: u64,
}

impl TraceTable {
    /// Returns `None` if the settings turn it off.
    pub(crate) fn new(settings: &ExplainSettings) -> Option<Self> {
        let shards = SHARDS.min(settings.max_traces);
        let max_fates = settings.max_traces.checked_div(shards)?;
        Some(Self {
            shards: (0..shards).map(|_| ForkLock::default()).collect(),
            hasher: RandomState::new(),
            max_fates,
            keep: settings.keep,
            start: Moment::now(),
        })
    }

    pub(crate) fn key(&self, trace_id: TraceId) -> TraceKey {
        TraceKey(self.hasher.hash_one(trace_id.to_bytes()))
    }

    /// Records what happened to a number of a trace's spans. An outcome of a trace that is forgotten
    /// is ignored.
    #[inline(never)]
    pub(crate) fn note(&self, key: TraceKey, selector: &Selector, note: Note<'_>, spans: u32) {
        self.note_at(key, selector, note, spans, self.now());
    }

    /// Records what happened to the spans of several traces.
    pub(crate) fn note_all(&self, traces: &TraceCounts, selector: &Selector, note: Note<'_>) {
        let now = self.now();
        for (key, spans) in traces.iter() {
            self.note_at(key, selector, note, spans, now);
        }
    }

    /// Returns what happened to a trace. Empty if it is unknown.
    pub(crate) fn explain(&self, trace_id: TraceId) -> TraceExplanation {
        self.explain_at(self.key(trace_id), self.now())
    }

    /// Forgets what happened to the spans of a selector.
    pub(crate) fn forget(&self, selector: &Selector) {
        for shard in &self.shards {
            let shard = &mut *shard.lock();
            for trace in shard.traces.values_mut() {
                let before = trace.fates.len();
                trace.fates.retain(|fate| fate.selector != *selector);
                shard.fates -= before - trace.fates.len();
            }
        }
    }

    fn note_at(&self, key: TraceKey, selector: &Selector, note: Note<'_>, spans: u32, now: u32) {
        // After a fork, a lock held by another thread is never released.
        let Some(mut shard) = self.shard(key).lock_unless_forked() else {
            return;
        };
        shard.forget_old(now, self.keep_seconds());
        if let Some(trace) = shard.traces.get_mut(&key) {
            if let Some(fate) = trace.of(selector) {
                fate.note(note, spans, now);
                return;
            }
            if trace.fates.len() == MAX_SELECTORS {
                trace.more |= 1 << (self.hasher.hash_one(selector) % u64::from(u64::BITS));
                return;
            }
        }
        if !note.may_begin() {
            return;
        }
        while shard.fates >= self.max_fates && shard.forget_oldest() {}
        let mut fate = Fate::new(selector.clone(), now);
        fate.note(note, spans, now);
        shard.add(key, fate, now);
    }

    fn explain_at(&self, key: TraceKey, now: u32) -> TraceExplanation {
        let shard = self.shard(key).lock_unless_forked();
        let trace = shard.as_ref().and_then(|shard| shard.traces.get(&key));
        let trace = trace.filter(|trace| trace.last() >= now.saturating_sub(self.keep_seconds()));
        let fates = trace.map(|trace| trace.fates.iter()).unwrap_or_default();
        TraceExplanation {
            selectors: fates.map(|fate| fate.explain(self.start.wall())).collect(),
            more_selectors: trace.map_or(0, |trace| trace.more.count_ones().into()),
            kept: self.keep,
        }
    }

    fn shard(&self, key: TraceKey) -> &ForkLock<Shard> {
        let count = self.shards.len() as u64;
        let at = usize::try_from(key.0 % count).unwrap_or_default();
        &self.shards[at]
    }

    /// Returns the seconds since the start.
    fn now(&self) -> u32 {
        u32::try_from(self.start.elapsed().as_secs()).unwrap_or(u32::MAX)
    }

    fn keep_seconds(&self) -> u32 {
        // At most a day.
        u32::try_from(self.keep.as_millis().div_ceil(1000)).unwrap_or(u32::MAX)
    }
}

impl Shard {
    fn add(&mut self, key: TraceKey, fate: Fate, now: u32) {
        let trace = match self.traces.entry(key) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(new) => {
                self.order.push_back((key, now));
                new.insert(Trace::default())
            }
        };
        // Most traces have one selector.
        trace.fates.reserve_exact(1);
        trace.fates.push(fate);
        self.fates += 1;
    }

    /// Forgets traces to which nothing happened for `keep` seconds.
    fn forget_old(&mut self, now: u32, keep: u32) {
        let since = now.saturating_sub(keep);
        while let Some((key, listed)) = self.order.front().copied()
            && listed < since
        {
            let last = self.traces.get(&key).map_or(0, Trace::last);
            if last < since {
                self.forget_oldest();
            } else {
                // Something happened to it after it was listed.
                self.order.pop_front();
                self.order.push_back((key, last));
            }
        }
    }

    /// Forgets the trace that was listed first. Returns whether there was one.
    fn forget_oldest(&mut self) -> bool {
        let oldest = self.order.pop_front();
        let removed = oldest.and_then(|(key, _)| self.traces.remove(&key));
        self.fates -= removed.as_ref().map_or(0, |trace| trace.fates.len());
        removed.is_some()
    }
}

impl Trace {
    fn of(&mut self, selector: &Selector) -> Option<&mut Fate> {
        self.fates.iter_mut().find(|fate| fate.selector == *selector)
    }

    fn last(&self) -> u32 {
        self.fates.iter().map(|fate| fate.last).max().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;
    use crate::export::explain::explanation::TraceFate;
    use crate::export::explain::fate::AnswerCode;
    use crate::ledger::DropReason;
    use crate::selector::Slug;

    fn table(max_traces: usize, keep: u64) -> TraceTable {
        let keep = Duration::from_secs(keep);
        TraceTable::new(&ExplainSettings { max_traces, keep }).expect("not off")
    }

    fn selector(number: usize) -> Selector {
        format!("tenant:t{number}").parse().expect("valid")
    }

    fn id(number: u64) -> TraceId {
        TraceId::from(u128::from(number) + 1)
    }

    impl TraceTable {
        fn accept(&self, trace: u64, tenant: usize, now: u32) {
            self.note_at(self.key(id(trace)), &selector(tenant), Note::Accepted(None), 1, now);
        }

        fn fates(&self) -> usize {
            self.shards.iter().map(|shard| shard.lock().fates).sum()
        }

        fn seen(&self, trace: u64, now: u32) -> Vec<TraceFate> {
            self.explain_at(self.key(id(trace)), now).selectors
        }

        fn assert_consistent(&self) {
            for shard in &self.shards {
                let shard = shard.lock();
                assert_eq!(shard.order.len(), shard.traces.len());
                assert!(shard.order.iter().all(|(key, _)| shard.traces.contains_key(key)));
                let lens = shard.traces.values().map(|trace| trace.fates.len());
                assert_eq!(lens.sum::<usize>(), shard.fates);
                assert!(shard.fates <= self.max_fates);
            }
        }
    }

    #[test]
    fn zero_traces_turn_it_off() {
        let keep = Duration::from_secs(1);
        assert!(TraceTable::new(&ExplainSettings { max_traces: 0, keep }).is_none());
    }

    #[test]
    fn the_oldest_traces_make_room() {
        for max in [1, 2, 15, 16, 17, 100, 1000] {
            let table = table(max, 60);
            for trace in 0..3_000 {
                table.accept(trace, 0, 0);
                assert_eq!(table.seen(trace, 0).len(), 1, "the newest trace is known");
            }
            table.assert_consistent();
            assert!(table.fates() <= max, "{max}");
            assert!(table.seen(0, 0).is_empty());
        }
    }

    #[test]
    fn a_trace_has_at_most_eight_selectors() {
        let table = table(1_000, 60);
        for tenant in 0..MAX_SELECTORS {
            table.accept(1, tenant, 0);
        }
        assert_eq!(table.explain_at(table.key(id(1)), 0).more_selectors, 0);
        for tenant in MAX_SELECTORS..200 {
            table.accept(1, tenant, 0);
            table.accept(1, tenant, 0);
        }
        let explained = table.explain_at(table.key(id(1)), 0);
        assert_eq!(
            (explained.selectors.len(), table.fates()),
            (MAX_SELECTORS, MAX_SELECTORS)
        );
        assert!(
            (30..=64).contains(&explained.more_selectors),
            "{}",
            explained.more_selectors
        );
    }

    #[test]
    fn a_trace_with_more_selectors_than_a_shard_may_have_is_not_kept_whole() {
        let table = table(1, 60);
        table.accept(1, 0, 0);
        table.accept(1, 1, 0);
        let kept: Vec<Selector> = table.seen(1, 0).into_iter().map(|fate| fate.selector).collect();
        assert_eq!(kept, [selector(1)]);
        table.assert_consistent();
    }

    #[test]
    fn a_trace_is_kept_until_nothing_has_happened_to_it_for_a_time() {
        let table = table(1_000, 10);
        table.accept(1, 0, 0);
        table.accept(2, 0, 5);
        table.accept(1, 0, 8);
        let seen = |now| [1, 2].map(|trace| table.seen(trace, now).len());
        assert_eq!(
            [seen(15), seen(16), seen(18), seen(19)],
            [[1, 1], [1, 0], [1, 0], [0, 0]]
        );
        // Expired traces leave the memory with the next record in their shard.
        for trace in 3..200 {
            table.accept(trace, 0, 18);
        }
        assert_eq!((table.seen(1, 18)[0].accepted, table.fates()), (2, 198));
        table.assert_consistent();
    }

    #[test]
    fn an_outcome_of_a_forgotten_trace_is_ignored() {
        let table = table(1_000, 10);
        let note = |note, now| table.note_at(table.key(id(1)), &selector(0), note, 3, now);
        note(Note::Accepted(None), 0);
        note(Note::Delivered, 20);
        assert!(table.seen(1, 20).is_empty());
        table.accept(1, 0, 21);
        note(Note::Delivered, 22);
        let fate = &table.seen(1, 22)[0];
        assert_eq!((fate.accepted, fate.delivered, fate.pending), (1, 1, 0));
    }

    #[test]
    fn the_last_answer_slot_counts_all_further_answers() {
        let table = table(1_000, 10);
        table.accept(1, 0, 0);
        for status in [503, 503, 429, 500, 502, 504, 502, 200, 503] {
            let note = Note::Attempt(AnswerCode::Http(status));
            table.note(table.key(id(1)), &selector(0), note, 1);
        }
        let fate = &table.explain(id(1)).selectors[0];
        let answers: Vec<_> = fate
            .answers
            .iter()
            .map(|answer| (&*answer.answer, answer.count))
            .collect();
        assert_eq!(answers, [("503", 3), ("429", 1), ("500", 1), ("other", 4)]);
        assert_eq!(fate.attempts, 9);
    }

    const REASONS: [DropReason; 2] = [DropReason::QueueFull, DropReason::Refused];

    /// What the model expects of a trace and a selector.
    #[derive(Clone, Debug, Default, PartialEq, Eq)]
    struct Expected {
        begun: [u64; 2],
        settled: [u64; 4],
    }

    proptest! {
        /// Any order of records leaves each trace and selector with its own sums, which add up.
        #[test]
        fn records_of_one_selector_never_reach_another(
            notes in prop::collection::vec((0..4_u64, 0..3_usize, 0..6_usize, 0..4_u32), 0..100)
        ) {
            let (table, caller) = (table(1_000, 60), "c".parse::<Slug>().expect("valid"));
            let mut model: BTreeMap<(u64, usize), Expected> = BTreeMap::new();
            for (trace, tenant, kind, spans) in notes {
                let note = match kind {
                    0 => Note::Accepted(Some(&caller)),
                    1 => Note::SampledOut(None),
                    2 => Note::Delivered,
                    3 => Note::Unclear,
                    _ => Note::Dropped(REASONS[kind - 4]),
                };
                table.note(table.key(id(trace)), &selector(tenant), note, spans);
                if kind > 1 && !model.contains_key(&(trace, tenant)) {
                    continue;
                }
                let expected = model.entry((trace, tenant)).or_default();
                let pending = expected.begun[0] - expected.settled.iter().sum::<u64>();
                match kind {
                    0 | 1 => expected.begun[kind] += u64::from(spans),
                    _ => expected.settled[kind - 2] += u64::from(spans).min(pending),
                }
            }
            for trace in 0..4 {
                let of_trace = model.range((trace, 0)..(trace + 1, 0));
                let seen = table.explain(id(trace)).selectors;
                prop_assert_eq!(seen.len(), of_trace.clone().count());
                for ((_, tenant), expected) in of_trace {
                    let fate = seen.iter().find(|fate| fate.selector == selector(*tenant)).expect("known");
                    let dropped = REASONS.map(|reason| fate.dropped.get(&reason).copied().unwrap_or_default());
                    prop_assert_eq!([fate.accepted, fate.sampled_out], expected.begun);
                    prop_assert_eq!([fate.delivered, fate.unclear, dropped[0], dropped[1]], expected.settled);
                    let sum = fate.delivered + fate.unclear + fate.pending + fate.dropped.values().sum::<u64>();
                    prop_assert_eq!(fate.accepted, sum);
                }
            }
            table.assert_consistent();
        }

        /// The bounds hold after any records at any times.
        #[test]
        fn the_bounds_hold_after_any_records(
            max in 1..40_usize,
            notes in prop::collection::vec((0..60_u64, 0..12_usize, 0..5_u32), 0..300)
        ) {
            let (table, mut now) = (table(max, 7), 0);
            for (trace, tenant, later) in notes {
                now += later;
                table.accept(trace, tenant, now);
                prop_assert_eq!(table.seen(trace, now).is_empty(), false);
                prop_assert!(table.seen(trace, now).len() <= MAX_SELECTORS);
                prop_assert!(table.fates() <= max);
            }
            table.assert_consistent();
        }
    }
}

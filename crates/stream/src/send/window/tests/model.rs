//! A window beside a model of the servers and the lanes, with random steps.

use proptest::prelude::*;

use super::super::moves::{Delete, ParkedMessage, ToPark};
use super::*;

/// A step of a partition and its lanes. Numbers choose among what there is.
#[derive(Clone, Debug)]
enum Step {
    Arrive(usize),
    Take(usize, usize),
    Complete(usize),
    Release(usize),
    Park(usize),
    /// The oldest publication in progress ends.
    Parked(bool),
    /// The oldest read ends.
    Read,
    Delete,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (0_usize..3).prop_map(Step::Arrive),
        4 => (0_usize..3, 1_usize..5).prop_map(|(queue, rows)| Step::Take(queue, rows)),
        3 => (0_usize..100).prop_map(Step::Complete),
        2 => (0_usize..100).prop_map(Step::Release),
        2 => (0_usize..3).prop_map(Step::Park),
        3 => prop::bool::weighted(0.9).prop_map(Step::Parked),
        3 => Just(Step::Read),
        1 => Just(Step::Delete),
    ]
}

/// The servers and the lanes.
#[derive(Default)]
struct Model {
    window: Window,
    last: u64,
    /// The parking stream: number there, queue, number in the hot stream.
    stream: BTreeMap<u64, (usize, u64)>,
    last_parked: u64,
    waiting: [BTreeSet<u64>; 3],
    taken: BTreeMap<u64, usize>,
    publishing: Vec<(usize, Vec<ToPark>)>,
    reading: Vec<(usize, u64, usize)>,
}

impl Model {
    fn took(&mut self, queue: usize, rows: &[Numbered]) {
        for (hot, _) in rows {
            assert!(self.waiting[queue].remove(hot), "{hot} of {queue} does not wait");
            let oldest = self.waiting[queue].first();
            assert!(oldest.is_none_or(|oldest| oldest > hot), "{hot} before an older one");
            self.taken.insert(*hot, queue);
        }
    }

    fn take(&mut self, queue: usize, rows: usize) {
        match self.window.take(&key(queue), Limit { rows, ..ALL }) {
            Take::Rows(rows) => self.took(queue, &rows),
            Take::Read(from) => self.reading.push((queue, from, rows)),
        }
    }

    fn read(&mut self) {
        if self.reading.is_empty() {
            return;
        }
        let (queue, from, rows) = self.reading.remove(0);
        let found = self.stream.range(from..).filter(|(_, (of, _))| *of == queue).take(rows);
        let messages: Vec<ParkedMessage> = found
            .map(|(sequence, (_, hot))| {
                let message = message(queue, *hot, 10, 100);
                ParkedMessage {
                    sequence: *sequence,
                    hot: *hot,
                    row: message.row,
                    published: message.published,
                }
            })
            .collect();
        if messages.is_empty() {
            let missing = self.window.read_nothing(&key(queue)).unwrap_or_default();
            assert_eq!(missing, Count::default(), "nothing was lost");
            return;
        }
        let limit = Limit { rows, ..ALL };
        if let Some(read) = self.window.read(&key(queue), from, messages, limit, Instant::now()) {
            self.took(queue, &read.rows);
        }
    }

    fn parked(&mut self, succeeds: bool) {
        if self.publishing.is_empty() {
            return;
        }
        let (queue, messages) = self.publishing.remove(0);
        let mut results = Vec::new();
        for (index, to_park) in messages.iter().enumerate() {
            let parked = (succeeds || index % 2 == 0).then(|| {
                self.last_parked += 1;
                self.stream.insert(self.last_parked, (queue, to_park.hot));
                self.last_parked
            });
            results.push((to_park.hot, parked.map(at)));
        }
        self.window.moved(&key(queue), results);
    }

    fn park(&mut self, queue: usize) {
        let messages = self.window.park(&key(queue));
        if !messages.is_empty() {
            self.publishing.push((queue, messages));
        }
    }

    fn delete(&mut self) {
        for (of_key, deletes) in self.window.deletes() {
            for delete in &deletes {
                let is_deleted = |sequence: u64, queue: usize| match delete {
                    Delete::UpTo(last) => sequence <= *last && key(queue) == of_key,
                    Delete::One(one) => sequence == *one,
                };
                let (taken, waiting) = (&self.taken, &self.waiting);
                self.stream.retain(|sequence, (queue, hot)| {
                    let goes = is_deleted(*sequence, *queue);
                    assert!(
                        !goes || !taken.contains_key(hot) && !waiting[*queue].contains(hot),
                        "{hot} is not finished"
                    );
                    !goes
                });
            }
            self.window.deleted(&of_key, &deletes);
        }
    }

    fn step(&mut self, step: &Step) {
        let now = Instant::now();
        match *step {
            Step::Arrive(queue) => {
                self.last += 1;
                self.window.insert(self.last, message(queue, self.last, 10, 100), now);
                self.waiting[queue].insert(self.last);
            }
            Step::Take(queue, rows) => self.take(queue, rows),
            Step::Complete(index) | Step::Release(index) if !self.taken.is_empty() => {
                let (hot, queue) = self
                    .taken
                    .iter()
                    .nth(index % self.taken.len())
                    .map(|(hot, queue)| (*hot, *queue))
                    .expect("a row");
                self.taken.remove(&hot);
                if matches!(step, Step::Complete(_)) {
                    assert!(self.window.complete(hot).is_some());
                } else {
                    assert!(self.window.release(hot, None, now));
                    self.waiting[queue].insert(hot);
                }
            }
            Step::Complete(_) | Step::Release(_) => {}
            Step::Park(queue) => self.park(queue),
            Step::Parked(succeeds) => self.parked(succeeds),
            Step::Read => self.read(),
            Step::Delete => self.delete(),
        }
        for of_key in self.window.following() {
            let queue = (0..3).find(|queue| key(*queue) == of_key).expect("a queue");
            self.park(queue);
        }
    }
}

proptest! {
    /// Messages are taken oldest first, each by one lane at a time, none is lost or deleted before it
    /// is finished, wherever they are and however their moves overlap.
    #[test]
    fn a_window_loses_nothing_and_keeps_the_order(steps in prop::collection::vec(step(), 0..150)) {
        let mut model = Model::default();
        model.window.settle();
        for step in &steps {
            model.step(step);
            let waiting: usize = model.waiting.iter().map(BTreeSet::len).sum();
            let moving_done = model.window.held().rows - (waiting + model.taken.len()) as u64;
            let publishing: usize = model.publishing.iter().map(|(_, messages)| messages.len()).sum();
            prop_assert!(moving_done <= publishing as u64, "only what is completed on its way is held beyond these");
        }
        // All ends.
        for _ in 0..1000 {
            model.step(&Step::Parked(true));
            model.step(&Step::Read);
            for queue in 0..3 {
                model.step(&Step::Take(queue, 4));
            }
            model.step(&Step::Complete(0));
            model.step(&Step::Delete);
        }
        prop_assert!(model.taken.is_empty() && model.waiting.iter().all(BTreeSet::is_empty));
        prop_assert_eq!(model.window.held(), Count::default());
        prop_assert_eq!(model.window.hot(), (0, 0));
        prop_assert!(model.stream.is_empty(), "{:?}", model.stream);
        prop_assert!(model.window.queues.is_empty());
    }
}

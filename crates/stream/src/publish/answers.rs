//! Answers to appends, in the order of the calls.

use std::collections::VecDeque;

use tracer_registry_spool::{AppendError, Done, Row, RowId};

type Answer = Result<Vec<RowId>, AppendError>;

/// Appends without an answer.
#[derive(Default)]
pub(crate) struct Answers {
    /// The number of the first slot.
    first: u64,
    slots: VecDeque<Slot>,
}

struct Slot {
    done: Done<Answer>,
    /// Parts without a result.
    parts: usize,
    answer: Answer,
    bytes: u64,
}

impl Answers {
    /// Adds an append in this many parts. Returns its number.
    pub(crate) fn push(&mut self, done: Done<Answer>, parts: usize, bytes: u64) -> u64 {
        self.slots.push_back(Slot {
            done,
            parts,
            answer: Ok(Vec::new()),
            bytes,
        });
        self.first + self.slots.len() as u64 - 1
    }

    /// Records the result of one part. The first error is the error of the append.
    pub(crate) fn settle(&mut self, number: u64, result: Answer) {
        let index = number.checked_sub(self.first).map(usize::try_from);
        let Some(Ok(index)) = index else { return };
        let Some(slot) = self.slots.get_mut(index) else { return };
        slot.parts = slot.parts.saturating_sub(1);
        match (&mut slot.answer, result) {
            (Ok(rows), Ok(more)) => rows.extend(more),
            (answer @ Ok(_), Err(error)) => *answer = Err(error),
            (Err(_), _) => {}
        }
    }

    /// Runs what is due. First calls `free` with the bytes of each append.
    pub(crate) fn deliver(&mut self, free: impl Fn(u64)) {
        while self.slots.front().is_some_and(|slot| slot.parts == 0)
            && let Some(slot) = self.slots.pop_front()
        {
            self.first += 1;
            free(slot.bytes);
            (slot.done)(slot.answer);
        }
    }

    /// Settles all appends that wait with an error.
    pub(crate) fn refuse_all(&mut self, error: &AppendError) {
        for slot in self.slots.iter_mut().filter(|slot| slot.parts > 0) {
            slot.parts = 0;
            slot.answer = Err(error.clone());
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }
}

/// What a waiting row takes beside its body: its headers.
const ROW_BYTES: u64 = 512;

/// Returns what rows take while they wait.
pub(super) fn byte_size(rows: &[Row]) -> u64 {
    rows.iter().map(|row| row.body.len() as u64 + ROW_BYTES).sum()
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::sync::mpsc;

    use super::*;

    #[test]
    fn answers_come_in_the_order_of_the_calls() {
        let (tx, rx) = mpsc::channel();
        let mut answers = Answers::default();
        let push = |answers: &mut Answers, name: &'static str, parts| {
            let tx = tx.clone();
            let done: Done<Answer> =
                Box::new(move |answer| drop(tx.send((name, answer.map_err(|error| error.to_string())))));
            answers.push(done, parts, 10)
        };
        let [first, second, third] =
            [("first", 2), ("second", 1), ("third", 1)].map(|(name, parts)| push(&mut answers, name, parts));
        answers.settle(second, Err(AppendError::Busy));
        answers.settle(first, Ok(vec![RowId::new(0, 1)]));
        let freed = Cell::new(0);
        let free = |bytes| freed.set(freed.get() + bytes);
        answers.deliver(free);
        assert_eq!(freed.get(), 0);
        answers.settle(first, Ok(vec![RowId::new(0, 2)]));
        answers.deliver(free);
        assert_eq!(freed.get(), 20);
        assert_eq!(rx.recv(), Ok(("first", Ok(vec![RowId::new(0, 1), RowId::new(0, 2)]))));
        assert_eq!(rx.recv(), Ok(("second", Err(AppendError::Busy.to_string()))));
        answers.refuse_all(&AppendError::Closed);
        answers.deliver(free);
        assert_eq!(freed.get(), 30);
        assert_eq!(rx.recv(), Ok(("third", Err(AppendError::Closed.to_string()))));
        answers.settle(third, Ok(Vec::new()));
        assert!(answers.is_empty());
    }
}

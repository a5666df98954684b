//! Running numbers and sums of what this process publishes in one partition.
//!
//! | number | becomes |
//! |---|---|
//! | given out | open |
//! | open, and the servers acknowledged the message | settled |
//! | open, and the servers refused the message or did not answer | withdrawn, which is settled too |
//!
//! A number is used once, even if its message was refused: the servers ignore a second message with
//! the same number.

use std::collections::VecDeque;
use std::ops::Range;

use crate::books::Totals;

/// Withdrawn numbers that are announced. Beyond them, the oldest is forgotten.
const MAX_WITHDRAWN: usize = 4096;

/// A number, and the items of all messages up to it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Numbered {
    pub(crate) number: u64,
    pub(crate) sum: u64,
}

/// The numbers of this process in one partition.
#[derive(Debug, Default)]
pub(crate) struct Numbers {
    /// The last that was given out.
    last: Numbered,
    /// All up to this one are settled.
    settled: Numbered,
    /// Those after `settled`, without gaps.
    open: VecDeque<Open>,
    withdrawn: Vec<(u64, u64)>,
}

#[derive(Debug)]
struct Open {
    items: u64,
    is_settled: bool,
}

impl Numbers {
    /// Gives out the next number, for a message with this many items.
    pub(crate) fn assign(&mut self, items: u32) -> Numbered {
        let items = u64::from(items);
        self.last.number += 1;
        self.last.sum += items;
        self.open.push_back(Open {
            items,
            is_settled: false,
        });
        self.last
    }

    /// The messages were stored. Returns their items.
    pub(crate) fn acknowledge(&mut self, numbers: Range<u64>) -> u64 {
        self.settle(numbers, false)
    }

    /// The messages were refused, or it is not known whether they are stored. Returns their items.
    pub(crate) fn withdraw(&mut self, numbers: Range<u64>) -> u64 {
        self.settle(numbers, true)
    }

    /// Whether a number was given out.
    pub(crate) fn is_used(&self) -> bool {
        self.last.number > 0
    }

    /// Withdraws all open numbers. Returns their items.
    pub(crate) fn withdraw_open(&mut self) -> u64 {
        self.withdraw(self.settled.number + 1..self.last.number + 1)
    }

    pub(crate) fn totals(&self) -> Totals {
        Totals {
            number: self.settled.number,
            sum: self.settled.sum,
            withdrawn: self.withdrawn.clone(),
            at: 0,
            ended: false,
        }
    }

    fn settle(&mut self, numbers: Range<u64>, is_withdrawn: bool) -> u64 {
        let mut items = 0;
        for number in numbers {
            let index = number.checked_sub(self.settled.number + 1).map(usize::try_from);
            let Some(Ok(index)) = index else { continue };
            let Some(open) = self.open.get_mut(index).filter(|open| !open.is_settled) else {
                continue;
            };
            open.is_settled = true;
            if is_withdrawn {
                let at = self.withdrawn.partition_point(|(other, _)| *other < number);
                self.withdrawn.insert(at, (number, open.items));
            }
            items += open.items;
            while self.open.front().is_some_and(|open| open.is_settled)
                && let Some(open) = self.open.pop_front()
            {
                self.settled.number += 1;
                self.settled.sum += open.items;
            }
        }
        let excess = self.withdrawn.len().saturating_sub(MAX_WITHDRAWN);
        self.withdrawn.drain(..excess);
        items
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    #[derive(Clone, Copy, Debug)]
    enum Step {
        Assign(u32),
        Acknowledge(u64, u64),
        Withdraw(u64, u64),
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            (0_u32..1000).prop_map(Step::Assign),
            (0_u64..40, 0_u64..5).prop_map(|(from, count)| Step::Acknowledge(from, count)),
            (0_u64..40, 0_u64..5).prop_map(|(from, count)| Step::Withdraw(from, count)),
        ]
    }

    proptest! {
        #[test]
        fn totals_are_those_of_a_list_of_all_messages(steps in prop::collection::vec(step(), 0..120)) {
            let mut numbers = Numbers::default();
            // Items, and the state: open, acknowledged, withdrawn.
            let mut model: BTreeMap<u64, (u64, u8)> = BTreeMap::new();
            for step in steps {
                match step {
                    Step::Assign(items) => {
                        let number = model.len() as u64 + 1;
                        model.insert(number, (items.into(), 0));
                        let sum = model.values().map(|(items, _)| items).sum();
                        prop_assert_eq!(numbers.assign(items), Numbered { number, sum });
                    }
                    Step::Acknowledge(from, count) => {
                        numbers.acknowledge(from..from + count);
                        settle(&mut model, from..from + count, 1);
                    }
                    Step::Withdraw(from, count) => {
                        numbers.withdraw(from..from + count);
                        settle(&mut model, from..from + count, 2);
                    }
                }
                let settled: Vec<u64> = model.values().take_while(|(_, state)| *state > 0).map(|(items, _)| *items).collect();
                let withdrawn: Vec<(u64, u64)> = model.iter().filter(|(_, (_, state))| *state == 2).map(|(number, (items, _))| (*number, *items)).collect();
                let totals = numbers.totals();
                prop_assert_eq!(totals.number, settled.len() as u64);
                prop_assert_eq!(totals.sum, settled.iter().sum::<u64>());
                prop_assert_eq!(totals.withdrawn, withdrawn);
                prop_assert_eq!(numbers.is_used(), !model.is_empty());
            }
            numbers.withdraw_open();
            prop_assert_eq!(numbers.totals().number, model.len() as u64);
        }
    }

    fn settle(model: &mut BTreeMap<u64, (u64, u8)>, numbers: Range<u64>, to: u8) {
        for (_, (_, state)) in model.range_mut(numbers).filter(|(_, (_, state))| *state == 0) {
            *state = to;
        }
    }

    #[test]
    fn withdrawn_numbers_are_bounded_and_the_oldest_are_forgotten() {
        let mut numbers = Numbers::default();
        for _ in 0..MAX_WITHDRAWN + 10 {
            numbers.assign(1);
        }
        numbers.withdraw_open();
        let totals = numbers.totals();
        assert_eq!((totals.withdrawn.len(), totals.withdrawn[0]), (MAX_WITHDRAWN, (11, 1)));
        assert_eq!(totals.number, MAX_WITHDRAWN as u64 + 10);
    }
}

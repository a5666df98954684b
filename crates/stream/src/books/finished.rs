//! Numbers of one process that are finished, as ranges.

use serde::{Deserialize, Serialize};

/// Most ranges: what waits in the parking stream for long divides them. The oldest are forgotten.
const RANGES: usize = 256;

/// A set of the latest numbers that were finished: delivered or dropped, wherever they were.
///
/// Written as a list of `[first, last]`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub(crate) struct Finished {
    /// In order. No two overlap or touch.
    ranges: Vec<[u64; 2]>,
}

impl Finished {
    pub(crate) fn is_empty(&self) -> bool {
        self.ranges.is_empty()
    }

    pub(crate) fn contains(&self, number: u64) -> bool {
        let after = self.ranges.partition_point(|[first, _]| *first <= number);
        after > 0 && number <= self.ranges[after - 1][1]
    }

    pub(crate) fn insert(&mut self, number: u64) {
        if self.contains(number) {
            return;
        }
        let after = self.ranges.partition_point(|[first, _]| *first <= number);
        let touches_left = after > 0 && self.ranges[after - 1][1].checked_add(1) == Some(number);
        let right = self
            .ranges
            .get(after)
            .filter(|[first, _]| number.checked_add(1) == Some(*first));
        match (touches_left, right) {
            (true, Some([_, last])) => {
                self.ranges[after - 1][1] = *last;
                self.ranges.remove(after);
            }
            (true, None) => self.ranges[after - 1][1] = number,
            (false, Some(_)) => self.ranges[after][0] = number,
            (false, None) => self.ranges.insert(after, [number, number]),
        }
        if self.ranges.len() > RANGES {
            self.ranges.remove(0);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn it_holds_what_a_set_holds(numbers in prop::collection::vec(0_u64..40, 0..60)) {
            let (mut finished, mut model) = (Finished::default(), BTreeSet::new());
            for number in numbers {
                finished.insert(number);
                model.insert(number);
                let starts = model.iter().filter(|number| **number == 0 || !model.contains(&(**number - 1)));
                prop_assert_eq!(finished.ranges.len(), starts.count());
                prop_assert!((0..41).all(|number| finished.contains(number) == model.contains(&number)));
            }
        }
    }

    #[test]
    fn the_oldest_ranges_are_forgotten() {
        let mut finished = Finished::default();
        for number in 0..=RANGES as u64 {
            finished.insert(number * 2);
        }
        assert!(!finished.contains(0) && finished.contains(2));
        finished.insert(0);
        assert!(!finished.contains(0));
    }
}

//! A bounded memory in which everything has the same time to live.

use std::collections::{HashMap, VecDeque};
use std::time::{Duration, Instant};

use crate::selector::Slug;

/// Values by name, the oldest first out. Everything lives equally long, so that the order of coming is that of going.
pub(crate) struct Ages<V> {
    lifetime: Duration,
    most: usize,
    values: HashMap<Slug, V>,
    order: VecDeque<(Instant, Slug)>,
    /// What went because there were too many, and was not told yet.
    crowded_out: Vec<Slug>,
}

impl<V: Clone> Ages<V> {
    pub(crate) fn new(lifetime: Duration, most: usize) -> Self {
        Self {
            lifetime,
            most,
            values: HashMap::new(),
            order: VecDeque::new(),
            crowded_out: Vec::new(),
        }
    }

    /// Remembers a value; one that is there already keeps its age.
    pub(crate) fn put(&mut self, name: &Slug, value: V, now: Instant) {
        if self.values.insert(name.clone(), value).is_none() {
            self.order.push_back((now, name.clone()));
        }
        while self.values.len() > self.most
            && let Some((_, oldest)) = self.order.pop_front()
        {
            self.values.remove(&oldest);
            self.crowded_out.push(oldest);
        }
    }

    pub(crate) fn get(&self, name: &Slug) -> Option<V> {
        self.values.get(name).cloned()
    }

    /// Forgets what is too old, and gives all names that went since the last call.
    pub(crate) fn gone(&mut self, now: Instant) -> Vec<Slug> {
        let mut gone = std::mem::take(&mut self.crowded_out);
        while let Some((since, _)) = self.order.front()
            && now.saturating_duration_since(*since) >= self.lifetime
            && let Some((_, name)) = self.order.pop_front()
        {
            self.values.remove(&name);
            gone.push(name);
        }
        gone
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> Slug {
        Slug::new(text).expect("a name")
    }

    #[test]
    fn what_is_too_old_or_too_much_goes_and_is_told_once() {
        let begun = Instant::now();
        let second = |seconds| begun + Duration::from_secs(seconds);
        let mut ages = Ages::new(Duration::from_secs(10), 2);
        ages.put(&name("a"), 1, second(0));
        ages.put(&name("b"), 2, second(5));
        assert_eq!(ages.gone(second(9)), []);
        assert_eq!(ages.gone(second(10)), [name("a")]);
        assert_eq!((ages.get(&name("a")), ages.get(&name("b"))), (None, Some(2)));
        ages.put(&name("a"), 3, second(11));
        ages.put(&name("c"), 4, second(12));
        assert_eq!((ages.get(&name("b")), ages.get(&name("a"))), (None, Some(3)));
        assert_eq!(ages.gone(second(12)), [name("b")]);
        assert_eq!(ages.gone(second(21)), [name("a")]);
        assert_eq!(ages.gone(second(30)), [name("c")]);
        assert!(ages.values.is_empty() && ages.order.is_empty() && ages.crowded_out.is_empty());
    }

    #[test]
    fn names_without_end_leave_as_many_as_are_kept() {
        let now = Instant::now();
        let mut ages = Ages::new(Duration::from_secs(10), 100);
        for number in 0..100_000 {
            ages.put(&name(&format!("n{number}")), (), now);
            assert!(ages.values.len() <= 100 && ages.order.len() <= 100);
            ages.gone(now);
        }
    }
}

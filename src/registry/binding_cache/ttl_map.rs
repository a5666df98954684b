//! A bounded map whose entries share one time to live.

use std::collections::{HashMap, VecDeque};
use std::time::{Duration, Instant};

use crate::selector::Slug;

/// Values by name. Entries expire in insertion order.
pub(super) struct TtlMap<V> {
    ttl: Duration,
    max_entries: usize,
    entries: HashMap<Slug, Entry<V>>,
    order: VecDeque<Slug>,
}

struct Entry<V> {
    value: V,
    /// `None` if the time to live exceeds the clock's range.
    expires: Option<Instant>,
}

impl<V: Clone> TtlMap<V> {
    pub(super) fn new(ttl: Duration, max_entries: usize) -> Self {
        Self {
            ttl,
            max_entries,
            entries: HashMap::new(),
            order: VecDeque::new(),
        }
    }

    /// Inserts a value and returns its expiry. Removes expired entries, and the oldest ones above
    /// the limit.
    pub(super) fn insert(&mut self, name: &Slug, value: V, now: Instant) -> Option<Instant> {
        self.remove_oldest(|map, oldest| map.get(oldest, now).is_none());
        if let Some(entry) = self.entries.get_mut(name) {
            // Keeps its place in the order, and therefore its expiry.
            entry.value = value;
            return entry.expires;
        }
        let expires = now.checked_add(self.ttl);
        self.entries.insert(name.clone(), Entry { value, expires });
        self.order.push_back(name.clone());
        self.remove_oldest(|map, _| map.entries.len() > map.max_entries);
        expires
    }

    /// Returns an unexpired value and its expiry.
    pub(super) fn get(&self, name: &Slug, now: Instant) -> Option<(V, Option<Instant>)> {
        let entry = self.entries.get(name)?;
        let is_fresh = entry.expires.is_none_or(|expires| now < expires);
        is_fresh.then(|| (entry.value.clone(), entry.expires))
    }

    fn remove_oldest(&mut self, while_oldest: impl Fn(&Self, &Slug) -> bool) {
        while let Some(oldest) = self.order.front()
            && while_oldest(self, oldest)
            && let Some(oldest) = self.order.pop_front()
        {
            self.entries.remove(&oldest);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> Slug {
        Slug::new(text).expect("a name")
    }

    #[test]
    fn an_entry_expires_or_is_evicted_as_the_oldest() {
        let begun = Instant::now();
        let second = |seconds| begun + Duration::from_secs(seconds);
        let mut map = TtlMap::new(Duration::from_secs(10), 2);
        assert_eq!(map.insert(&name("a"), 1, second(0)), Some(second(10)));
        map.insert(&name("b"), 2, second(5));
        assert_eq!(map.get(&name("a"), second(9)), Some((1, Some(second(10)))));
        assert_eq!(map.get(&name("a"), second(10)), None);
        assert_eq!(map.get(&name("b"), second(10)), Some((2, Some(second(15)))));
        map.insert(&name("a"), 3, second(11));
        map.insert(&name("c"), 4, second(12));
        let values = |map: &TtlMap<i32>, at| ["a", "b", "c"].map(|of| map.get(&name(of), at).map(|(value, _)| value));
        assert_eq!(values(&map, second(12)), [Some(3), None, Some(4)]);
        assert_eq!(values(&map, second(21)), [None, None, Some(4)]);
        assert_eq!(values(&map, second(22)), [None, None, None]);
        map.insert(&name("d"), 5, second(30));
        assert_eq!(
            (map.entries.len(), map.order.len()),
            (1, 1),
            "expired entries are removed"
        );
    }

    #[test]
    fn the_number_of_entries_is_limited() {
        let now = Instant::now();
        for max_entries in [0, 100] {
            let mut map = TtlMap::new(Duration::from_secs(10), max_entries);
            for number in 0..100_000 {
                map.insert(&name(&format!("n{number}")), (), now);
                assert!(map.entries.len() <= max_entries && map.order.len() <= max_entries);
            }
        }
    }

    #[test]
    fn a_time_to_live_may_be_infinite() {
        let mut map = TtlMap::new(Duration::MAX, 1);
        assert_eq!(map.insert(&name("a"), 1, Instant::now()), None);
        assert_eq!(map.get(&name("a"), Instant::now()), Some((1, None)));
    }
}

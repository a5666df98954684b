//! What each tenant delivered and dropped in each minute of the last hour.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use serde::Serialize;
use serde_json::{Value, json};
use tracer_registry::Selector;
use tracer_registry::gateway::SpanCounts;

pub(super) const MINUTE: Duration = Duration::from_secs(60);
const MINUTES: usize = 60;
/// Tenants with a history. It takes about 1.5 KiB each.
const MAX_TENANTS: usize = 10_000;

/// The history of tenants that sent something within the hour.
#[derive(Default)]
pub(super) struct History {
    /// Counts of all tracers at the end of the last minute.
    last: HashMap<Selector, SpanCounts>,
    tenants: HashMap<Selector, Box<[Minute; MINUTES]>>,
    /// The number of minutes since the start, and when the last one ended.
    minutes: usize,
    ended: Option<Instant>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
struct Minute {
    delivered: u64,
    dropped: u64,
    /// At the end of the minute.
    waiting: u64,
}

impl History {
    /// Ends a minute with the counts of all tracers. If too many tenants sent something, those that
    /// were not among the first ones have no history.
    pub(super) fn end_minute(&mut self, counts: Vec<(Selector, SpanCounts)>, now: Instant) {
        let place = self.minutes % MINUTES;
        for minutes in self.tenants.values_mut() {
            minutes[place] = Minute::default();
        }
        for (selector, count) in &counts {
            let last = self.last.get(selector).copied().unwrap_or_default();
            let minute = Minute {
                delivered: since(last.delivered, count.delivered),
                dropped: since(last.dropped, count.dropped),
                waiting: count.waiting,
            };
            if minute == Minute::default() {
                continue;
            }
            if let Some(minutes) = self.tenants.get_mut(selector) {
                minutes[place] = minute;
            } else if self.tenants.len() < MAX_TENANTS {
                let minutes = self
                    .tenants
                    .entry(selector.clone())
                    .or_insert_with(|| Box::new([Minute::default(); MINUTES]));
                minutes[place] = minute;
            }
        }
        let is_empty = |minutes: &[Minute; MINUTES]| minutes.iter().all(|minute| *minute == Minute::default());
        self.tenants.retain(|_, minutes| !is_empty(minutes));
        self.last = counts.into_iter().collect();
        self.minutes += 1;
        self.ended = Some(now);
    }

    /// Returns the minutes of a tenant, the oldest first.
    pub(super) fn of(&self, selector: &Selector, now: Instant) -> Value {
        let known = self.minutes.min(MINUTES);
        let minutes = self.tenants.get(selector);
        let minute =
            |age: usize| minutes.map_or_else(Minute::default, |minutes| minutes[(self.minutes - age) % MINUTES]);
        let minutes: Vec<Minute> = (1..=known).rev().map(minute).collect();
        let is_complete = self.tenants.contains_key(selector) || self.tenants.len() < MAX_TENANTS;
        json!({
            "minutes": minutes,
            "ended_seconds": self.ended.map(|ended| now.saturating_duration_since(ended).as_secs()),
            "complete": is_complete,
        })
    }
}

/// The growth of a count, which begins at 0 again with another tracer.
fn since(last: u64, count: u64) -> u64 {
    count.checked_sub(last).unwrap_or(count)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counts(delivered: u64, dropped: u64, waiting: u64) -> SpanCounts {
        SpanCounts {
            delivered,
            dropped,
            waiting,
        }
    }

    fn selector(name: &str) -> Selector {
        Selector::tenant(name).try_into().expect("valid")
    }

    fn minutes(history: &History, name: &str) -> Vec<[u64; 3]> {
        let answer = history.of(&selector(name), Instant::now());
        let minutes = answer["minutes"].as_array().expect("a list").iter();
        let of = |minute: &Value, field: &str| minute[field].as_u64().expect("a number");
        let fields = |minute| ["delivered", "dropped", "waiting"].map(|field| of(minute, field));
        minutes.map(fields).collect()
    }

    #[test]
    fn minutes_have_what_was_counted_in_them_and_an_hour_is_kept() {
        let (mut history, now) = (History::default(), Instant::now());
        assert_eq!(minutes(&history, "acme"), Vec::<[u64; 3]>::new());
        history.end_minute(vec![(selector("acme"), counts(5, 1, 0))], now);
        history.end_minute(vec![(selector("acme"), counts(7, 1, 3))], now);
        history.end_minute(Vec::new(), now);
        // Another tracer.
        history.end_minute(vec![(selector("acme"), counts(2, 0, 0))], now);
        assert_eq!(minutes(&history, "acme"), [[5, 1, 0], [2, 0, 3], [0, 0, 0], [2, 0, 0]]);
        assert_eq!(minutes(&history, "other"), [[0; 3]; 4]);
        for _ in 0..58 {
            history.end_minute(vec![(selector("acme"), counts(2, 0, 0))], now);
        }
        let last = minutes(&history, "acme");
        assert_eq!((last.len(), last[0], last[1]), (60, [0, 0, 0], [2, 0, 0]));
        history.end_minute(Vec::new(), now);
        history.end_minute(Vec::new(), now);
        assert!(history.tenants.is_empty(), "nothing was sent for an hour");
    }

    #[test]
    fn so_many_tenants_have_a_history_and_the_others_are_known_to_have_none() {
        let (mut history, now) = (History::default(), Instant::now());
        let all = (0..=MAX_TENANTS).map(|number| (selector(&format!("t{number}")), counts(1, 0, 0)));
        history.end_minute(all.collect(), now);
        assert_eq!(history.tenants.len(), MAX_TENANTS);
        assert_eq!(history.of(&selector("t0"), now)["complete"], true);
        assert_eq!(
            history.of(&selector(&format!("t{MAX_TENANTS}")), now)["complete"],
            false
        );
    }
}

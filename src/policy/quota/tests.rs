//! Limiters with a clock that the test moves, against exact models.

mod clock;

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use proptest::prelude::*;

use super::clock::Clock;
use super::limiter::Limiter;
use super::quotas::Quotas;
use super::rate::SECOND;
use super::usage::{Amount, Usage};
use crate::config::Quota;
use crate::selector::Selector;

const DAY: u64 = 24 * 60 * 60;
const HOUR: u64 = 60 * 60;
/// 2026-03-10T12:00:00Z.
const NOON: u64 = 1_773_144_000;

/// A limiter, and its clock.
struct Mocked {
    limiter: Arc<Limiter>,
    usage: Arc<Usage>,
    clock: Arc<Clock>,
    replicas: Arc<AtomicU32>,
}

impl Mocked {
    fn new(quota: Quota) -> Self {
        Self::at(quota, NOON)
    }

    fn at(quota: Quota, wall: u64) -> Self {
        let (usage, clock) = (Arc::<Usage>::default(), Arc::new(Clock::new(wall)));
        let replicas = Arc::new(AtomicU32::new(1));
        let limiter = Limiter::new(&quota, || Arc::clone(&usage), &clock, &replicas).expect("a limit");
        Self {
            limiter,
            usage,
            clock,
            replicas,
        }
    }

    /// Another limiter of the same owner.
    fn with(&self, quota: Quota) -> Arc<Limiter> {
        Limiter::new(&quota, || Arc::clone(&self.usage), &self.clock, &self.replicas).expect("a limit")
    }

    /// Takes an amount at a time in seconds since the start, with the wall clock as it should be.
    fn take(&self, amount: Amount, second: u64) -> Result<(), Duration> {
        self.take_by(amount, second, NOON + second)
    }

    fn take_by(&self, amount: Amount, second: u64, wall: u64) -> Result<(), Duration> {
        self.limiter.take_at(amount, second * SECOND, || wall).map(drop)
    }
}

#[test]
fn replicas_divide_a_limit_among_them() {
    let quota = Quota {
        spans_per_day: Some(100),
        ..Quota::default()
    };
    let limited = Mocked::new(quota);
    assert!(limited.take(spans(40), 0).is_ok());
    limited.replicas.store(3, Ordering::Relaxed);
    assert!(limited.take(spans(20), 1).is_ok(), "60 of the 60 that are left");
    assert!(limited.take(spans(1), 2).is_err());
    limited.replicas.store(1, Ordering::Relaxed);
    assert!(
        limited.take(spans(1), 3).is_err(),
        "what was taken for others stays taken"
    );
}

fn spans(spans: u64) -> Amount {
    Amount {
        spans,
        ..Amount::default()
    }
}

fn amount(spans: u64, bytes: u64, requests: u64) -> Amount {
    Amount { spans, bytes, requests }
}

fn seconds(seconds: u64) -> Result<(), Duration> {
    Err(Duration::from_secs(seconds))
}

#[test]
fn a_quota_without_a_limit_has_no_limiter() {
    let only_bursts = Quota {
        spans_burst: Some(1),
        bytes_burst: Some(1),
        requests_burst: Some(1),
        ..Quota::default()
    };
    let quotas = Quotas::default();
    let acme = Selector::try_from(Selector::tenant("acme")).expect("a selector");
    for quota in [Quota::default(), only_bursts] {
        assert!(quotas.of_selector(&acme, &quota).is_none());
    }
    assert_eq!(quotas.len(), 0);
}

#[test]
fn a_limit_that_is_left_out_does_not_refuse() {
    let one = Mocked::new(Quota {
        spans_per_second: Some(1),
        ..Quota::default()
    });
    assert_eq!(one.take(amount(0, u64::MAX, u64::MAX), 0), Ok(()));
    assert_eq!(one.take(spans(1), 0), Ok(()));
    assert_eq!(one.take(spans(1), 0), seconds(1));
    assert_eq!(one.take(amount(0, u64::MAX, u64::MAX), 0), Ok(()));
}

#[test]
fn a_burst_is_a_second_of_the_rate_unless_it_is_set() {
    for (burst, expected) in [(None, 10), (Some(3), 3), (Some(25), 25)] {
        let one = Mocked::new(Quota {
            spans_per_second: Some(10),
            spans_burst: burst,
            ..Quota::default()
        });
        let taken = (0..100).filter(|_| one.take(spans(1), 5).is_ok()).count();
        assert_eq!(taken, expected, "{burst:?}");
    }
}

#[test]
fn a_request_larger_than_the_burst_borrows_the_rest() {
    let one = Mocked::new(Quota {
        spans_per_second: Some(10),
        ..Quota::default()
    });
    assert_eq!(one.take(spans(1), 0), Ok(()));
    // Refused until the burst is whole.
    let wait = one.take(spans(100), 0);
    assert_eq!(wait, Err(Duration::from_millis(100)));
    assert_eq!(one.take(spans(100), 1), Ok(()));
    // It took ten seconds of the rate, so that the next span fits after nine.
    assert_eq!(one.take(spans(1), 1), Err(Duration::from_millis(9100)));
    assert_eq!(one.take(spans(1), 10), Err(Duration::from_millis(100)));
    assert_eq!(one.take(spans(10), 11), Ok(()));
}

#[test]
fn no_wait_is_longer_than_an_hour() {
    let one = Mocked::new(Quota {
        spans_per_second: Some(1),
        bytes_per_month: Some(10),
        ..Quota::default()
    });
    assert_eq!(one.take(spans(1_000_000), 0), Ok(()));
    assert_eq!(one.take(spans(1), 0), seconds(HOUR));
    assert_eq!(one.take(amount(0, 11, 0), 0), seconds(HOUR));
}

#[test]
fn the_longest_wait_of_all_limits_is_returned_and_a_refusal_takes_nothing() {
    let one = Mocked::new(Quota {
        spans_per_second: Some(10),
        bytes_per_second: Some(100),
        requests_per_second: Some(1),
        spans_per_day: Some(1000),
        ..Quota::default()
    });
    assert_eq!(one.take(amount(5, 100, 1), 0), Ok(()));
    assert_eq!(one.take(amount(10, 50, 1), 0), seconds(1));
    assert_eq!(one.take(amount(10, 10, 0), 0), Err(Duration::from_millis(500)));
    // The refused requests took no spans.
    assert_eq!(one.take(spans(5), 0), Ok(()));
    assert_eq!(one.take(spans(1), 0), Err(Duration::from_millis(100)));
    let periods = one.clock.periods(0, || NOON);
    assert_eq!(one.usage.counts_of(periods), [10, 0, 0, 0]);
}

#[test]
fn what_is_given_back_can_be_taken_again() {
    let one = Mocked::new(Quota {
        spans_per_second: Some(10),
        spans_per_day: Some(12),
        ..Quota::default()
    });
    for _ in 0..100 {
        let taken = one.limiter.take_at(spans(10), 0, || NOON).expect("all of it fits");
        assert_eq!(one.take(spans(1), 0), Err(Duration::from_millis(100)));
        one.limiter.refund(taken);
    }
    assert_eq!(one.take(spans(10), 0), Ok(()));
    // A day that has ended gets nothing back.
    let taken = one.limiter.take_at(spans(1), SECOND, || NOON + 1).expect("it fits");
    assert_eq!(one.take(spans(3), DAY), Ok(()));
    one.limiter.refund(taken);
    assert_eq!(one.take(spans(9), 2 * DAY - 13 * HOUR), Ok(()));
    assert_eq!(one.take(spans(1), 2 * DAY - 13 * HOUR), seconds(HOUR));
}

#[cfg(feature = "gateway")]
#[test]
fn a_charge_is_given_back_unless_it_is_kept() {
    let quotas = Quotas::default();
    let acme = Selector::try_from(Selector::tenant("acme")).expect("a selector");
    let quota = Quota {
        spans_per_month: Some(1),
        ..Quota::default()
    };
    let limiter = quotas.of_selector(&acme, &quota).expect("a limit");
    drop(limiter.charge(spans(1)).expect("it fits"));
    limiter.charge(spans(1)).expect("given back").keep();
    assert!(limiter.charge(spans(1)).is_err());
}

/// A rate without rounding: what is owed, in items and units of time.
struct Model {
    per_second: u128,
    burst: u128,
    owed: u128,
    at: u64,
}

impl Model {
    fn take(&mut self, items: u64, now: u64) -> bool {
        let second = u128::from(SECOND);
        let paid = u128::from(now - self.at) * self.per_second;
        self.owed = self.owed.saturating_sub(paid);
        self.at = now;
        let fits = self.owed + u128::from(items).min(self.burst) * second <= self.burst * second;
        if fits {
            self.owed += u128::from(items) * second;
        }
        fits
    }
}

proptest! {
    /// Rates that divide a second leave no rest, so the answers are those of the model.
    #[test]
    fn a_rate_answers_as_the_exact_model(
        per_second in prop::sample::select(vec![1_usize, 2, 5, 10, 64, 1000, 1 << 10, 1_000_000]),
        burst in prop::option::of(1_usize..2000),
        requests in prop::collection::vec((0_u64..3000, 0_u64..SECOND * 2), 1..200),
    ) {
        let one = Mocked::new(Quota { spans_per_second: Some(per_second), spans_burst: burst, ..Quota::default() });
        let burst = burst.unwrap_or(per_second) as u128;
        let mut model = Model { per_second: per_second as u128, burst, owed: 0, at: 0 };
        let mut now = 0;
        for (items, pause) in requests {
            now += pause;
            let answer = one.limiter.take_at(spans(items), now, || NOON);
            if items == 0 {
                prop_assert!(answer.is_ok());
                continue;
            }
            prop_assert_eq!(answer.is_ok(), model.take(items, now));
            if let Err(wait) = answer {
                // After the wait it fits, and a nanosecond before it does not.
                let units = u64::try_from(wait.as_nanos()).expect("at most an hour") * (SECOND / 1_000_000_000);
                let later = one.limiter.take_at(spans(items), now + units - 16, || NOON);
                prop_assert!(later.is_err() || wait == Duration::from_nanos(1));
                if wait < Duration::from_secs(HOUR) {
                    let taken = one.limiter.take_at(spans(items), now + units, || NOON);
                    prop_assert!(taken.is_ok());
                    one.limiter.refund(taken.expect("checked"));
                }
            }
        }
    }

    /// Refusals and refunds leave the words as they were, for all limits together.
    #[test]
    fn refusals_and_refunds_take_nothing(
        steps in prop::collection::vec((0_u64..30, 0_u64..300, 0_u64..3, 0_u64..SECOND, any::<bool>()), 1..100),
    ) {
        let quota = Quota {
            spans_per_second: Some(20), spans_burst: Some(40), bytes_per_second: Some(200), requests_per_second: Some(2),
            spans_per_day: Some(300), bytes_per_month: Some(4000), ..Quota::default()
        };
        let (real, other) = (Mocked::new(quota), Mocked::new(quota));
        let mut now = 0;
        for (spans, bytes, requests, pause, is_kept) in steps {
            now += pause;
            let amount = amount(spans, bytes, requests);
            let taken = real.limiter.take_at(amount, now, || NOON);
            match (taken, is_kept) {
                (Ok(_), true) => prop_assert!(other.limiter.take_at(amount, now, || NOON).is_ok()),
                (Ok(taken), false) => real.limiter.refund(taken),
                (Err(wait), _) => prop_assert_eq!(other.limiter.take_at(amount, now, || NOON).err(), Some(wait)),
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(16))]

    /// Over an hour, a client that asks for far too much gets what the rate allows, to a hundredth.
    #[test]
    fn a_rate_is_exact_over_an_hour(
        per_second in 1_usize..300,
        pause in 1_u64..100_000,
        sizes in prop::collection::vec(1_u64..40, 1..20),
    ) {
        let one = Mocked::new(Quota { spans_per_second: Some(per_second), spans_burst: Some(50), ..Quota::default() });
        let (mut now, mut taken) = (0, 0);
        let mut size = sizes.iter().cycle();
        while now < HOUR * SECOND {
            let items = *size.next().expect("endless");
            match one.limiter.take_at(spans(items), now, || NOON) {
                Ok(_) => taken += items,
                Err(wait) => now += u64::try_from(wait.as_nanos()).expect("short") * 16,
            }
            now += pause;
        }
        let allowed = HOUR * per_second as u64 + 50;
        prop_assert!(taken <= allowed + allowed / 1000, "{} of {}", taken, allowed);
        prop_assert!(taken >= allowed - allowed / 100 - 100, "{} of {}", taken, allowed);
    }
}

#[test]
fn eight_threads_get_what_the_rate_allows_to_a_hundredth() {
    const SECONDS: u64 = 100;
    let quota = Quota {
        spans_per_second: Some(1000),
        bytes_per_second: Some(60_000),
        spans_per_day: Some(1_000_000),
        ..Quota::default()
    };
    let one = Mocked::new(quota);
    let (now, taken) = (AtomicU64::new(0), AtomicU64::new(0));
    thread::scope(|scope| {
        for thread in 0..8_u64 {
            let (one, now, taken) = (&one, &now, &taken);
            scope.spawn(move || {
                // Each of them also asks for large requests that bytes refuse, and gives some back.
                let mut number = thread;
                loop {
                    let now = now.fetch_add(SECOND / 40_000, Ordering::Relaxed);
                    if now >= SECONDS * SECOND {
                        break;
                    }
                    number += 1;
                    let large = one.limiter.take_at(amount(400, 59_000, 0), now, || NOON);
                    if let Ok(large) = large {
                        one.limiter.refund(large);
                    }
                    match one.limiter.take_at(amount(1, 40, 0), now, || NOON) {
                        Ok(given) if number.is_multiple_of(7) => one.limiter.refund(given),
                        Ok(_) => drop(taken.fetch_add(1, Ordering::Relaxed)),
                        Err(_) => {}
                    }
                }
            });
        }
    });
    let (taken, allowed) = (taken.into_inner(), (SECONDS + 1) * 1000);
    assert!(
        taken <= allowed && taken >= allowed - allowed / 100,
        "{taken} of {allowed}"
    );
    let periods = one.clock.periods(SECONDS * SECOND, || NOON + SECONDS);
    assert_eq!(one.usage.counts_of(periods)[0], taken, "the count is exact");
}

#[test]
fn selectors_of_a_tenant_share_what_it_has_used() {
    let quotas = Quotas::default();
    let of = |text: &str| text.parse::<Selector>().expect("a selector");
    let quota = Quota {
        spans_per_day: Some(3),
        ..Quota::default()
    };
    let limiter = |selector: &str| quotas.of_selector(&of(selector), &quota).expect("a limit");
    let take = |selector: &str| limiter(selector).take(spans(1)).is_ok();
    // The limiters end with each line, as tracers do that are evicted.
    assert!(take("tenant:acme") && take("environment:eu,tenant:acme") && take("feature:search,tenant:acme"));
    assert!(!take("tenant:acme") && !take("environment:us,tenant:acme"));
    assert!(take("tenant:globex") && take("environment:eu") && take("environment:eu,feature:search"));
    assert_eq!(quotas.len(), 4);
}

#[test]
fn owners_without_a_tracer_and_without_a_debt_are_forgotten() {
    let quotas = Quotas::default();
    let quota = Quota {
        spans_per_second: Some(1_000_000_000),
        spans_per_day: Some(1),
        ..Quota::default()
    };
    let limiter = |number: usize| {
        let selector = Selector::try_from(Selector::tenant(&format!("t{number}"))).expect("a selector");
        quotas.of_selector(&selector, &quota).expect("a limit")
    };
    let (used, held) = (limiter(0), limiter(1));
    used.take(spans(1)).expect("the first one");
    drop(used);
    for number in 2..10_000 {
        drop(limiter(number));
    }
    assert!(quotas.len() <= 1024, "{}", quotas.len());
    assert!(limiter(0).take(spans(1)).is_err(), "its day is used up");
    drop(held);
}

#[test]
fn a_quota_that_is_raised_or_lowered_converts_what_is_owed() {
    let quota = |per_second: usize, burst: usize| Quota {
        spans_per_second: Some(per_second),
        spans_burst: Some(burst),
        ..Quota::default()
    };
    let (low, high) = (quota(1, 1000), quota(100, 1000));
    let one = Mocked::new(low);
    assert_eq!(one.take(spans(1000), 0), Ok(()));
    assert_eq!(one.take(spans(1), 0), seconds(1));
    let raised = one.with(high);
    // Both selectors of the tenant have the same change.
    one.usage.convert(&low, &high, 0);
    one.usage.convert(&low, &high, 0);
    assert_eq!(
        raised.take_at(spans(1), 0, || NOON).err(),
        Some(Duration::from_millis(10))
    );
    assert!(raised.take_at(spans(500), 5 * SECOND, || NOON).is_ok());
    assert!(raised.take_at(spans(1), 5 * SECOND, || NOON).is_err());
    // Back again, what is owed is the same number of spans: no burst was won.
    one.usage.convert(&high, &low, 5 * SECOND);
    assert_eq!(one.take(spans(1), 5), seconds(1));
}

#[cfg(feature = "gateway")]
#[test]
fn a_caller_with_a_changed_quota_owes_as_many_requests_as_before() {
    let quotas = Quotas::default();
    let limiter = |per_second| {
        let quota = Quota {
            requests_per_second: Some(per_second),
            requests_burst: Some(100),
            ..Quota::default()
        };
        quotas.of_caller("agent", &quota).expect("a limit")
    };
    let wait = |per_second| limiter(per_second).take(amount(0, 0, 100)).err();
    assert_eq!(wait(1), None);
    // The second one is a reload without a change of the quota.
    for (per_second, expected) in [(1, 100), (1, 100), (2, 50), (1, 100)] {
        let wait = wait(per_second).unwrap_or_default();
        // Some time passes meanwhile.
        let range = Duration::from_secs(expected * 4 / 5)..=Duration::from_secs(expected + 1);
        assert!(range.contains(&wait), "{per_second} per second: {wait:?}");
    }
}

#[test]
fn limits_of_any_size_do_not_overflow() {
    let huge = Quota {
        spans_per_second: Some(usize::MAX),
        spans_burst: Some(usize::MAX),
        bytes_per_second: Some(1),
        bytes_burst: Some(usize::MAX),
        bytes_per_month: Some(usize::MAX),
        ..Quota::default()
    };
    let one = Mocked::new(huge);
    assert_eq!(one.take(amount(u64::MAX, 1 << 20, 0), 0), Ok(()));
    assert_eq!(one.take(amount(u64::MAX, 1 << 20, 0), HOUR), Ok(()));
    let small = Mocked::new(Quota {
        bytes_per_second: Some(1),
        ..Quota::default()
    });
    assert_eq!(small.take(amount(0, u64::MAX, 0), 0), Ok(()));
    assert_eq!(small.take(amount(0, 1, 0), 1000 * DAY), seconds(HOUR));
}

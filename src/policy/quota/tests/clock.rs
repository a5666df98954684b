//! Days and months, and a wall clock that jumps.

use super::{DAY, HOUR, Mocked, NOON, seconds, spans};
use crate::config::Quota;
use crate::policy::quota::clock::{Calendar, Clock};
use crate::policy::quota::rate::SECOND;
use crate::policy::quota::usage::Limits;

#[test]
fn days_and_months_end_at_midnight_utc() {
    let quota = Quota {
        spans_per_day: Some(10),
        spans_per_month: Some(250),
        ..Quota::default()
    };
    let one = Mocked::new(quota);
    let mut taken = [0; 40];
    // Each hour from 10 March 2026, 12:00, for the rest of the day and 39 days.
    for hour in 0..40 * 24 - 12 {
        let day = usize::try_from((hour + 12) / 24).expect("small");
        while taken[day] < 1000 && one.take(spans(1), hour * HOUR).is_ok() {
            taken[day] += 1;
        }
    }
    // 10 to 31 March are 22 days, and the month allows 250 spans.
    let (march, april) = taken.split_at(22);
    assert!(march.iter().all(|day| *day == 10), "{march:?}");
    assert!(april.iter().all(|day| *day == 10), "{april:?}");
    let few = Mocked::new(Quota {
        spans_per_day: Some(10),
        spans_per_month: Some(15),
        ..Quota::default()
    });
    assert_eq!(few.take(spans(10), 0), Ok(()));
    assert_eq!(few.take(spans(6), DAY), seconds(HOUR));
    assert_eq!(few.take(spans(5), DAY), Ok(()));
    assert_eq!(few.take(spans(1), 2 * DAY), seconds(HOUR));
    // 31 March 23:59:59 and 1 April 00:00.
    assert_eq!(few.take(spans(1), 21 * DAY + 12 * HOUR - 1), seconds(1));
    assert_eq!(few.take(spans(10), 21 * DAY + 12 * HOUR), Ok(()));
}

#[test]
fn a_thread_that_read_the_clock_before_midnight_does_not_begin_the_day_again() {
    let one = Mocked::new(Quota {
        spans_per_day: Some(10),
        ..Quota::default()
    });
    let before = one.clock.periods(0, || NOON);
    assert_eq!(one.take(spans(7), 12 * HOUR), Ok(()));
    let after = one.clock.periods(12 * HOUR * SECOND, || NOON + 12 * HOUR);
    assert_ne!(before, after);
    let limits = Limits::of(&Quota {
        spans_per_day: Some(10),
        ..Quota::default()
    });
    let limits = limits.expect("a limit");
    let counted_in = one.usage.take(&limits, spans(3), (0, before), |_| {});
    assert_eq!(counted_in, Some(after));
    assert_eq!(one.take(spans(1), 12 * HOUR), seconds(HOUR));
}

/// Returns the day and the month of the calendar at a second since 1970.
fn calendar(second: u64) -> Calendar {
    Clock::new(second).calendar()
}

#[test]
fn days_and_months_are_those_of_the_calendar() {
    for (second, day, month) in [
        (0, 0, 0),
        (31 * DAY - 1, 30, 0),
        (31 * DAY, 31, 1),
        // 2000-02-29 and 2000-03-01, in a leap year.
        (951_782_400, 11016, 361),
        (951_868_800, 11017, 362),
        // 2025-12-31T23:59:59 and 2026-01-01.
        (1_767_225_599, 20453, 671),
        (1_767_225_600, 20454, 672),
        (NOON, 20522, 674),
        // 2100-03-01, after a February of 28 days.
        (4_107_542_400, 47541, 1562),
    ] {
        assert_eq!(calendar(second), Calendar { day, month }, "{second}");
    }
    // Any time of the system is usable.
    let last = calendar(u64::MAX);
    assert_eq!(last.month, (9999 - 1970) * 12 + 11);
}

/// Spans that a tenant gets if it takes all it can each minute of some time. `wall` returns the wall
/// clock by the seconds since the start.
fn greedy(quota: Quota, minutes: u64, wall: impl Fn(u64) -> u64) -> u64 {
    let one = Mocked::at(quota, wall(0));
    let mut taken = 0;
    for second in (0..minutes).map(|minute| minute * 60) {
        while one.take_by(spans(1), second, wall(second)).is_ok() {
            taken += 1;
        }
    }
    taken
}

#[test]
fn no_jump_of_the_wall_clock_gives_a_second_quota_or_blocks_for_long() {
    let quota = Quota {
        spans_per_day: Some(100),
        ..Quota::default()
    };
    let days = |days: u64| days * 24 * 60;
    let year = 365 * DAY;
    // Ten days from noon have parts of eleven days.
    assert_eq!(greedy(quota, days(10), |second| NOON + second), 1100);
    for (name, expected, wall) in [
        (
            "ahead for a moment",
            1100,
            &(|second: u64| NOON + second + if second / 60 == 500 { year } else { 0 }) as &dyn Fn(u64) -> u64,
        ),
        ("behind for 50 minutes of each hour", 1100, &|second| {
            if second / 60 % 60 < 10 {
                NOON + second
            } else {
                NOON + second - 40 * DAY
            }
        }),
        // Between two answers all the time: neither lasts.
        ("to and fro", 1100, &|second| {
            NOON + second + if second / 600 % 2 == 1 { 3 * DAY } else { 0 }
        }),
        // One more midnight comes: the jump itself.
        ("ahead from the second day on", 1200, &|second| {
            NOON + second + if second > DAY { 10 * year } else { 0 }
        }),
        // The day that began at the jump ends at a midnight.
        ("ahead at first, as before a first synchronization", 1100, &|second| {
            NOON + second + if second < HOUR { 10 * year } else { 0 }
        }),
        ("behind from the second day on", 1100, &|second| {
            NOON + second - if second > DAY { 3 * year } else { 0 }
        }),
        // Set back to 23:00 at 01:00, so the midnight after an hour begins no day.
        ("two hours back after midnight", 1100, &|second| {
            NOON + second - if second > 13 * HOUR { 2 * HOUR } else { 0 }
        }),
        ("a minute back at midnight", 1100, &|second| {
            NOON + second - if second > 12 * HOUR { 60 } else { 0 }
        }),
        ("before 1970", 1100, &|second| second),
    ] {
        let taken = greedy(quota, days(10), wall);
        assert!(taken.abs_diff(expected) <= 100, "{name}: {taken} instead of {expected}");
        assert!(taken <= expected, "{name}: {taken} instead of {expected}");
    }
}

#[test]
fn a_clock_that_is_far_ahead_for_a_while_does_not_block_a_month() {
    let quota = Quota {
        spans_per_month: Some(100),
        ..Quota::default()
    };
    // From 10 March, with two hours in the year 2100. Four month ends follow.
    let minutes = 112 * 24 * 60;
    let taken = greedy(quota, minutes, |second| {
        NOON + second
            + if (HOUR..3 * HOUR).contains(&second) {
                74 * 365 * DAY
            } else {
                0
            }
    });
    assert!((400..=500).contains(&taken), "{taken}");
}

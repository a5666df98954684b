//! The clock of quotas.
//!
//! Rates follow the monotonic clock. Days and months follow the wall clock, which may jump:
//!
//! | wall clock | days and months |
//! |---|---|
//! | runs as the monotonic clock, to a minute | follow it |
//! | jumps, and jumps back within an hour | run on as if it had not |
//! | is ahead for an hour | follow it: the tenant gets the quota of the new day |
//! | is behind for an hour | follow it; the day goes on with its count, until the next midnight that comes after at least half a day |
//!
//! So a clock that is set back gives no second quota, and no jump blocks a tenant for much longer
//! than the period of its limit. The numbers of periods never go back.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use super::rate::SECOND;
use crate::util::fork::ForkLock;

const DAY: u64 = 24 * 60 * 60;
/// A jump of the wall clock is followed at once if it is not longer, in seconds.
const SMALL_JUMP: i64 = 60;
/// How long a longer jump must last before it is followed, in seconds.
const DOUBT: u64 = 60 * 60;
/// The last second of the year 9999.
const LAST_SECOND: u64 = 253_402_300_799;

/// The lowest bits of the numbers of the current periods.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Periods {
    pub(super) day: u16,
    pub(super) month: u16,
}

pub(super) struct Clock {
    start: Instant,
    /// The second of the last look at the wall clock plus one, and the periods since.
    current: AtomicU64,
    /// When the day and the month end, in seconds since the start.
    ends: [AtomicU64; 2],
    wall: ForkLock<Wall>,
}

/// The wall clock as periods follow it.
#[derive(Default)]
struct Wall {
    /// A second since the start, and the second since 1970 that it is taken for.
    anchor: Option<(u64, u64)>,
    /// When the current jump was first seen, and how long it is.
    doubt: Option<(u64, i64)>,
    day: Track,
    month: Track,
}

/// Numbers of days or months. They are those of the calendar, moved on by `shift`.
#[derive(Default)]
struct Track {
    number: i64,
    shift: i64,
    /// When the current one began, in seconds since the start.
    began: u64,
    /// Whether the calendar went back since.
    went_back: bool,
}

/// A day and a month of the calendar: days and months since 1970.
#[cfg(any(test, feature = "spool"))]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Calendar {
    pub(super) day: i64,
    pub(super) month: i64,
}

impl Clock {
    /// Begins at a second since 1970.
    pub(super) fn new(wall: u64) -> Self {
        let clock = Self {
            start: Instant::now(),
            current: AtomicU64::new(0),
            ends: [const { AtomicU64::new(u64::MAX) }; 2],
            wall: ForkLock::default(),
        };
        clock.look(&mut clock.wall.lock(), 0, wall);
        clock
    }

    /// Returns the time since the start, in units of [`SECOND`].
    pub(super) fn now(&self) -> u64 {
        let elapsed = self.start.elapsed();
        elapsed.as_secs() * SECOND + u64::from(elapsed.subsec_nanos()) * (SECOND / 1_000_000_000)
    }

    /// Returns the current periods. `wall` returns the seconds since 1970, and is asked once a
    /// second.
    pub(super) fn periods(&self, now: u64, wall: impl FnOnce() -> u64) -> Periods {
        let second = now / SECOND;
        // Relaxed: all that is read is in the word.
        let current = self.current.load(Ordering::Relaxed);
        if current >> 32 != second + 1
            && let Some(mut state) = self.wall.try_lock()
        {
            self.look(&mut state, second, wall());
        }
        let current = self.current.load(Ordering::Relaxed);
        Periods {
            day: low_bits(current >> 16),
            month: low_bits(current),
        }
    }

    /// Returns how long the current day and month last, in seconds.
    pub(super) fn left(&self, now: u64) -> [u64; 2] {
        let second = now / SECOND;
        self.ends
            .each_ref()
            .map(|end| end.load(Ordering::Relaxed).saturating_sub(second).max(1))
    }

    #[cfg(any(test, feature = "spool"))]
    /// Returns the day and the month of the calendar that the current periods stand for.
    pub(super) fn calendar(&self) -> Calendar {
        let state = self.wall.lock();
        Calendar {
            day: state.day.number - state.day.shift,
            month: state.month.number - state.month.shift,
        }
    }

    fn look(&self, state: &mut Wall, second: u64, wall: u64) {
        let wall = state.follow(second, wall.min(LAST_SECOND));
        let day = wall / DAY;
        let month = Month::of(day);
        state.day.follow(day.cast_signed(), second, DAY / 2);
        state.month.follow(month.number.cast_signed(), second, 14 * DAY);
        let ends = [day + 1, month.first_day_of_next];
        for (end, day) in self.ends.iter().zip(ends) {
            end.store(second + (day * DAY).saturating_sub(wall), Ordering::Relaxed);
        }
        let periods = (state.day.number.cast_unsigned() & 0xffff) << 16 | state.month.number.cast_unsigned() & 0xffff;
        self.current.store((second + 1) << 32 | periods, Ordering::Relaxed);
    }
}

impl Wall {
    /// Returns the second since 1970 that periods go by.
    fn follow(&mut self, second: u64, wall: u64) -> u64 {
        let Some((anchor, then)) = self.anchor else {
            self.anchor = Some((second, wall));
            return wall;
        };
        let expected = then + second.saturating_sub(anchor);
        let jump = wall.cast_signed() - expected.cast_signed();
        let is_other = |(_, before): (u64, i64)| (before - jump).abs() > SMALL_JUMP;
        if self.doubt.is_none_or(is_other) {
            self.doubt = Some((second, jump));
        }
        let lasts = self.doubt.map_or(0, |(since, _)| second.saturating_sub(since));
        let is_followed = jump.abs() <= SMALL_JUMP || lasts >= DOUBT;
        if !is_followed {
            return expected;
        }
        self.doubt = None;
        self.anchor = Some((second, wall));
        wall
    }
}

impl Track {
    /// Follows the calendar. `half` is half the length of a period, in seconds.
    fn follow(&mut self, calendar: i64, second: u64, half: u64) {
        let next = calendar + self.shift;
        if next < self.number {
            self.shift = self.number - calendar;
            self.went_back = true;
        } else if next > self.number {
            let has_just_begun = second.saturating_sub(self.began) < half;
            if std::mem::take(&mut self.went_back) && has_just_begun {
                self.shift = self.number - calendar;
            } else {
                (self.number, self.began) = (next, second);
            }
        }
    }
}

/// A month of the Gregorian calendar.
struct Month {
    /// Months since January 1970.
    number: u64,
    /// Days from 1970 to the first day of the next month.
    first_day_of_next: u64,
}

impl Month {
    fn of(day: u64) -> Self {
        // Not after the year of the day.
        let mut year = 1970 + day / 366;
        while first_day(year + 1) <= day {
            year += 1;
        }
        let february = 28 + u64::from(is_leap(year));
        let mut first_day_of_next = first_day(year);
        for (month, days) in (0..).zip([31, february, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31]) {
            first_day_of_next += days;
            if day < first_day_of_next {
                let number = (year - 1970) * 12 + month;
                return Self {
                    number,
                    first_day_of_next,
                };
            }
        }
        unreachable!("the day is in the year")
    }
}

/// Returns the days from 1970 to the first day of a year.
fn first_day(year: u64) -> u64 {
    let leap_years = |until: u64| until / 4 - until / 100 + until / 400;
    (year - 1970) * 365 + leap_years(year - 1) - leap_years(1969)
}

fn is_leap(year: u64) -> bool {
    year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400))
}

fn low_bits(word: u64) -> u16 {
    u16::try_from(word & 0xffff).expect("16 bits")
}

/// Returns the seconds since 1970 by the wall clock.
pub(super) fn wall_seconds() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| since.as_secs())
}

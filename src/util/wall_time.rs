//! Wall-clock times in status reports, and timestamps that stay monotonic when that clock is
//! adjusted.
//!
//! Status reports use RFC 3339 in UTC with milliseconds. [`to_millis`] truncates a time when a
//! status is created, so a status that is written and read back compares equal.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use humantime::{format_rfc3339_millis, parse_rfc3339};
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serializer};

/// End of the year 9999, the last that RFC 3339 can represent (section 1), in milliseconds since
/// 1970.
const LAST_MILLIS: u64 = 253_402_300_799_999;

/// A wall-clock time, paired with a monotonic clock that measures the time since.
///
/// The wall clock may be set back an hour while a span is open. A time measured from here is the
/// start time plus the elapsed time, so nothing ends before it starts.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Moment {
    wall: SystemTime,
    monotonic: Instant,
}

impl Moment {
    pub(crate) fn now() -> Self {
        Self {
            wall: wall_clock(),
            monotonic: Instant::now(),
        }
    }

    /// Wall-clock time at this moment.
    pub(crate) fn wall(&self) -> SystemTime {
        self.wall
    }

    /// Time elapsed since this moment.
    pub(crate) fn elapsed(&self) -> Duration {
        self.monotonic.elapsed()
    }

    /// Returns the current time: this moment plus the time elapsed.
    pub(crate) fn current_time(&self) -> SystemTime {
        self.wall.checked_add(self.elapsed()).unwrap_or(self.wall)
    }

    /// Corrects a time for wall-clock adjustments since this moment.
    ///
    /// A time read from the wall clock just now is moved back by the adjustment. Any other time is
    /// returned unchanged, because the clock that it came from is unknown.
    pub(crate) fn without_step(&self, time: SystemTime) -> SystemTime {
        let (wall, current) = (wall_clock(), self.current_time());
        let step = distance(wall, current);
        if distance(wall, time) > step / 2 {
            return time;
        }
        let moved = if wall > current {
            time.checked_sub(step)
        } else {
            time.checked_add(step)
        };
        moved.unwrap_or(time)
    }
}

fn distance(one: SystemTime, other: SystemTime) -> Duration {
    one.duration_since(other).unwrap_or_else(|error| error.duration())
}

#[cfg(not(test))]
fn wall_clock() -> SystemTime {
    SystemTime::now()
}

/// Wall clock that each test thread can adjust.
#[cfg(test)]
fn wall_clock() -> SystemTime {
    SystemTime::now() + AHEAD.get()
}

#[cfg(test)]
thread_local! {
    static AHEAD: std::cell::Cell<Duration> = const { std::cell::Cell::new(Duration::ZERO) };
}

/// Moves the wall clock of this thread ahead, for code that reads it through this module.
#[cfg(test)]
pub(crate) fn set_ahead(by: Duration) {
    AHEAD.set(by);
}

/// Truncates a time to whole milliseconds and clamps it to the years 1970 to 9999. A program can
/// end a span at any time.
pub(crate) fn to_millis(time: SystemTime) -> SystemTime {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    let millis = u64::try_from(since.as_millis()).unwrap_or(LAST_MILLIS).min(LAST_MILLIS);
    UNIX_EPOCH + Duration::from_millis(millis)
}

/// For `#[serde(with)]` on a [`SystemTime`].
pub(crate) fn serialize<S: Serializer>(time: &SystemTime, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(&format_rfc3339_millis(to_millis(*time)))
}

pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<SystemTime, D::Error> {
    let text = String::deserialize(deserializer)?;
    parse_rfc3339(&text).map_err(|_| D::Error::custom("expected a time in RFC 3339 format and UTC"))
}

/// For `#[serde(with)]` on an optional [`SystemTime`].
pub(crate) mod optional {
    use super::{Deserialize, Deserializer, Serializer, SystemTime};

    #[expect(clippy::ref_option, reason = "serde calls it with a reference to the field")]
    pub(crate) fn serialize<S: Serializer>(time: &Option<SystemTime>, serializer: S) -> Result<S::Ok, S::Error> {
        match time {
            Some(time) => super::serialize(time, serializer),
            None => serializer.serialize_none(),
        }
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<SystemTime>, D::Error> {
        #[derive(Deserialize)]
        struct Wrapper(#[serde(with = "super")] SystemTime);
        let wrapped = Option::<Wrapper>::deserialize(deserializer)?;
        Ok(wrapped.map(|Wrapper(time)| time))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde::Serialize;

    use super::*;

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Times {
        #[serde(with = "super")]
        one: SystemTime,
        #[serde(with = "super::optional")]
        other: Option<SystemTime>,
    }

    #[test]
    fn times_serialize_as_rfc_3339() {
        let one = UNIX_EPOCH + Duration::from_millis(1_700_000_000_123);
        let text = serde_json::to_string(&Times { one, other: None }).expect("serializable");
        assert_eq!(text, r#"{"one":"2023-11-14T22:13:20.123Z","other":null}"#);
        for wrong in [r#"{"one":"yesterday","other":null}"#, r#"{"one":5,"other":null}"#] {
            assert!(serde_json::from_str::<Times>(wrong).is_err(), "{wrong}");
        }
    }

    const HOUR: Duration = Duration::from_secs(3600);

    #[test]
    fn current_time_ignores_wall_clock_adjustments() {
        for (at_first, then) in [(HOUR, Duration::ZERO), (Duration::ZERO, HOUR), (HOUR, HOUR)] {
            set_ahead(at_first);
            let moment = Moment::now();
            set_ahead(then);
            let read = wall_clock();
            for now in [moment.current_time(), moment.without_step(read)] {
                let passed = now.duration_since(moment.wall()).expect("not before it");
                assert!(passed < HOUR / 2, "{at_first:?} {then:?}: {passed:?}");
            }
            set_ahead(Duration::ZERO);
        }
    }

    #[test]
    fn times_from_another_clock_are_not_corrected() {
        set_ahead(HOUR);
        let moment = Moment::now();
        set_ahead(Duration::ZERO);
        let now = SystemTime::now();
        for time in [UNIX_EPOCH, now + HOUR, now - HOUR, now + 100 * HOUR] {
            assert_eq!(moment.without_step(time), time);
        }
        let still = Moment::now();
        for time in [SystemTime::now() - Duration::from_millis(1), SystemTime::now() - HOUR] {
            assert_eq!(still.without_step(time), time, "the clock was not adjusted");
        }
    }

    proptest! {
        #[test]
        fn any_time_survives_a_round_trip(after in any::<bool>(), seconds in 0..u64::MAX / 4, nanos in 0..1_000_000_000_u32) {
            let distance = Duration::new(seconds, nanos);
            let time = if after { UNIX_EPOCH.checked_add(distance) } else { UNIX_EPOCH.checked_sub(distance) };
            let one = to_millis(time.unwrap_or(UNIX_EPOCH));
            prop_assert_eq!(to_millis(one), one);
            let times = Times { one, other: Some(one) };
            let text = serde_json::to_string(&times).expect("serializable");
            prop_assert_eq!(serde_json::from_str::<Times>(&text).expect("readable"), times);
        }
    }
}

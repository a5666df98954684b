//! The wall clock: points in time as a status shows them, and times that follow one another although that clock is set.
//!
//! A status shows RFC 3339 in UTC, with milliseconds. A time is cut to whole milliseconds when a status is made ([`shown`]), so what is read
//! back is equal to what was written.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use humantime::{format_rfc3339_millis, parse_rfc3339};
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serializer};

/// The end of the year 9999, the last that RFC 3339 can write (section 1), in milliseconds since 1970.
const LAST_MILLIS: u64 = 253_402_300_799_999;

/// A time of the wall clock, from which on time is counted by a clock that is never set.
///
/// The wall clock may be set back an hour while a span is open. What is measured from here on keeps the time of the start and adds the time that
/// passed, so nothing ends before it began.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Moment {
    wall: SystemTime,
    steady: Instant,
}

impl Moment {
    pub(crate) fn now() -> Self {
        Self {
            wall: wall_clock(),
            steady: Instant::now(),
        }
    }

    /// What the wall clock showed.
    pub(crate) fn wall(&self) -> SystemTime {
        self.wall
    }

    /// How long ago it is.
    pub(crate) fn elapsed(&self) -> Duration {
        self.steady.elapsed()
    }

    /// The time now: this one, and what passed since.
    pub(crate) fn later(&self) -> SystemTime {
        self.wall.checked_add(self.elapsed()).unwrap_or(self.wall)
    }

    /// A time as it would be if the wall clock had not been set since this moment. One that was read from the wall clock just before is moved by
    /// as much as that clock was set; any other one stays: it is not known which clock it is from.
    pub(crate) fn without_step(&self, time: SystemTime) -> SystemTime {
        let (wall, later) = (wall_clock(), self.later());
        let step = distance(wall, later);
        if distance(wall, time) > step / 2 {
            return time;
        }
        let moved = if wall > later {
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

/// For tests: a wall clock that each thread can set.
#[cfg(test)]
fn wall_clock() -> SystemTime {
    SystemTime::now() + AHEAD.get()
}

#[cfg(test)]
thread_local! {
    static AHEAD: std::cell::Cell<Duration> = const { std::cell::Cell::new(Duration::ZERO) };
}

/// Sets the wall clock of this thread, for what reads it here.
#[cfg(test)]
pub(crate) fn set_ahead(by: Duration) {
    AHEAD.set(by);
}

/// A time in whole milliseconds and within the years 1970 to 9999. A program can give a span any time as its end.
pub(crate) fn shown(time: SystemTime) -> SystemTime {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    let millis = u64::try_from(since.as_millis()).unwrap_or(LAST_MILLIS).min(LAST_MILLIS);
    UNIX_EPOCH + Duration::from_millis(millis)
}

/// For `#[serde(with)]` on a [`SystemTime`].
pub(crate) fn serialize<S: Serializer>(time: &SystemTime, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(&format_rfc3339_millis(shown(*time)))
}

pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<SystemTime, D::Error> {
    let text = String::deserialize(deserializer)?;
    parse_rfc3339(&text).map_err(|_| D::Error::custom("not a time by RFC 3339 in UTC"))
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
        struct Written(#[serde(with = "super")] SystemTime);
        let written = Option::<Written>::deserialize(deserializer)?;
        Ok(written.map(|Written(time)| time))
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
    fn a_time_is_written_as_rfc_3339_says() {
        let one = UNIX_EPOCH + Duration::from_millis(1_700_000_000_123);
        let text = serde_json::to_string(&Times { one, other: None }).expect("serializable");
        assert_eq!(text, r#"{"one":"2023-11-14T22:13:20.123Z","other":null}"#);
        for wrong in [r#"{"one":"yesterday","other":null}"#, r#"{"one":5,"other":null}"#] {
            assert!(serde_json::from_str::<Times>(wrong).is_err(), "{wrong}");
        }
    }

    const HOUR: Duration = Duration::from_secs(3600);

    #[test]
    fn time_goes_on_from_a_moment_whatever_the_wall_clock_is_set_to() {
        for (at_first, then) in [(HOUR, Duration::ZERO), (Duration::ZERO, HOUR), (HOUR, HOUR)] {
            set_ahead(at_first);
            let moment = Moment::now();
            set_ahead(then);
            let read = wall_clock();
            for now in [moment.later(), moment.without_step(read)] {
                let passed = now.duration_since(moment.wall()).expect("not before it");
                assert!(passed < HOUR / 2, "{at_first:?} {then:?}: {passed:?}");
            }
            set_ahead(Duration::ZERO);
        }
    }

    #[test]
    fn a_time_that_is_not_from_the_wall_clock_of_this_moment_stays() {
        set_ahead(HOUR);
        let moment = Moment::now();
        set_ahead(Duration::ZERO);
        let now = SystemTime::now();
        for time in [UNIX_EPOCH, now + HOUR, now - HOUR, now + 100 * HOUR] {
            assert_eq!(moment.without_step(time), time);
        }
        let still = Moment::now();
        for time in [SystemTime::now() - Duration::from_millis(1), SystemTime::now() - HOUR] {
            assert_eq!(still.without_step(time), time, "the clock was not set");
        }
    }

    proptest! {
        #[test]
        fn any_time_is_shown_and_read_back(after in any::<bool>(), seconds in 0..u64::MAX / 4, nanos in 0..1_000_000_000_u32) {
            let distance = Duration::new(seconds, nanos);
            let time = if after { UNIX_EPOCH.checked_add(distance) } else { UNIX_EPOCH.checked_sub(distance) };
            let one = shown(time.unwrap_or(UNIX_EPOCH));
            prop_assert_eq!(shown(one), one);
            let times = Times { one, other: Some(one) };
            let text = serde_json::to_string(&times).expect("serializable");
            prop_assert_eq!(serde_json::from_str::<Times>(&text).expect("readable"), times);
        }
    }
}

//! Points in time as a status shows them: RFC 3339 in UTC, with milliseconds.
//!
//! A time is cut to whole milliseconds when a status is made ([`shown`]), so what is read back is equal to what was written.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use humantime::{format_rfc3339_millis, parse_rfc3339};
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serializer};

/// The end of the year 9999, the last that RFC 3339 can write (section 1), in milliseconds since 1970.
const LAST_MILLIS: u64 = 253_402_300_799_999;

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

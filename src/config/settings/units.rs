//! What settings of all tables are made of: durations and sizes as people write them, and how one value is laid over another.

use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Deserializer};

/// A duration as people write it: `500ms`, `1s`, `5m`, `1h 30m`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, JsonSchema)]
pub(crate) struct HumanDuration(
    #[schemars(with = "String", extend("examples" = ["500ms", "1s", "5m"]))] pub(crate) Duration,
);

impl<'de> Deserialize<'de> for HumanDuration {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        humantime::parse_duration(&text).map(Self).map_err(|error| {
            serde::de::Error::custom(format!("{text:?} is no duration such as \"500ms\" or \"5m\": {error}"))
        })
    }
}

/// A size as people write it: `64MiB`, `500kB`, or a number of bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, JsonSchema)]
pub(crate) struct HumanSize(#[schemars(with = "String", extend("examples" = ["64MiB", "500kB"]))] pub(crate) usize);

impl<'de> Deserialize<'de> for HumanSize {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let size = text.parse::<bytesize::ByteSize>().ok();
        let size = size.and_then(|size| usize::try_from(size.as_u64()).ok());
        size.map(Self)
            .ok_or_else(|| serde::de::Error::custom(format!("{text:?} is no size such as \"64MiB\" or \"500kB\"")))
    }
}

/// Takes what the upper layer says, where it says something.
pub(crate) fn replace<T: Clone>(lower: &mut Option<T>, upper: Option<&T>) {
    if let Some(upper) = upper {
        *lower = Some(upper.clone());
    }
}

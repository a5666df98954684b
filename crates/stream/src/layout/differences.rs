//! What differs between two configurations of a stream or a consumer.

use serde::Serialize;
use serde_json::Value;

use super::wanted::PARTITIONS;

/// A setting of a stream or consumer that is not as configured.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// The name of the setting, as JetStream writes it.
    pub field: &'static str,
    /// What it is.
    pub is: String,
    /// What it should be.
    pub should: String,
    /// Whether a stream with it loses data, or cannot be used: a gateway does not start.
    pub stops: bool,
}

/// Settings that are compared, and whether a difference stops a start. Others are left to whoever
/// operates the servers: placement, compression, descriptions.
const OF_STREAMS: [(&str, bool); 22] = [
    ("num_replicas", true),
    ("storage", true),
    ("retention", true),
    ("discard", true),
    ("discard_new_per_subject", true),
    ("subjects", true),
    ("max_age", true),
    ("max_msgs", true),
    ("max_bytes", false),
    ("max_msgs_per_subject", false),
    ("max_msg_size", true),
    ("max_consumers", true),
    ("duplicate_window", false),
    ("no_ack", true),
    ("sealed", true),
    ("allow_direct", true),
    ("allow_atomic", true),
    ("allow_rollup_hdrs", true),
    ("deny_purge", true),
    ("mirror", true),
    ("sources", true),
    ("subject_transform", true),
];

const OF_CONSUMERS: [(&str, bool); 14] = [
    ("deliver_policy", true),
    ("ack_policy", true),
    ("ack_wait", true),
    ("max_deliver", true),
    ("max_ack_pending", true),
    ("filter_subject", true),
    ("filter_subjects", true),
    ("priority_policy", true),
    ("priority_groups", true),
    ("priority_timeout", true),
    ("headers_only", true),
    ("mem_storage", true),
    ("max_batch", false),
    ("max_bytes", false),
];

/// Returns what differs in a stream.
pub(super) fn of_streams(is: &impl Serialize, should: &impl Serialize) -> Vec<Difference> {
    differences(&OF_STREAMS, is, should)
}

/// Returns what differs in a consumer.
pub(super) fn of_consumers(is: &impl Serialize, should: &impl Serialize) -> Vec<Difference> {
    differences(&OF_CONSUMERS, is, should)
}

fn differences(fields: &[(&'static str, bool)], is: &impl Serialize, should: &impl Serialize) -> Vec<Difference> {
    let (is, should) = (json(is), json(should));
    let differs = |(field, stops): &(&'static str, bool)| {
        let (is, should) = (&is[*field], &should[*field]);
        // JetStream leaves out a setting with its default.
        let same = is == should || is_default(is) && is_default(should);
        (!same).then(|| Difference {
            field,
            is: text(field, is),
            should: text(field, should),
            stops: *stops && !(*field == "num_replicas" && is.as_u64() > should.as_u64()),
        })
    };
    fields.iter().filter_map(differs).collect()
}

/// Returns the existing configuration with the settings of the wanted one, for an update.
pub(super) fn updated<T: Serialize + serde::de::DeserializeOwned>(is: &T, should: &T) -> Option<T> {
    let (mut updated, should) = (json(is), json(should));
    let names = OF_STREAMS.iter().chain(&OF_CONSUMERS).map(|(field, _)| *field);
    for field in names {
        match should.get(field) {
            Some(value) => updated[field] = value.clone(),
            None => drop(updated.as_object_mut()?.remove(field)),
        }
    }
    if let Some(partitions) = should["metadata"].get(PARTITIONS) {
        updated["metadata"][PARTITIONS] = partitions.clone();
    }
    serde_json::from_value(updated).ok()
}

fn json(config: &impl Serialize) -> Value {
    serde_json::to_value(config).unwrap_or(Value::Null)
}

fn is_default(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(false) => true,
        Value::Number(number) => number.as_i64() == Some(0),
        Value::String(text) => text.is_empty(),
        Value::Array(values) => values.is_empty(),
        Value::Object(_) | Value::Bool(true) => false,
    }
}

/// Returns a value as a person writes it: times in seconds, no quotes.
fn text(field: &str, value: &Value) -> String {
    let is_time = matches!(field, "max_age" | "duplicate_window" | "ack_wait" | "priority_timeout");
    match value {
        Value::Null => "not set".to_owned(),
        Value::String(text) => text.clone(),
        Value::Number(number) if is_time => match number.as_u64() {
            Some(nanoseconds) => format!("{}s", nanoseconds / 1_000_000_000),
            None => number.to_string(),
        },
        other => other.to_string(),
    }
}

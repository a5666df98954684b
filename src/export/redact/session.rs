//! Redaction of session events, which are JSON.

use serde_json::{Map, Value};

use crate::backend::{DataPart, parse_session_id};
use crate::config::RedactAction;
use crate::export::queue::session_event::SessionEvent;
use crate::policy::redaction::{Path, REDACTED, Redaction, Verdict};
use crate::util::json_depth::MAX_LEVELS;

/// Fields that name a session or an event.
const IDS: [&str; 3] = ["session_id", "event_id", "parent_id"];
/// Fields with numbers of milliseconds, which may look like numbers of cards.
const TIMES: [&str; 3] = ["start_time", "end_time", "duration"];
/// Nesting of a field in which each entry is nested at most [`MAX_LEVELS`] deep.
const MAX_FIELD_LEVELS: usize = MAX_LEVELS + 1;

/// Applies the rules to a session event. The path of a value starts at the fields of the session or
/// event, as in `metadata.plan`. See [`fields`].
pub(crate) fn event(redaction: &Redaction, source: Option<&str>, event: &mut SessionEvent) {
    let fields = match event {
        SessionEvent::Start(body) => body.get_mut("session").and_then(Value::as_object_mut),
        #[cfg(feature = "encoded")]
        SessionEvent::Single(body) => body.get_mut("event").and_then(Value::as_object_mut),
        SessionEvent::Enrich(delta) => Some(delta),
    };
    if let Some(of_event) = fields {
        self::fields(redaction, source, of_event);
    }
}

/// Applies the rules to the fields of a session or event. Ids, times and the source of the binding
/// stay.
pub(crate) fn fields(redaction: &Redaction, source: Option<&str>, fields: &mut Map<String, Value>) {
    let mut path = Path::default();
    fields.retain(|name, value| {
        let stays = match value {
            Value::String(id) if IDS.contains(&&**name) => parse_session_id(id).is_some(),
            Value::String(text) => name == "source" && Some(&**text) == source,
            Value::Number(_) => TIMES.contains(&&**name),
            _ => false,
        };
        let is_object = value.is_object();
        let keep = stays || member(redaction, &mut path, name, value, 1);
        if is_object && !value.is_object() && DataPart::ALL.iter().any(|part| part.name() == name) {
            // The session API takes only an object here.
            *value = Value::Object(Map::new());
        }
        keep
    });
}

/// Applies the rules to the member of an object. Returns false if it must be removed.
fn member(redaction: &Redaction, path: &mut Path, name: &str, value: &mut Value, level: usize) -> bool {
    path.push(name);
    let keep = match redaction.whole(&*path) {
        Some(RedactAction::Replace) => {
            *value = REDACTED.into();
            true
        }
        Some(RedactAction::Hash) => {
            let hash = match value {
                Value::String(text) => redaction.hash(text.as_bytes()),
                ref other => redaction.hash(other.to_string().as_bytes()),
            };
            *value = hash.into();
            true
        }
        Some(RedactAction::Drop) => false,
        None => inside(redaction, path, value, level),
    };
    path.pop();
    keep
}

/// Applies the rules to a value that no rule takes as a whole. Returns false if it must be removed.
fn inside(redaction: &Redaction, path: &mut Path, value: &mut Value, level: usize) -> bool {
    let verdict = match value {
        Value::Null => Verdict::Keep,
        Value::Bool(shown) => redaction.scalar(&*path, if *shown { "true" } else { "false" }),
        Value::Number(number) => redaction.scalar(&*path, &number.to_string()),
        Value::String(text) => redaction.text(&*path, text),
        Value::Array(_) | Value::Object(_) if level > MAX_FIELD_LEVELS => {
            redaction.note_unreadable();
            Verdict::Drop
        }
        Value::Array(items) => {
            let mut index = 0;
            items.retain_mut(|item| {
                path.push_index(index);
                index += 1;
                let keep = inside(redaction, path, item, level + 1);
                path.pop();
                keep
            });
            Verdict::Keep
        }
        Value::Object(members) => {
            members.retain(|name, value| member(redaction, path, name, value, level + 1));
            Verdict::Keep
        }
    };
    match verdict {
        Verdict::Keep => true,
        Verdict::Replace(text) => {
            *value = text.into();
            true
        }
        Verdict::Drop => false,
    }
}

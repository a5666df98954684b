//! Reads the JSON of requests to the session API, within bounds.

use std::cell::Cell;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};
use uuid::Uuid;

use crate::backend::{DataPart, chooses_project, new_session_id, parse_session_id};
use crate::util::json_depth::MAX_LEVELS;

/// Most memory of the values of a request, besides the bytes of its texts: 500,000 numbers, or
/// 20,000 small objects.
const MAX_VALUE_BYTES: usize = 16 << 20;
/// Memory of an item of a list, with the spare capacity of the list. The first one follows `[`, and
/// each other one a comma.
const ITEM_BYTES: usize = 2 * size_of::<Value>();
/// Memory of a node of an object, which holds at least one field. The first one follows `{`.
const NODE_BYTES: usize = 640;
/// Memory of a further field, in nodes that are half full. Each follows a comma.
const FIELD_BYTES: usize = 128;
/// Larger bodies count as having as many values as possible.
const MAX_SCANNED_BYTES: usize = 128 << 10;
/// Longest field name that an error repeats.
const MAX_SHOWN_BYTES: usize = 64;

/// What a request to the session API asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SessionCall {
    /// `POST /session/start`, with the session in the field `session`.
    Start,
    /// `POST /v1/sessions`, with the session itself.
    BareStart,
    /// `POST /events`, with the event in the field `event`.
    Event,
    /// `POST /v1/events`, with the event itself.
    BareEvent,
    /// `PUT /events`, with the id in the body, or `PUT /v1/events/{id}`.
    Enrich {
        /// Id in the path. If there is none, the body has it.
        id: Option<String>,
    },
}

/// A request to the session API, checked.
pub struct SessionRequest {
    pub(super) kind: Kind,
    /// Id of the session or event.
    pub(super) id: Uuid,
    /// Session of an event.
    pub(super) session: Option<Uuid>,
    /// The session, event or delta, without fields that choose a project.
    pub(super) fields: Map<String, Value>,
    /// Length of the body.
    pub(super) bytes: usize,
    /// Memory of the values, besides the bytes of their texts.
    value_bytes: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Start,
    /// An event that is posted on its own.
    Single,
    Enrich,
}

/// A body is not a request to the session API. The message repeats at most a name of a field.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct InvalidSession(String);

impl SessionRequest {
    /// Reads the body of a request.
    ///
    /// Ids that are UUIDs are kept, in lower case. A session or event without one gets a new id.
    /// Fields that choose a project are removed. Other unknown fields are kept.
    ///
    /// # Errors
    /// Returns [`InvalidSession`] if the body is not JSON, repeats a field, nests deeper than 64
    /// levels, has too many values, or if a known field has another type than the API expects.
    pub fn from_json(call: &SessionCall, body: &[u8]) -> Result<Self, InvalidSession> {
        let (value, value_bytes) = parse(body)?;
        let Value::Object(mut fields) = value else {
            return Err(invalid("the body is not an object"));
        };
        if let Some(wrapper) = call.wrapper() {
            let Some(Value::Object(inner)) = fields.remove(wrapper) else {
                return Err(InvalidSession(format!("the body has no object \"{wrapper}\"")));
            };
            fields = inner;
        }
        fields.retain(|name, _| !chooses_project(name));
        check_types(&fields)?;
        let event = id_in(&fields, "event_id");
        let session = id_in(&fields, "session_id");
        let (kind, id) = match call {
            SessionCall::Start | SessionCall::BareStart => {
                if session.is_some() && event.is_some() && event != session {
                    return Err(invalid("event_id and session_id differ, but name the same session"));
                }
                (Kind::Start, session.or(event).unwrap_or_else(new_session_id))
            }
            SessionCall::Event | SessionCall::BareEvent => (Kind::Single, event.unwrap_or_else(new_session_id)),
            SessionCall::Enrich { id: None } => (Kind::Enrich, event.ok_or_else(|| invalid("event_id is not a UUID"))?),
            SessionCall::Enrich { id: Some(id) } => {
                let id = parse_session_id(id).ok_or_else(|| invalid("the id in the path is not a UUID"))?;
                if fields.get("event_id").is_some_and(|given| !given.is_null()) && event != Some(id) {
                    return Err(invalid("event_id differs from the id in the path"));
                }
                (Kind::Enrich, id)
            }
        };
        let text = |id: Uuid| Value::from(id.hyphenated().to_string());
        if kind == Kind::Start {
            fields.insert("session_id".to_owned(), text(id));
            fields.entry("event_id").and_modify(|event| *event = text(id));
        } else {
            fields.insert("event_id".to_owned(), text(id));
            if let Some(session) = session {
                fields.insert("session_id".to_owned(), text(session));
            }
        }
        Ok(Self {
            kind,
            id,
            session,
            fields,
            bytes: body.len(),
            value_bytes,
        })
    }

    /// Returns the most memory that reading a body takes, in bytes. Costs at most one pass over
    /// 128 KiB.
    pub fn max_memory(body: &[u8]) -> usize {
        let bytes_of = |byte: &u8| match byte {
            // Also counts those in texts, so the result is high rather than low.
            b'{' => NODE_BYTES,
            b'[' => ITEM_BYTES,
            b',' => FIELD_BYTES.max(ITEM_BYTES),
            _ => 0,
        };
        let values = if body.len() > MAX_SCANNED_BYTES {
            MAX_VALUE_BYTES
        } else {
            body.iter().map(bytes_of).sum::<usize>().min(MAX_VALUE_BYTES)
        };
        body.len() + values
    }

    /// Returns an upper bound of the memory that this request holds, in bytes: at most
    /// [`max_memory`](Self::max_memory).
    pub fn memory(&self) -> usize {
        self.bytes + self.value_bytes
    }

    /// Returns the id of the session or event. The event id of a session is its session id.
    pub fn id(&self) -> Uuid {
        self.id
    }
}

impl SessionCall {
    fn wrapper(&self) -> Option<&'static str> {
        match self {
            Self::Start => Some("session"),
            Self::Event => Some("event"),
            Self::BareStart | Self::BareEvent | Self::Enrich { .. } => None,
        }
    }
}

impl fmt::Debug for SessionRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SessionRequest({:?} of {})", self.kind, self.id)
    }
}

fn invalid(message: &str) -> InvalidSession {
    InvalidSession(message.to_owned())
}

/// Returns the UUID in a field. Any other text is not an id.
fn id_in(fields: &Map<String, Value>, name: &str) -> Option<Uuid> {
    fields.get(name).and_then(Value::as_str).and_then(parse_session_id)
}

/// Checks the types of the known fields, because the receiver's answer reaches no client. Null
/// counts as absent.
fn check_types(fields: &Map<String, Value>) -> Result<(), InvalidSession> {
    let check = |name: &str, kind: &str, is_valid: fn(&Value) -> bool| {
        let is_invalid = fields
            .get(name)
            .is_some_and(|value| !value.is_null() && !is_valid(value));
        if is_invalid {
            return Err(InvalidSession(format!("{name} is not {kind}")));
        }
        Ok(())
    };
    for part in DataPart::ALL {
        check(part.name(), "an object", Value::is_object)?;
    }
    for name in ["start_time", "end_time", "duration"] {
        check(name, "a number", Value::is_number)?;
    }
    for name in ["event_id", "session_id", "session_name", "event_name", "source"] {
        check(name, "a string", Value::is_string)?;
    }
    Ok(())
}

/// Parses JSON. Also returns the memory of the values, besides the bytes of their texts. The
/// recursion ends at [`MAX_LEVELS`].
fn parse(body: &[u8]) -> Result<(Value, usize), InvalidSession> {
    let left = Cell::new(MAX_VALUE_BYTES);
    let mut json = serde_json::Deserializer::from_slice(body);
    let seed = Bounded {
        levels: MAX_LEVELS,
        left: &left,
    };
    let value = seed.deserialize(&mut json).and_then(|value| json.end().map(|()| value));
    let value = value.map_err(|error| InvalidSession(format!("the body is not valid JSON: {error}")))?;
    Ok((value, MAX_VALUE_BYTES - left.get()))
}

/// Reads a value of bounded depth and memory, and without repeated fields.
#[derive(Clone, Copy)]
struct Bounded<'b> {
    /// Levels of objects and lists that may follow.
    levels: usize,
    /// Memory that values may still take.
    left: &'b Cell<usize>,
}

impl Bounded<'_> {
    fn spend<E: serde::de::Error>(self, bytes: usize) -> Result<(), E> {
        let left = self.left.get().checked_sub(bytes);
        self.left.set(left.ok_or_else(|| E::custom("too many values"))?);
        Ok(())
    }

    fn inner<E: serde::de::Error>(self) -> Result<Self, E> {
        let levels = self.levels.checked_sub(1);
        let levels = levels.ok_or_else(|| E::custom(format_args!("nested deeper than {MAX_LEVELS} levels")))?;
        Ok(Self { levels, ..self })
    }
}

impl<'de> DeserializeSeed<'de> for Bounded<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Bounded<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any JSON value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let inner = self.inner()?;
        let mut list = Vec::new();
        while let Some(item) = items.next_element_seed(inner)? {
            self.spend(ITEM_BYTES)?;
            list.push(item);
        }
        Ok(Value::Array(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Value, A::Error> {
        let inner = self.inner()?;
        let mut fields = Map::new();
        while let Some(name) = entries.next_key::<String>()? {
            self.spend(if fields.is_empty() { NODE_BYTES } else { FIELD_BYTES })?;
            if fields.contains_key(&name) {
                let shown = if name.len() <= MAX_SHOWN_BYTES {
                    &*name
                } else {
                    "with a long name"
                };
                return Err(A::Error::custom(format_args!("repeated field {shown:?}")));
            }
            let value = entries.next_value_seed(inner)?;
            fields.insert(name, value);
        }
        Ok(Value::Object(fields))
    }
}

#[cfg(test)]
mod tests;

//! What redaction must make of a request, by opentelemetry-proto's types.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use opentelemetry_proto::tonic::common::v1::any_value::Value as Kind;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue as Attribute};
use serde_json::Value as Json;

use crate::config::RedactAction;
use crate::export::payload::reference::Request;
use crate::policy::redaction::{Path, Place, REDACTED, Redaction, Verdict};

/// What a request must become, on decoded messages.
struct Model<'a>(&'a Redaction);

/// Applies the rules to a decoded request.
pub(in crate::export::payload) fn redact(request: &mut Request, redaction: &Redaction) {
    Model(redaction).request(request);
}

impl Model<'_> {
    fn request(&self, request: &mut Request) {
        for block in &mut request.resource_spans {
            if let Some(resource) = &mut block.resource {
                self.attributes(&mut resource.attributes);
            }
            for scope in &mut block.scope_spans {
                if let Some(scope) = &mut scope.scope {
                    self.attributes(&mut scope.attributes);
                }
                for span in &mut scope.spans {
                    self.text(Place::Name, &mut span.name);
                    self.attributes(&mut span.attributes);
                    for event in &mut span.events {
                        self.text(Place::Name, &mut event.name);
                        self.attributes(&mut event.attributes);
                    }
                    for link in &mut span.links {
                        self.attributes(&mut link.attributes);
                    }
                    if let Some(status) = &mut span.status {
                        self.text(Place::Status, &mut status.message);
                    }
                }
            }
        }
    }

    fn text(&self, place: Place<'_>, text: &mut String) {
        match self.0.text(place, text) {
            Verdict::Keep => {}
            Verdict::Replace(replaced) => *text = replaced,
            Verdict::Drop if place == Place::Name => REDACTED.clone_into(text),
            Verdict::Drop => text.clear(),
        }
    }

    fn attributes(&self, attributes: &mut Vec<Attribute>) {
        attributes.retain_mut(|attribute| {
            let path = Path::new(&attribute.key);
            attribute
                .value
                .as_mut()
                .map_or(self.0.whole(&path) != Some(RedactAction::Drop), |value| {
                    self.keeps(&path, value)
                })
        });
    }

    /// Applies the rules to the value at a path. Returns whether to keep its owner.
    fn keeps(&self, path: &Path, value: &mut AnyValue) -> bool {
        // The verdict on a scalar includes the rules for whole values, and a pattern that drops wins.
        let is_scalar = matches!(
            value.value,
            Some(
                Kind::StringValue(_)
                    | Kind::BoolValue(_)
                    | Kind::IntValue(_)
                    | Kind::DoubleValue(_)
                    | Kind::BytesValue(_)
            )
        );
        if is_scalar {
            return self.keeps_content(path, value);
        }
        let text = match self.0.whole(path) {
            None => return self.keeps_content(path, value),
            Some(RedactAction::Drop) => return false,
            Some(RedactAction::Replace) => REDACTED.to_owned(),
            Some(RedactAction::Hash) => self.0.hash(&shown(value)),
        };
        value.value = Some(Kind::StringValue(text));
        true
    }

    fn keeps_content(&self, path: &Path, value: &mut AnyValue) -> bool {
        let mut inner = path.clone();
        let verdict = match &mut value.value {
            None => return true,
            Some(Kind::ArrayValue(list)) => {
                let mut index = 0;
                list.values.retain_mut(|item| {
                    inner.push_index(index);
                    index += 1;
                    let keeps = self.keeps(&inner, item);
                    inner.pop();
                    keeps
                });
                return true;
            }
            Some(Kind::KvlistValue(map)) => {
                map.values.retain_mut(|entry| {
                    inner.push(&entry.key);
                    let value = entry.value.as_mut();
                    let keeps = value.map_or(self.0.whole(&inner) != Some(RedactAction::Drop), |value| {
                        self.keeps(&inner, value)
                    });
                    inner.pop();
                    keeps
                });
                return true;
            }
            Some(Kind::StringValue(text)) => self.0.text(path, text),
            Some(Kind::BytesValue(bytes)) => self.0.bytes(path, bytes),
            Some(Kind::BoolValue(value)) => self.0.scalar(path, &value.to_string()),
            Some(Kind::IntValue(value)) => self.0.scalar(path, &value.to_string()),
            Some(Kind::DoubleValue(value)) => self.0.scalar(path, &value.to_string()),
            Some(Kind::StringValueStrindex(value)) => self.0.scalar(path, &value.to_string()),
        };
        match verdict {
            Verdict::Keep => true,
            Verdict::Replace(text) => {
                value.value = Some(Kind::StringValue(text));
                true
            }
            Verdict::Drop => false,
        }
    }
}

/// Returns a value in the form that is hashed.
fn shown(value: &AnyValue) -> Vec<u8> {
    match &value.value {
        None => Vec::new(),
        Some(Kind::StringValue(text)) => text.clone().into_bytes(),
        Some(Kind::BytesValue(bytes)) => bytes.clone(),
        Some(Kind::DoubleValue(value)) => value.to_string().into_bytes(),
        Some(_) => json(Some(value)).to_string().into_bytes(),
    }
}

fn json(value: Option<&AnyValue>) -> Json {
    match value.and_then(|value| value.value.as_ref()) {
        None => Json::Null,
        Some(Kind::StringValue(text)) => text.as_str().into(),
        Some(Kind::BytesValue(bytes)) => BASE64_STANDARD.encode(bytes).into(),
        Some(Kind::BoolValue(value)) => (*value).into(),
        Some(Kind::IntValue(value)) => (*value).into(),
        Some(Kind::DoubleValue(value)) => (*value).into(),
        Some(Kind::StringValueStrindex(value)) => (*value).into(),
        Some(Kind::ArrayValue(list)) => list.values.iter().map(|item| json(Some(item))).collect(),
        Some(Kind::KvlistValue(map)) => {
            let entries = map.values.iter();
            Json::Object(
                entries
                    .map(|entry| (entry.key.clone(), json(entry.value.as_ref())))
                    .collect(),
            )
        }
    }
}

//! Converts fields of the `tracing` crate's spans and events to OpenTelemetry attributes.

use std::borrow::Cow;
use std::fmt::Debug;

use opentelemetry::KeyValue;
use opentelemetry::trace::{SpanKind, Status};
use tracing::field::{Field, Visit};
use tracing::{Level, Metadata};

/// Collects fields as attributes.
struct Attributes(Vec<KeyValue>);

/// The fields of a span.
pub(super) struct SpanFields {
    pub(super) name: Option<Cow<'static, str>>,
    pub(super) kind: Option<SpanKind>,
    pub(super) status: Option<Status>,
    pub(super) attributes: Vec<KeyValue>,
}

/// Name, status and attributes of a span event.
pub(super) struct EventFields {
    pub(super) name: Cow<'static, str>,
    /// Set if the event is an error.
    pub(super) status: Option<Status>,
    pub(super) attributes: Vec<KeyValue>,
}

impl SpanFields {
    /// Adds the fields to `attributes`.
    pub(super) fn read(attributes: Vec<KeyValue>, record: impl FnOnce(&mut dyn Visit)) -> Self {
        let mut read = Attributes(attributes);
        record(&mut read);
        let mut fields = Self {
            name: None,
            kind: None,
            status: None,
            attributes: Vec::new(),
        };
        // Skips the four look-ups for most spans.
        if read.0.iter().any(|field| field.key.as_str().starts_with("otel.")) {
            fields.name = read.take("otel.name").map(Cow::Owned);
            fields.kind = read.take("otel.kind").and_then(|kind| kind_of(&kind));
            let code = read.take("otel.status_code");
            let description = read.take("otel.status_description").map(Status::error);
            fields.status = description.or_else(|| status_of(&code?));
        }
        fields.attributes = read.0;
        fields
    }
}

impl EventFields {
    pub(super) fn read(metadata: &Metadata<'static>, record: impl FnOnce(&mut dyn Visit)) -> Self {
        let mut read = Attributes(Vec::with_capacity(4));
        read.0.push(KeyValue::new("level", metadata.level().as_str()));
        read.0.push(KeyValue::new("target", metadata.target()));
        record(&mut read);
        let message = read.take("message");
        // `#[instrument(err)]` creates an event with an `error` field and no message.
        let error = if message.is_none() { read.take("error") } else { None };
        let description = error.as_ref().or(message.as_ref());
        let status = (*metadata.level() == Level::ERROR || error.is_some())
            .then(|| Status::error(description.cloned().unwrap_or_default()));
        let name = match (message, error) {
            (Some(message), _) => Cow::Owned(message),
            (None, Some(error)) => {
                read.0.push(KeyValue::new("exception.message", error));
                Cow::Borrowed("exception")
            }
            (None, None) => Cow::Borrowed(metadata.name()),
        };
        Self {
            name,
            status,
            attributes: read.0,
        }
    }
}

impl Attributes {
    fn push(&mut self, field: &Field, value: impl Into<opentelemetry::Value>) {
        // Fields that `tracing-log` adds duplicate level and target.
        if !field.name().starts_with("log.") {
            self.0.push(KeyValue::new(field.name(), value));
        }
    }

    fn take(&mut self, name: &str) -> Option<String> {
        let index = self.0.iter().position(|field| field.key.as_str() == name)?;
        Some(self.0.remove(index).value.as_str().into_owned())
    }
}

impl Visit for Attributes {
    fn record_bool(&mut self, field: &Field, value: bool) {
        self.push(field, value);
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.push(field, value);
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        match i64::try_from(value) {
            Ok(value) => self.push(field, value),
            Err(_) => self.push(field, value.to_string()),
        }
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.push(field, value);
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.push(field, value.to_owned());
    }

    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.push(field, format!("{value:?}"));
    }
}

fn kind_of(text: &str) -> Option<SpanKind> {
    Some(match text.to_ascii_lowercase().as_str() {
        "server" => SpanKind::Server,
        "client" => SpanKind::Client,
        "producer" => SpanKind::Producer,
        "consumer" => SpanKind::Consumer,
        "internal" => SpanKind::Internal,
        _ => return None,
    })
}

fn status_of(text: &str) -> Option<Status> {
    match text.to_ascii_lowercase().as_str() {
        "ok" => Some(Status::Ok),
        "error" => Some(Status::error("")),
        _ => None,
    }
}

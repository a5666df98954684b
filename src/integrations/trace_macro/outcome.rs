//! Records the outcome of a call: its result or its error.

use std::any::type_name;
use std::convert::Infallible;
use std::fmt::{Debug, Display};

use opentelemetry::trace::Status;
use serde_json::Value as Json;

use super::capture::Capture;
use super::text::{self, BoundedText};
use crate::backend::DataPart;
use crate::span::ActiveSpan;

/// Name of an output that is not a JSON object.
const RESULT: &str = "result";

/// A returned value.
pub struct Outcome<'a, T>(pub &'a T);

/// A returned error.
pub struct Failure<'a, E: ?Sized>(pub &'a E);

/// Splits a `Result`.
pub trait OfResult {
    /// The value of a success.
    type Ok;
    /// The error.
    type Err;
    /// Returns the value or the error.
    ///
    /// # Errors
    /// The error that the function returned.
    fn tracer_registry_split(&self) -> Result<&Self::Ok, &Self::Err>;
}

/// Treats each other type as a success.
pub trait OfOther {
    /// The value.
    type Ok;
    /// Returns the value.
    ///
    /// # Errors
    /// None.
    fn tracer_registry_split(&self) -> Result<&Self::Ok, &Infallible>;
}

impl<T, E> OfResult for &Outcome<'_, Result<T, E>> {
    type Ok = T;
    type Err = E;

    fn tracer_registry_split(&self) -> Result<&T, &E> {
        self.0.as_ref()
    }
}

impl<T> OfOther for Outcome<'_, T> {
    type Ok = T;

    fn tracer_registry_split(&self) -> Result<&T, &Infallible> {
        Ok(self.0)
    }
}

/// Records an error by `Display`.
pub trait RecordDisplay {
    /// Records the error.
    fn tracer_registry_record(&self, recorder: &mut Recorder<'_>);
}

/// Records an error by `Debug`.
pub trait RecordDebug {
    /// Records the error.
    fn tracer_registry_record(&self, recorder: &mut Recorder<'_>);
}

/// Records an error by its type name.
pub trait RecordType {
    /// Records the error.
    fn tracer_registry_record(&self, recorder: &mut Recorder<'_>);
}

impl<E: Display + ?Sized> RecordDisplay for &&Failure<'_, E> {
    fn tracer_registry_record(&self, recorder: &mut Recorder<'_>) {
        recorder.span.record_failure::<E>(text::display(self.0).into());
    }
}

impl<E: Debug + ?Sized> RecordDebug for &Failure<'_, E> {
    fn tracer_registry_record(&self, recorder: &mut Recorder<'_>) {
        recorder.span.record_failure::<E>(text::debug(self.0).into());
    }
}

impl<E: ?Sized> RecordType for Failure<'_, E> {
    fn tracer_registry_record(&self, recorder: &mut Recorder<'_>) {
        recorder
            .span
            .record_failure::<E>((format!("<{}>", type_name::<E>()), 0));
    }
}

impl From<BoundedText> for (String, u64) {
    fn from(text: BoundedText) -> Self {
        (text.text, text.is_cut.into())
    }
}

/// Records an outcome on a span.
pub struct Recorder<'a> {
    span: &'a ActiveSpan,
    /// The captured result.
    pub outputs: Capture,
}

impl<'a> Recorder<'a> {
    pub(super) fn new(span: &'a ActiveSpan) -> Self {
        Self {
            span,
            outputs: Capture::default(),
        }
    }

    /// Records an error without a message.
    pub fn failed(&mut self) {
        self.span.set_status(Status::error(""));
    }

    pub(super) fn end(self) {
        let Some((mut entries, cut)) = self.outputs.into_entries() else {
            return;
        };
        let outputs = match entries.remove(RESULT) {
            Some(table @ Json::Object(_)) => table,
            Some(other) => {
                entries.insert(RESULT.to_owned(), other);
                Json::Object(entries)
            }
            None => return,
        };
        self.span.record_captured(DataPart::Outputs, outputs, cut);
    }
}

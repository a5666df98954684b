//! How a call came out: its result, or its error.

use std::any::type_name;
use std::convert::Infallible;
use std::fmt::{Debug, Display};

use opentelemetry::trace::Status;
use serde_json::Value as Json;

use super::capture::Capture;
use super::text::{self, Text};
use crate::backend::DataPart;
use crate::span::ActiveSpan;

/// The entry of outputs that a result without names is told as.
const RESULT: &str = "result";

/// What a function returned.
pub struct Outcome<'a, T>(pub &'a T);

/// The error of what a function returned.
pub struct Failure<'a, E: ?Sized>(pub &'a E);

/// Takes a `Result` apart.
pub trait OfResult {
    /// What it is when all went well.
    type Ok;
    /// What it is when not.
    type Err;
    /// Either of them.
    ///
    /// # Errors
    /// The function's own.
    fn tracer_registry_split(&self) -> Result<&Self::Ok, &Self::Err>;
}

/// Takes anything else for a success.
pub trait OfOther {
    /// What it is.
    type Ok;
    /// It.
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

/// Tells an error by what it displays.
pub trait TellDisplay {
    /// Tells it.
    fn tracer_registry_tell(&self, told: &mut Told<'_>);
}

/// Tells an error by what its `Debug` writes.
pub trait TellDebug {
    /// Tells it.
    fn tracer_registry_tell(&self, told: &mut Told<'_>);
}

/// Tells an error by its type.
pub trait TellNothing {
    /// Tells it.
    fn tracer_registry_tell(&self, told: &mut Told<'_>);
}

impl<E: Display + ?Sized> TellDisplay for &&Failure<'_, E> {
    fn tracer_registry_tell(&self, told: &mut Told<'_>) {
        told.span.record_failure::<E>(text::display(self.0).into());
    }
}

impl<E: Debug + ?Sized> TellDebug for &Failure<'_, E> {
    fn tracer_registry_tell(&self, told: &mut Told<'_>) {
        told.span.record_failure::<E>(text::debug(self.0).into());
    }
}

impl<E: ?Sized> TellNothing for Failure<'_, E> {
    fn tracer_registry_tell(&self, told: &mut Told<'_>) {
        told.span.record_failure::<E>((format!("<{}>", type_name::<E>()), 0));
    }
}

impl From<Text> for (String, u64) {
    fn from(text: Text) -> Self {
        (text.text, text.is_cut.into())
    }
}

/// What is told of an outcome.
pub struct Told<'a> {
    span: &'a ActiveSpan,
    /// What came out.
    pub outputs: Capture,
}

impl<'a> Told<'a> {
    pub(super) fn new(span: &'a ActiveSpan) -> Self {
        Self {
            span,
            outputs: Capture::default(),
        }
    }

    /// Says that it is an error, and not which.
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

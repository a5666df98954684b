//! Builds JSON value by value, and stops at the limits of a call.
//!
//! Incomplete arrays and objects are on a stack, so a value that stops early keeps what it wrote.

use std::fmt::Display;

use serde::ser;
use serde_json::{Map, Value as Json};

use crate::backend::{MAX_DEPTH, MAX_NAME_BYTES, MAX_TEXT_BYTES, MAX_VALUES, shorten};
use crate::util::json_number::IntoJson;

/// Maximum size of all names and texts of a call, in bytes.
pub(super) const MAX_BYTES: usize = 256 << 10;
/// Maximum number of nodes. Nulls and empty objects do not count as values, but still take time.
const MAX_NODES: usize = 8 * MAX_VALUES;
/// Maximum number of wrappers (`Option`, newtype) around a value, without an array or object in
/// between.
const MAX_WRAPPERS: usize = 64;

/// Remaining limits of a call.
pub(super) struct Budget {
    values: usize,
    nodes: usize,
    bytes: usize,
}

impl Default for Budget {
    fn default() -> Self {
        Self {
            values: MAX_VALUES,
            nodes: MAX_NODES,
            bytes: MAX_BYTES,
        }
    }
}

/// Stops a value that reached a limit or failed to serialize.
#[derive(Debug, thiserror::Error)]
#[error("not captured")]
pub(super) struct WriteError;

impl ser::Error for WriteError {
    fn custom<T: Display>(_: T) -> Self {
        Self
    }
}

pub(super) struct Writer<'a> {
    budget: &'a mut Budget,
    stack: Vec<Frame>,
    done: Json,
    wrappers: usize,
    cut: u64,
    is_full: bool,
}

/// An incomplete array, object or entry name.
enum Frame {
    Array(Vec<Json>),
    /// With the name of the next entry. `None` leaves that entry out.
    Object(Map<String, Json>, Option<String>),
    /// The name of an entry, which may be of any type.
    Name(Json),
}

impl<'a> Writer<'a> {
    pub(super) fn new(budget: &'a mut Budget) -> Self {
        Self {
            budget,
            stack: Vec::new(),
            done: Json::Null,
            wrappers: 0,
            cut: 0,
            is_full: false,
        }
    }

    pub(super) fn is_full(&self) -> bool {
        self.is_full
    }

    /// Returns the JSON, and a lower bound for the number of values that were left out or
    /// shortened.
    pub(super) fn finish(mut self) -> (Json, u64) {
        while !self.stack.is_empty() {
            self.close();
        }
        (self.done, self.cut)
    }

    pub(super) fn text(&mut self, text: &str) -> Result<(), WriteError> {
        self.count(true)?;
        let limit = MAX_TEXT_BYTES.min(self.budget.bytes);
        let kept = shorten(text, limit, &mut self.cut);
        self.budget.bytes -= kept.len();
        self.put(Json::String(kept));
        Ok(())
    }

    pub(super) fn scalar(&mut self, value: impl IntoJson) -> Result<(), WriteError> {
        let value = value.into_json();
        self.count(!value.is_null())?;
        self.put(value);
        Ok(())
    }

    /// Counts a value.
    ///
    /// # Errors
    /// A limit of the call is reached.
    pub(super) fn count(&mut self, is_value: bool) -> Result<(), WriteError> {
        if self.is_full || self.budget.nodes == 0 || (is_value && self.budget.values == 0) {
            self.cut += u64::from(!self.is_full);
            self.is_full = true;
            return Err(WriteError);
        }
        self.budget.nodes -= 1;
        self.budget.values -= usize::from(is_value);
        Ok(())
    }

    fn put(&mut self, value: Json) {
        match self.stack.last_mut() {
            None => self.done = value,
            Some(Frame::Array(items)) => items.push(value),
            Some(Frame::Name(name)) => *name = value,
            Some(Frame::Object(entries, name)) => match name.take() {
                Some(name) => {
                    entries.insert(name, value);
                }
                None => self.cut += 1,
            },
        }
    }

    /// Opens an array. Returns false if it is nested too deeply. It then counts as cut, and its
    /// content must not be written.
    pub(super) fn open_array(&mut self) -> Result<bool, WriteError> {
        self.open(Frame::Array(Vec::new()))
    }

    /// Opens an object. As [`open_array`](Self::open_array).
    pub(super) fn open_object(&mut self) -> Result<bool, WriteError> {
        self.open(Frame::Object(Map::new(), None))
    }

    fn open(&mut self, frame: Frame) -> Result<bool, WriteError> {
        self.count(false)?;
        let fits = self.stack.len() + 1 < MAX_DEPTH;
        if fits {
            self.stack.push(frame);
        } else {
            self.cut += 1;
            self.put(Json::Null);
        }
        Ok(fits)
    }

    /// Closes the innermost array or object.
    pub(super) fn close(&mut self) {
        match self.stack.pop() {
            Some(Frame::Array(items)) => self.put(Json::Array(items)),
            Some(Frame::Object(entries, _)) => self.put(Json::Object(entries)),
            Some(Frame::Name(_)) | None => {}
        }
    }

    /// Sets the name of the next entry.
    pub(super) fn name(&mut self, text: &str) {
        let fits = text.len() <= MAX_NAME_BYTES.min(self.budget.bytes);
        if fits {
            self.budget.bytes -= text.len();
        }
        if let Some(Frame::Object(_, name)) = self.stack.last_mut() {
            *name = fits.then(|| text.to_owned());
        }
    }

    /// Sets the name of the next entry to a serialized text, number or boolean.
    pub(super) fn name_by(
        &mut self,
        write: impl FnOnce(&mut Self) -> Result<(), WriteError>,
    ) -> Result<(), WriteError> {
        self.stack.push(Frame::Name(Json::Null));
        // A name does not count as a value.
        self.budget.values += 1;
        let written = write(self);
        let Some(Frame::Name(name)) = self.stack.pop() else {
            return Err(WriteError);
        };
        written?;
        match name {
            Json::String(name) => self.name(&name),
            Json::Number(_) | Json::Bool(_) => self.name(&name.to_string()),
            Json::Null | Json::Array(_) | Json::Object(_) => return Err(WriteError),
        }
        Ok(())
    }

    /// Writes a value of an array or object.
    pub(super) fn item(&mut self, write: impl FnOnce(&mut Self) -> Result<(), WriteError>) -> Result<(), WriteError> {
        let wrappers = std::mem::take(&mut self.wrappers);
        let result = write(self);
        self.wrappers = wrappers;
        result
    }

    /// Writes a wrapped value.
    pub(super) fn wrapped(
        &mut self,
        write: impl FnOnce(&mut Self) -> Result<(), WriteError>,
    ) -> Result<(), WriteError> {
        if self.wrappers == MAX_WRAPPERS {
            self.cut += 1;
            return self.scalar(Json::Null);
        }
        self.wrappers += 1;
        let result = write(self);
        self.wrappers -= 1;
        result
    }

    /// Counts a value that was shortened before it was written.
    pub(super) fn note_cut(&mut self, cut: bool) {
        self.cut += u64::from(cut);
    }
}

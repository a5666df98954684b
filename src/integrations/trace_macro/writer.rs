//! JSON that is written value by value, and stops at the bounds of a call.
//!
//! Lists and tables that are not complete yet are on a stack. So if a value has to stop, what it wrote so far is kept.

use std::fmt::Display;

use serde::ser;
use serde_json::{Map, Value as Json};

use crate::backend::{MAX_DEPTH, MAX_NAME_BYTES, MAX_TEXT_BYTES, MAX_VALUES, shorten};
use crate::util::json_number::IntoJson;

/// Bytes of all names and texts of a call.
pub(super) const MAX_BYTES: usize = 256 << 10;
/// Nulls, empty tables and the like, which do not count as values and still take time.
const MAX_NODES: usize = 8 * MAX_VALUES;
/// How often a value may be wrapped (in an `Option`, a newtype) without a table or a list in between.
const MAX_WRAPPERS: usize = 64;

/// What a call may still write.
pub(super) struct Left {
    values: usize,
    nodes: usize,
    bytes: usize,
}

impl Default for Left {
    fn default() -> Self {
        Self {
            values: MAX_VALUES,
            nodes: MAX_NODES,
            bytes: MAX_BYTES,
        }
    }
}

/// A value has to stop, or its own code failed.
#[derive(Debug, thiserror::Error)]
#[error("not captured")]
pub(super) struct Refused;

impl ser::Error for Refused {
    fn custom<T: Display>(_: T) -> Self {
        Self
    }
}

pub(super) struct Writer<'a> {
    left: &'a mut Left,
    stack: Vec<Frame>,
    done: Json,
    wrappers: usize,
    cut: u64,
    is_full: bool,
}

/// A list or a table that is not complete yet.
enum Frame {
    List(Vec<Json>),
    /// With the name of the next entry. `None` if that entry is left out.
    Table(Map<String, Json>, Option<String>),
    /// The name of an entry, which may be of any type.
    Name(Json),
}

impl<'a> Writer<'a> {
    pub(super) fn new(left: &'a mut Left) -> Self {
        Self {
            left,
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

    /// Returns what was written, and the least number of values that were left out or shortened.
    pub(super) fn finish(mut self) -> (Json, u64) {
        while !self.stack.is_empty() {
            self.close();
        }
        (self.done, self.cut)
    }

    pub(super) fn text(&mut self, text: &str) -> Result<(), Refused> {
        self.count(true)?;
        let room = MAX_TEXT_BYTES.min(self.left.bytes);
        let kept = shorten(text, room, &mut self.cut);
        self.left.bytes -= kept.len();
        self.put(Json::String(kept));
        Ok(())
    }

    pub(super) fn scalar(&mut self, value: impl IntoJson) -> Result<(), Refused> {
        let value = value.into_json();
        self.count(!value.is_null())?;
        self.put(value);
        Ok(())
    }

    /// Counts a value.
    ///
    /// # Errors
    /// A bound of the call is reached.
    pub(super) fn count(&mut self, is_value: bool) -> Result<(), Refused> {
        if self.is_full || self.left.nodes == 0 || (is_value && self.left.values == 0) {
            self.cut += u64::from(!self.is_full);
            self.is_full = true;
            return Err(Refused);
        }
        self.left.nodes -= 1;
        self.left.values -= usize::from(is_value);
        Ok(())
    }

    fn put(&mut self, value: Json) {
        match self.stack.last_mut() {
            None => self.done = value,
            Some(Frame::List(items)) => items.push(value),
            Some(Frame::Name(name)) => *name = value,
            Some(Frame::Table(entries, name)) => match name.take() {
                Some(name) => {
                    entries.insert(name, value);
                }
                None => self.cut += 1,
            },
        }
    }

    /// Opens a list. Returns false if it would lie too deep; it counts as cut then, and nothing in it may be written.
    pub(super) fn open_list(&mut self) -> Result<bool, Refused> {
        self.open(Frame::List(Vec::new()))
    }

    /// Opens a table. As [`open_list`](Self::open_list).
    pub(super) fn open_table(&mut self) -> Result<bool, Refused> {
        self.open(Frame::Table(Map::new(), None))
    }

    fn open(&mut self, frame: Frame) -> Result<bool, Refused> {
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

    /// Closes the innermost list or table.
    pub(super) fn close(&mut self) {
        match self.stack.pop() {
            Some(Frame::List(items)) => self.put(Json::Array(items)),
            Some(Frame::Table(entries, _)) => self.put(Json::Object(entries)),
            Some(Frame::Name(_)) | None => {}
        }
    }

    /// Sets the name of the next entry.
    pub(super) fn name(&mut self, text: &str) {
        let fits = text.len() <= MAX_NAME_BYTES.min(self.left.bytes);
        if fits {
            self.left.bytes -= text.len();
        }
        if let Some(Frame::Table(_, name)) = self.stack.last_mut() {
            *name = fits.then(|| text.to_owned());
        }
    }

    /// Sets the name of the next entry to what a value writes: a text, a number or a boolean.
    pub(super) fn name_by(&mut self, write: impl FnOnce(&mut Self) -> Result<(), Refused>) -> Result<(), Refused> {
        self.stack.push(Frame::Name(Json::Null));
        // A name does not count as a value.
        self.left.values += 1;
        let written = write(self);
        let Some(Frame::Name(name)) = self.stack.pop() else {
            return Err(Refused);
        };
        written?;
        match name {
            Json::String(name) => self.name(&name),
            Json::Number(_) | Json::Bool(_) => self.name(&name.to_string()),
            Json::Null | Json::Array(_) | Json::Object(_) => return Err(Refused),
        }
        Ok(())
    }

    /// Writes a value that lies in a list or a table.
    pub(super) fn item(&mut self, write: impl FnOnce(&mut Self) -> Result<(), Refused>) -> Result<(), Refused> {
        let wrappers = std::mem::take(&mut self.wrappers);
        let result = write(self);
        self.wrappers = wrappers;
        result
    }

    /// Writes a value that is wrapped in another.
    pub(super) fn wrapped(&mut self, write: impl FnOnce(&mut Self) -> Result<(), Refused>) -> Result<(), Refused> {
        if self.wrappers == MAX_WRAPPERS {
            self.cut += 1;
            return self.scalar(Json::Null);
        }
        self.wrappers += 1;
        let result = write(self);
        self.wrappers -= 1;
        result
    }

    /// Counts values that were shortened before they were written.
    pub(super) fn note_cut(&mut self, cut: bool) {
        self.cut += u64::from(cut);
    }
}

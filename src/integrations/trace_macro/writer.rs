//! A serializer that makes JSON, and stops where a call's bounds are reached.
//!
//! What is being made lies on a stack of its own: when a value is told to stop, what it wrote so far is still there.

use std::fmt::Display;

use serde::ser::{self, Serialize, Serializer};
use serde_json::{Map, Number, Value as Json};

use super::parts::Parts;
use super::text;
use crate::backend::{MAX_DEPTH, MAX_NAME_BYTES, MAX_TEXT_BYTES, MAX_VALUES, shorten};
use crate::util::json_number::IntoJson;

/// Bytes of all names and texts of a call.
pub(super) const MAX_BYTES: usize = 256 << 10;
/// Nulls, empty tables and the like, which are no values and take time all the same.
const MAX_NODES: usize = 8 * MAX_VALUES;
/// How often a value may be wrapped (in an `Option`, a newtype) without a table or a list between.
const MAX_WRAPPERS: usize = 64;

/// What a call may still write.
pub(super) struct Left {
    pub(super) values: usize,
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

/// A value is told to stop, or said that it cannot be told.
#[derive(Debug, thiserror::Error)]
#[error("not told")]
pub(super) struct Refused;

impl ser::Error for Refused {
    fn custom<T: Display>(_: T) -> Self {
        Self
    }
}

pub(super) struct Writer<'a> {
    pub(super) left: &'a mut Left,
    pub(super) stack: Vec<Frame>,
    done: Json,
    pub(super) wrappers: usize,
    cut: u64,
    is_full: bool,
}

/// What a value lies in that is being made.
pub(super) enum Frame {
    List(Vec<Json>),
    /// With the name of the entry that comes next; none where that is to be left out.
    Table(Map<String, Json>, Option<String>),
    /// The name of an entry, which may be any value as well.
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

    /// What was written, and how many values were left out or shortened, at the least.
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

    fn scalar(&mut self, value: impl IntoJson) -> Result<(), Refused> {
        let value = value.into_json();
        self.count(!value.is_null())?;
        self.put(value);
        Ok(())
    }

    /// Counts a value, or stops.
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

    pub(super) fn close(&mut self) {
        match self.stack.pop() {
            Some(Frame::List(items)) => self.put(Json::Array(items)),
            Some(Frame::Table(entries, _)) => self.put(Json::Object(entries)),
            Some(Frame::Name(_)) | None => {}
        }
    }

    /// The name of the entry that comes next.
    pub(super) fn name(&mut self, text: &str) {
        let fits = text.len() <= MAX_NAME_BYTES.min(self.left.bytes);
        if fits {
            self.left.bytes -= text.len();
        }
        if let Some(Frame::Table(_, name)) = self.stack.last_mut() {
            *name = fits.then(|| text.to_owned());
        }
    }

    /// Opens a list or a table. One that would lie too deep is counted as cut, and nothing in it is looked at.
    fn open(&mut self, frame: Frame) -> Result<Parts<'_, 'a>, Refused> {
        self.count(false)?;
        let is_skipped = self.stack.len() + 1 >= MAX_DEPTH;
        if is_skipped {
            self.cut += 1;
            self.put(Json::Null);
        } else {
            self.stack.push(frame);
        }
        Ok(Parts {
            writer: self,
            is_skipped,
            closes: usize::from(!is_skipped),
        })
    }

    /// A table with one entry, which is the variant of an enum, and what lies in it.
    fn open_variant(&mut self, variant: &str, frame: Frame) -> Result<Parts<'_, 'a>, Refused> {
        let outer = self.open(table())?;
        if outer.is_skipped {
            return Ok(outer);
        }
        let Parts { writer, closes, .. } = outer;
        writer.name(variant);
        let mut inner = writer.open(frame)?;
        inner.closes += closes;
        Ok(inner)
    }

    fn wrapped<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Refused> {
        if self.wrappers == MAX_WRAPPERS {
            self.cut += 1;
            return self.scalar(Json::Null);
        }
        self.wrappers += 1;
        let result = value.serialize(&mut *self);
        self.wrappers -= 1;
        result
    }
}

fn table() -> Frame {
    Frame::Table(Map::new(), None)
}

/// What is one value already.
macro_rules! scalars {
    ($($method:ident: $of:ty),*) => {$(
        fn $method(self, value: $of) -> Result<(), Refused> {
            self.scalar(value)
        }
    )*};
}

impl<'w, 'a> Serializer for &'w mut Writer<'a> {
    type Ok = ();
    type Error = Refused;
    type SerializeSeq = Parts<'w, 'a>;
    type SerializeTuple = Parts<'w, 'a>;
    type SerializeTupleStruct = Parts<'w, 'a>;
    type SerializeTupleVariant = Parts<'w, 'a>;
    type SerializeMap = Parts<'w, 'a>;
    type SerializeStruct = Parts<'w, 'a>;
    type SerializeStructVariant = Parts<'w, 'a>;

    scalars! {
        serialize_bool: bool,
        serialize_i8: i8,
        serialize_i16: i16,
        serialize_i32: i32,
        serialize_i64: i64,
        serialize_u8: u8,
        serialize_u16: u16,
        serialize_u32: u32,
        serialize_u64: u64,
        serialize_f32: f32,
        serialize_f64: f64
    }

    fn serialize_i128(self, value: i128) -> Result<(), Refused> {
        match Number::from_i128(value) {
            Some(number) => self.scalar(number),
            None => self.text(&value.to_string()),
        }
    }

    fn serialize_u128(self, value: u128) -> Result<(), Refused> {
        match Number::from_u128(value) {
            Some(number) => self.scalar(number),
            None => self.text(&value.to_string()),
        }
    }

    fn serialize_char(self, value: char) -> Result<(), Refused> {
        self.text(value.encode_utf8(&mut [0; 4]))
    }

    fn serialize_str(self, value: &str) -> Result<(), Refused> {
        self.text(value)
    }

    /// Bytes are told by how many they are.
    fn serialize_bytes(self, value: &[u8]) -> Result<(), Refused> {
        self.text(&format!("<{} bytes>", value.len()))
    }

    fn serialize_none(self) -> Result<(), Refused> {
        self.scalar(Json::Null)
    }

    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Result<(), Refused> {
        self.wrapped(value)
    }

    fn serialize_unit(self) -> Result<(), Refused> {
        self.scalar(Json::Null)
    }

    fn serialize_unit_struct(self, _: &'static str) -> Result<(), Refused> {
        self.scalar(Json::Null)
    }

    fn serialize_unit_variant(self, _: &'static str, _: u32, variant: &'static str) -> Result<(), Refused> {
        self.text(variant)
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(self, _: &'static str, value: &T) -> Result<(), Refused> {
        self.wrapped(value)
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
        value: &T,
    ) -> Result<(), Refused> {
        let mut parts = self.open(table())?;
        parts.entry(variant, value)?;
        parts.close();
        Ok(())
    }

    fn serialize_seq(self, _: Option<usize>) -> Result<Parts<'w, 'a>, Refused> {
        self.open(Frame::List(Vec::new()))
    }

    fn serialize_tuple(self, _: usize) -> Result<Parts<'w, 'a>, Refused> {
        self.open(Frame::List(Vec::new()))
    }

    fn serialize_tuple_struct(self, _: &'static str, _: usize) -> Result<Parts<'w, 'a>, Refused> {
        self.open(Frame::List(Vec::new()))
    }

    fn serialize_tuple_variant(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
        _: usize,
    ) -> Result<Parts<'w, 'a>, Refused> {
        self.open_variant(variant, Frame::List(Vec::new()))
    }

    fn serialize_map(self, _: Option<usize>) -> Result<Parts<'w, 'a>, Refused> {
        self.open(table())
    }

    fn serialize_struct(self, _: &'static str, _: usize) -> Result<Parts<'w, 'a>, Refused> {
        self.open(table())
    }

    fn serialize_struct_variant(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
        _: usize,
    ) -> Result<Parts<'w, 'a>, Refused> {
        self.open_variant(variant, table())
    }

    /// What displays itself writes no more than is kept.
    fn collect_str<T: Display + ?Sized>(self, value: &T) -> Result<(), Refused> {
        let text = text::display(value);
        self.cut += u64::from(text.is_cut);
        self.text(&text.text)
    }
}

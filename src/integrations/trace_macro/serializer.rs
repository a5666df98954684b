//! Implements serde's `Serializer` for [`Writer`].

use std::fmt::Display;

use serde::ser::{self, Serialize, Serializer};
use serde_json::{Number, Value as Json};

use super::text;
use super::writer::{WriteError, Writer};

/// An array or object that is being written.
pub(super) struct Compound<'w, 'a> {
    writer: &'w mut Writer<'a>,
    /// Whether it is nested too deeply, so its content is left out.
    is_skipped: bool,
    /// Number of arrays and objects that end with it.
    closes: usize,
}

impl<'w, 'a> Compound<'w, 'a> {
    fn array(writer: &'w mut Writer<'a>) -> Result<Self, WriteError> {
        let is_open = writer.open_array()?;
        Ok(Self::new(writer, is_open))
    }

    fn object(writer: &'w mut Writer<'a>) -> Result<Self, WriteError> {
        let is_open = writer.open_object()?;
        Ok(Self::new(writer, is_open))
    }

    fn new(writer: &'w mut Writer<'a>, is_open: bool) -> Self {
        Self {
            writer,
            is_skipped: !is_open,
            closes: usize::from(is_open),
        }
    }

    /// Opens an object with one entry, named after an enum variant, and the array or object in it.
    fn variant(
        writer: &'w mut Writer<'a>,
        variant: &str,
        open: impl FnOnce(&'w mut Writer<'a>) -> Result<Self, WriteError>,
    ) -> Result<Self, WriteError> {
        let outer = Self::object(writer)?;
        if outer.is_skipped {
            return Ok(outer);
        }
        outer.writer.name(variant);
        let mut inner = open(outer.writer)?;
        inner.closes += outer.closes;
        Ok(inner)
    }

    fn item<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), WriteError> {
        if self.is_skipped {
            return self.writer.count(false);
        }
        self.writer.item(|writer| value.serialize(writer))
    }

    fn entry<T: Serialize + ?Sized>(&mut self, name: &str, value: &T) -> Result<(), WriteError> {
        if !self.is_skipped {
            self.writer.name(name);
        }
        self.item(value)
    }

    fn close(self) {
        for _ in 0..self.closes {
            self.writer.close();
        }
    }
}

/// Implements serde's compound traits, which differ in method names only.
macro_rules! compounds {
    ($($kind:ident: $method:ident($($name:ident)?) by $write:ident),*) => {$(
        impl ser::$kind for Compound<'_, '_> {
            type Ok = ();
            type Error = WriteError;

            fn $method<T: Serialize + ?Sized>(&mut self, $($name: &'static str,)? value: &T) -> Result<(), WriteError> {
                self.$write($($name,)? value)
            }

            fn end(self) -> Result<(), WriteError> {
                self.close();
                Ok(())
            }
        }
    )*};
}

compounds! {
    SerializeSeq: serialize_element() by item,
    SerializeTuple: serialize_element() by item,
    SerializeTupleStruct: serialize_field() by item,
    SerializeTupleVariant: serialize_field() by item,
    SerializeStruct: serialize_field(name) by entry,
    SerializeStructVariant: serialize_field(name) by entry
}

impl ser::SerializeMap for Compound<'_, '_> {
    type Ok = ();
    type Error = WriteError;

    fn serialize_key<T: Serialize + ?Sized>(&mut self, key: &T) -> Result<(), WriteError> {
        if self.is_skipped {
            return Ok(());
        }
        self.writer.name_by(|writer| key.serialize(writer))
    }

    fn serialize_value<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), WriteError> {
        self.item(value)
    }

    fn end(self) -> Result<(), WriteError> {
        self.close();
        Ok(())
    }
}

/// Implements one method for each scalar type.
macro_rules! scalars {
    ($($method:ident: $of:ty),*) => {$(
        fn $method(self, value: $of) -> Result<(), WriteError> {
            self.scalar(value)
        }
    )*};
}

impl<'w, 'a> Serializer for &'w mut Writer<'a> {
    type Ok = ();
    type Error = WriteError;
    type SerializeSeq = Compound<'w, 'a>;
    type SerializeTuple = Compound<'w, 'a>;
    type SerializeTupleStruct = Compound<'w, 'a>;
    type SerializeTupleVariant = Compound<'w, 'a>;
    type SerializeMap = Compound<'w, 'a>;
    type SerializeStruct = Compound<'w, 'a>;
    type SerializeStructVariant = Compound<'w, 'a>;

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

    fn serialize_i128(self, value: i128) -> Result<(), WriteError> {
        match Number::from_i128(value) {
            Some(number) => self.scalar(number),
            None => self.text(&value.to_string()),
        }
    }

    fn serialize_u128(self, value: u128) -> Result<(), WriteError> {
        match Number::from_u128(value) {
            Some(number) => self.scalar(number),
            None => self.text(&value.to_string()),
        }
    }

    fn serialize_char(self, value: char) -> Result<(), WriteError> {
        self.text(value.encode_utf8(&mut [0; 4]))
    }

    fn serialize_str(self, value: &str) -> Result<(), WriteError> {
        self.text(value)
    }

    /// Captures the length only.
    fn serialize_bytes(self, value: &[u8]) -> Result<(), WriteError> {
        self.text(&format!("<{} bytes>", value.len()))
    }

    fn serialize_none(self) -> Result<(), WriteError> {
        self.scalar(Json::Null)
    }

    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Result<(), WriteError> {
        self.wrapped(|writer| value.serialize(writer))
    }

    fn serialize_unit(self) -> Result<(), WriteError> {
        self.scalar(Json::Null)
    }

    fn serialize_unit_struct(self, _: &'static str) -> Result<(), WriteError> {
        self.scalar(Json::Null)
    }

    fn serialize_unit_variant(self, _: &'static str, _: u32, variant: &'static str) -> Result<(), WriteError> {
        self.text(variant)
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(self, _: &'static str, value: &T) -> Result<(), WriteError> {
        self.wrapped(|writer| value.serialize(writer))
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
        value: &T,
    ) -> Result<(), WriteError> {
        let mut object = Compound::object(self)?;
        object.entry(variant, value)?;
        object.close();
        Ok(())
    }

    fn serialize_seq(self, _: Option<usize>) -> Result<Compound<'w, 'a>, WriteError> {
        Compound::array(self)
    }

    fn serialize_tuple(self, _: usize) -> Result<Compound<'w, 'a>, WriteError> {
        Compound::array(self)
    }

    fn serialize_tuple_struct(self, _: &'static str, _: usize) -> Result<Compound<'w, 'a>, WriteError> {
        Compound::array(self)
    }

    fn serialize_tuple_variant(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
        _: usize,
    ) -> Result<Compound<'w, 'a>, WriteError> {
        Compound::variant(self, variant, Compound::array)
    }

    fn serialize_map(self, _: Option<usize>) -> Result<Compound<'w, 'a>, WriteError> {
        Compound::object(self)
    }

    fn serialize_struct(self, _: &'static str, _: usize) -> Result<Compound<'w, 'a>, WriteError> {
        Compound::object(self)
    }

    fn serialize_struct_variant(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
        _: usize,
    ) -> Result<Compound<'w, 'a>, WriteError> {
        Compound::variant(self, variant, Compound::object)
    }

    /// Formats no more than the limit of a text.
    fn collect_str<T: Display + ?Sized>(self, value: &T) -> Result<(), WriteError> {
        let text = text::display(value);
        self.note_cut(text.is_cut);
        self.text(&text.text)
    }
}

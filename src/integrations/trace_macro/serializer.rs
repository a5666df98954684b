//! Serde's side of a [`Writer`]: values, and the lists and tables that they lie in.

use std::fmt::Display;

use serde::ser::{self, Serialize, Serializer};
use serde_json::{Number, Value as Json};

use super::text;
use super::writer::{Refused, Writer};

/// A list or a table that is being written.
pub(super) struct Parts<'w, 'a> {
    writer: &'w mut Writer<'a>,
    /// It lies too deep: nothing in it is written.
    is_skipped: bool,
    /// How many lists and tables end with it.
    closes: usize,
}

impl<'w, 'a> Parts<'w, 'a> {
    fn list(writer: &'w mut Writer<'a>) -> Result<Self, Refused> {
        let is_open = writer.open_list()?;
        Ok(Self::new(writer, is_open))
    }

    fn table(writer: &'w mut Writer<'a>) -> Result<Self, Refused> {
        let is_open = writer.open_table()?;
        Ok(Self::new(writer, is_open))
    }

    fn new(writer: &'w mut Writer<'a>, is_open: bool) -> Self {
        Self {
            writer,
            is_skipped: !is_open,
            closes: usize::from(is_open),
        }
    }

    /// A table with one entry, whose name is the variant of an enum, and the list or table in it.
    fn variant(
        writer: &'w mut Writer<'a>,
        variant: &str,
        open: impl FnOnce(&'w mut Writer<'a>) -> Result<Self, Refused>,
    ) -> Result<Self, Refused> {
        let outer = Self::table(writer)?;
        if outer.is_skipped {
            return Ok(outer);
        }
        outer.writer.name(variant);
        let mut inner = open(outer.writer)?;
        inner.closes += outer.closes;
        Ok(inner)
    }

    fn item<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Refused> {
        if self.is_skipped {
            return self.writer.count(false);
        }
        self.writer.item(|writer| value.serialize(writer))
    }

    fn entry<T: Serialize + ?Sized>(&mut self, name: &str, value: &T) -> Result<(), Refused> {
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

/// Serde has a trait for each kind of list and of table, which differ in the name of a method.
macro_rules! parts {
    ($($kind:ident: $method:ident($($name:ident)?) by $write:ident),*) => {$(
        impl ser::$kind for Parts<'_, '_> {
            type Ok = ();
            type Error = Refused;

            fn $method<T: Serialize + ?Sized>(&mut self, $($name: &'static str,)? value: &T) -> Result<(), Refused> {
                self.$write($($name,)? value)
            }

            fn end(self) -> Result<(), Refused> {
                self.close();
                Ok(())
            }
        }
    )*};
}

parts! {
    SerializeSeq: serialize_element() by item,
    SerializeTuple: serialize_element() by item,
    SerializeTupleStruct: serialize_field() by item,
    SerializeTupleVariant: serialize_field() by item,
    SerializeStruct: serialize_field(name) by entry,
    SerializeStructVariant: serialize_field(name) by entry
}

impl ser::SerializeMap for Parts<'_, '_> {
    type Ok = ();
    type Error = Refused;

    fn serialize_key<T: Serialize + ?Sized>(&mut self, key: &T) -> Result<(), Refused> {
        if self.is_skipped {
            return Ok(());
        }
        self.writer.name_by(|writer| key.serialize(writer))
    }

    fn serialize_value<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Refused> {
        self.item(value)
    }

    fn end(self) -> Result<(), Refused> {
        self.close();
        Ok(())
    }
}

/// Values of one method each.
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

    /// Of bytes only their number is captured.
    fn serialize_bytes(self, value: &[u8]) -> Result<(), Refused> {
        self.text(&format!("<{} bytes>", value.len()))
    }

    fn serialize_none(self) -> Result<(), Refused> {
        self.scalar(Json::Null)
    }

    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Result<(), Refused> {
        self.wrapped(|writer| value.serialize(writer))
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
        self.wrapped(|writer| value.serialize(writer))
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
        value: &T,
    ) -> Result<(), Refused> {
        let mut parts = Parts::table(self)?;
        parts.entry(variant, value)?;
        parts.close();
        Ok(())
    }

    fn serialize_seq(self, _: Option<usize>) -> Result<Parts<'w, 'a>, Refused> {
        Parts::list(self)
    }

    fn serialize_tuple(self, _: usize) -> Result<Parts<'w, 'a>, Refused> {
        Parts::list(self)
    }

    fn serialize_tuple_struct(self, _: &'static str, _: usize) -> Result<Parts<'w, 'a>, Refused> {
        Parts::list(self)
    }

    fn serialize_tuple_variant(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
        _: usize,
    ) -> Result<Parts<'w, 'a>, Refused> {
        Parts::variant(self, variant, Parts::list)
    }

    fn serialize_map(self, _: Option<usize>) -> Result<Parts<'w, 'a>, Refused> {
        Parts::table(self)
    }

    fn serialize_struct(self, _: &'static str, _: usize) -> Result<Parts<'w, 'a>, Refused> {
        Parts::table(self)
    }

    fn serialize_struct_variant(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
        _: usize,
    ) -> Result<Parts<'w, 'a>, Refused> {
        Parts::variant(self, variant, Parts::table)
    }

    /// Writes no more than is kept.
    fn collect_str<T: Display + ?Sized>(self, value: &T) -> Result<(), Refused> {
        let text = text::display(value);
        self.note_cut(text.is_cut);
        self.text(&text.text)
    }
}

//! Lists and tables while they are written.

use serde::ser::{self, Serialize};
use serde_json::Value as Json;

use super::writer::{Frame, Refused, Writer};

/// A list or a table that is being written.
pub(super) struct Parts<'w, 'a> {
    pub(super) writer: &'w mut Writer<'a>,
    pub(super) is_skipped: bool,
    pub(super) closes: usize,
}

impl Parts<'_, '_> {
    fn item<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Refused> {
        if self.is_skipped {
            return self.writer.count(false);
        }
        let wrappers = std::mem::take(&mut self.writer.wrappers);
        let result = value.serialize(&mut *self.writer);
        self.writer.wrappers = wrappers;
        result
    }

    pub(super) fn entry<T: Serialize + ?Sized>(&mut self, name: &str, value: &T) -> Result<(), Refused> {
        if !self.is_skipped {
            self.writer.name(name);
        }
        self.item(value)
    }

    pub(super) fn close(self) {
        for _ in 0..self.closes {
            self.writer.close();
        }
    }
}

/// Serde has a trait for each kind of list, and all say the same.
macro_rules! lists {
    ($($list:ident by $method:ident),*) => {$(
        impl ser::$list for Parts<'_, '_> {
            type Ok = ();
            type Error = Refused;

            fn $method<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Refused> {
                self.item(value)
            }

            fn end(self) -> Result<(), Refused> {
                self.close();
                Ok(())
            }
        }
    )*};
}

lists! {
    SerializeSeq by serialize_element,
    SerializeTuple by serialize_element,
    SerializeTupleStruct by serialize_field,
    SerializeTupleVariant by serialize_field
}

impl ser::SerializeMap for Parts<'_, '_> {
    type Ok = ();
    type Error = Refused;

    fn serialize_key<T: Serialize + ?Sized>(&mut self, key: &T) -> Result<(), Refused> {
        if self.is_skipped {
            return Ok(());
        }
        self.writer.stack.push(Frame::Name(Json::Null));
        // A name is no value.
        self.writer.left.values += 1;
        let written = key.serialize(&mut *self.writer);
        let name = match (written, self.writer.stack.pop()) {
            (Ok(()), Some(Frame::Name(name))) => name,
            (Ok(()), _) => return Err(Refused),
            (Err(refused), _) => return Err(refused),
        };
        match name {
            Json::String(name) => self.writer.name(&name),
            Json::Number(_) | Json::Bool(_) => self.writer.name(&name.to_string()),
            Json::Null | Json::Array(_) | Json::Object(_) => return Err(Refused),
        }
        Ok(())
    }

    fn serialize_value<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Refused> {
        self.item(value)
    }

    fn end(self) -> Result<(), Refused> {
        self.close();
        Ok(())
    }
}

impl ser::SerializeStruct for Parts<'_, '_> {
    type Ok = ();
    type Error = Refused;

    fn serialize_field<T: Serialize + ?Sized>(&mut self, name: &'static str, value: &T) -> Result<(), Refused> {
        self.entry(name, value)
    }

    fn end(self) -> Result<(), Refused> {
        self.close();
        Ok(())
    }
}

impl ser::SerializeStructVariant for Parts<'_, '_> {
    type Ok = ();
    type Error = Refused;

    fn serialize_field<T: Serialize + ?Sized>(&mut self, name: &'static str, value: &T) -> Result<(), Refused> {
        self.entry(name, value)
    }

    fn end(self) -> Result<(), Refused> {
        self.close();
        Ok(())
    }
}

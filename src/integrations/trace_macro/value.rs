//! An argument or a result, told by the best of what its type can do: `Serialize`, else `Debug`, else the type's name.
//!
//! A method call takes the first receiver that has the method, and goes through references from the outermost to the innermost one. So the best
//! way is that of the most references, and the call is `(&&&Value(&x)).tracer_registry_tell(..)`.
//! The method has a name that nobody else gives to a method of everything.

use std::any::type_name;
use std::fmt::Debug;

use serde::Serialize;
use serde_json::Value as Json;

use super::capture::Capture;
use super::text;

/// A value to be told.
pub struct Value<'a, T: ?Sized>(pub &'a T);

/// Tells what has `Serialize`.
pub trait BySerialize {
    /// Tells it under a name.
    fn tracer_registry_tell(&self, into: &mut Capture, name: &'static str);
}

/// Tells what has `Debug`.
pub trait ByDebug {
    /// Tells it under a name.
    fn tracer_registry_tell(&self, into: &mut Capture, name: &'static str);
}

/// Tells whatever there is.
pub trait ByName {
    /// Tells it under a name.
    fn tracer_registry_tell(&self, into: &mut Capture, name: &'static str);
}

impl<T: Serialize + ?Sized> BySerialize for &&Value<'_, T> {
    fn tracer_registry_tell(&self, into: &mut Capture, name: &'static str) {
        into.write(name, |writer| self.0.serialize(writer));
    }
}

impl<T: Debug + ?Sized> ByDebug for &Value<'_, T> {
    fn tracer_registry_tell(&self, into: &mut Capture, name: &'static str) {
        into.text(name, &text::debug(self.0));
    }
}

impl<T: ?Sized> ByName for Value<'_, T> {
    fn tracer_registry_tell(&self, into: &mut Capture, name: &'static str) {
        into.put(name, Json::String(format!("<{}>", type_name::<T>())));
    }
}

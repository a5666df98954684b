//! Captures an argument or a result by the best trait of its type: `Serialize`, else `Debug`, else the type's name.
//!
//! A method call takes the first receiver that has the method, and goes through references from the outermost to the innermost one. So the
//! best trait is implemented for the most references, and the call is `(&&&Value(&x)).tracer_registry_record(..)`. The method's name
//! does not occur in other traits that all types have.

use std::any::type_name;
use std::fmt::Debug;

use serde::Serialize;
use serde_json::Value as Json;

use super::capture::Capture;
use super::text;

/// A value to capture.
pub struct Value<'a, T: ?Sized>(pub &'a T);

/// Captures by `Serialize`.
pub trait BySerialize {
    /// Captures it under a name.
    fn tracer_registry_record(&self, capture: &mut Capture, name: &'static str);
}

/// Captures by `Debug`.
pub trait ByDebug {
    /// Captures it under a name.
    fn tracer_registry_record(&self, capture: &mut Capture, name: &'static str);
}

/// Captures the type's name.
pub trait ByName {
    /// Captures it under a name.
    fn tracer_registry_record(&self, capture: &mut Capture, name: &'static str);
}

impl<T: Serialize + ?Sized> BySerialize for &&Value<'_, T> {
    fn tracer_registry_record(&self, capture: &mut Capture, name: &'static str) {
        capture.write(name, |writer| self.0.serialize(writer));
    }
}

impl<T: Debug + ?Sized> ByDebug for &Value<'_, T> {
    fn tracer_registry_record(&self, capture: &mut Capture, name: &'static str) {
        capture.text(name, &text::debug(self.0));
    }
}

impl<T: ?Sized> ByName for Value<'_, T> {
    fn tracer_registry_record(&self, capture: &mut Capture, name: &'static str) {
        capture.put(name, Json::String(format!("<{}>", type_name::<T>())));
    }
}

//! Captures an argument or a result by `Serialize`, else by `Debug`, else by its type name.
//!
//! Uses autoref specialization: a method call takes the first receiver that has the method, from
//! the outermost reference inwards. So the preferred trait is implemented for the most references,
//! and the call is `(&&&Value(&x)).tracer_registry_record(..)`. No blanket-implemented trait has a
//! method of that name.

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
    /// Captures the value under a name.
    fn tracer_registry_record(&self, capture: &mut Capture, name: &'static str);
}

/// Captures by `Debug`.
pub trait ByDebug {
    /// Captures the value under a name.
    fn tracer_registry_record(&self, capture: &mut Capture, name: &'static str);
}

/// Captures the type name.
pub trait ByName {
    /// Captures the value under a name.
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
        capture.insert(name, Json::String(format!("<{}>", type_name::<T>())));
    }
}

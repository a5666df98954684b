//! Types that the options `name`, `tracer`, `session` and `registry` accept.

use std::borrow::Cow;
use std::fmt::Display;

use super::text::display;
use crate::registry::TracerRegistry;
use crate::session::Session;
use crate::tracer::TracerHandle;

/// The type of `name = ...`.
#[diagnostic::on_unimplemented(
    message = "`name` cannot be a `{Self}`",
    label = "not a span's name",
    note = "expected an `Into<Cow<'static, str>>`, such as a `&'static str` or a `String`"
)]
pub trait NameOption: Into<Cow<'static, str>> {}

#[diagnostic::do_not_recommend]
impl<N: Into<Cow<'static, str>>> NameOption for N {}

/// The type of `tracer = ...`.
#[diagnostic::on_unimplemented(
    message = "`tracer` cannot be a `{Self}`",
    label = "not a tracer",
    note = "expected a `TracerHandle`, an `Option` of one, or a `Result` of one with a `Display` error"
)]
pub trait TracerOption {
    /// Returns the tracer.
    ///
    /// # Errors
    /// The reason why it cannot be resolved.
    fn tracer(&self) -> Result<TracerHandle, String>;
}

/// The type of `session = ...`.
#[diagnostic::on_unimplemented(
    message = "`session` cannot be a `{Self}`",
    label = "not a session",
    note = "expected a `Session`, or an `Option` of one"
)]
pub trait SessionOption {
    /// Returns the session, if any.
    fn session(&self) -> Option<Session>;
}

/// The type of `registry = ...`.
#[diagnostic::on_unimplemented(message = "`registry` cannot be a `{Self}`", label = "not a `TracerRegistry`")]
pub trait RegistryOption {
    /// Returns the registry.
    fn registry(&self) -> &TracerRegistry;
}

impl TracerOption for TracerHandle {
    fn tracer(&self) -> Result<TracerHandle, String> {
        Ok(self.clone())
    }
}

impl<T: TracerOption + ?Sized> TracerOption for &T {
    fn tracer(&self) -> Result<TracerHandle, String> {
        T::tracer(self)
    }
}

impl<T: TracerOption> TracerOption for Option<T> {
    fn tracer(&self) -> Result<TracerHandle, String> {
        self.as_ref()
            .map_or_else(|| Err("the `tracer` option is `None`".to_owned()), T::tracer)
    }
}

impl<T: TracerOption, E: Display> TracerOption for Result<T, E> {
    fn tracer(&self) -> Result<TracerHandle, String> {
        match self {
            Ok(tracer) => tracer.tracer(),
            Err(error) => Err(display(error).text),
        }
    }
}

impl SessionOption for Session {
    fn session(&self) -> Option<Session> {
        Some(self.clone())
    }
}

impl<T: SessionOption + ?Sized> SessionOption for &T {
    fn session(&self) -> Option<Session> {
        T::session(self)
    }
}

impl<T: SessionOption> SessionOption for Option<T> {
    fn session(&self) -> Option<Session> {
        self.as_ref()?.session()
    }
}

impl RegistryOption for TracerRegistry {
    fn registry(&self) -> &TracerRegistry {
        self
    }
}

impl<T: RegistryOption + ?Sized> RegistryOption for &T {
    fn registry(&self) -> &TracerRegistry {
        T::registry(self)
    }
}

/// Converts the value of the option `registry`.
pub fn registry<R: RegistryOption>(written: &R) -> &TracerRegistry {
    written.registry()
}

/// Converts the value of the option `tenant`, `feature` or `environment`.
pub fn text<T: AsRef<str> + ?Sized>(written: &T) -> &str {
    written.as_ref()
}

//! Values that `Debug` does not show, because a key may be in them by mistake.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::{Deref, DerefMut};

use http::{HeaderName, HeaderValue};

use crate::config::rules::endpoint::Endpoint;

/// A value whose `Debug` shows its names alone, or nothing.
#[derive(Clone, Default, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema), schemars(transparent, inline))]
pub struct Redacted<T>(pub(crate) T);

impl<T> Deref for Redacted<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0
    }
}

impl<T> DerefMut for Redacted<T> {
    fn deref_mut(&mut self) -> &mut T {
        &mut self.0
    }
}

impl<T> fmt::Debug for Redacted<BTreeMap<String, T>> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.keys()).finish()
    }
}

impl fmt::Debug for Redacted<Vec<(HeaderName, HeaderValue)>> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.iter().map(|(name, _)| name)).finish()
    }
}

/// A URL as written: shown only if it is an endpoint, which has no user, no password and no query.
impl fmt::Debug for Redacted<Option<String>> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.as_deref().map(Endpoint::new), f)
    }
}

//! Values that `Debug` hides, because they may contain a misplaced key.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::{Deref, DerefMut};

use http::{HeaderName, HeaderValue};

use crate::config::rules::endpoint::Endpoint;

/// A value with a `Debug` that shows at most names.
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

/// Shows a URL only if it is a valid endpoint, which has no user, password or query.
impl fmt::Debug for Redacted<Option<String>> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.as_deref().map(Endpoint::new), f)
    }
}

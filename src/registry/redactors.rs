//! The redactors of the program, and the tracers that each is for.

use std::fmt;
use std::sync::Arc;

use super::error::BuildError;
use crate::policy::redaction::Redactor;
use crate::selector::{Selector, SelectorBuilder};

/// Redactors as the builder got them.
#[derive(Clone, Default)]
pub(crate) struct GivenRedactors(Vec<(Option<SelectorBuilder>, Arc<dyn Redactor>)>);

/// Redactors in the order in which they were added.
#[derive(Default)]
pub(crate) struct Redactors(Vec<(Selector, Arc<dyn Redactor>)>);

impl GivenRedactors {
    /// Adds a redactor for selectors with all parts of `when`, or for all tracers.
    pub(crate) fn add(&mut self, when: Option<SelectorBuilder>, redactor: Arc<dyn Redactor>) {
        self.0.push((when, redactor));
    }

    /// Checks the selectors.
    pub(crate) fn check(self) -> Result<Redactors, BuildError> {
        let checked = self.0.into_iter().map(|(when, redactor)| {
            let when = when.map(Selector::try_from).transpose();
            Ok((when.map_err(BuildError::Redactor)?.unwrap_or_default(), redactor))
        });
        checked.collect::<Result<_, _>>().map(Redactors)
    }
}

impl Redactors {
    /// Returns the redactors of a tracer.
    pub(crate) fn of(&self, selector: &Selector) -> Vec<Arc<dyn Redactor>> {
        let applies = |when: &Selector| when.parts().all(|(part, name)| selector.get(part) == Some(name));
        let redactors = self.0.iter().filter(|(when, _)| applies(when));
        redactors.map(|(_, redactor)| Arc::clone(redactor)).collect()
    }
}

impl fmt::Debug for GivenRedactors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.0.iter().map(|(when, _)| when)).finish()
    }
}

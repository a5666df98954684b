//! `also`: the tracers that get copies.

use std::collections::BTreeMap;

use crate::config::problem::Problems;
use crate::config::resolve::config::Config;
use crate::config::resolve::error::ResolveError;
use crate::selector::{Selector, SelectorKind};

/// What is wrong with a target of copies that has copies itself.
pub(crate) const HAS_COPIES: &str =
    "its own spans are copied, and copies are not copied again; set also = [] in its table";

impl Config {
    /// Adds a problem for each target of copies that is unknown, has no valid binding, or has copies
    /// itself, as far as that can be known without tenant files and the program's binding source.
    ///
    /// A tracer that copies to itself, and each circle, has a target with copies.
    pub(crate) fn check_copies(&self, problems: &mut Problems) {
        // As for `routing.default`.
        if !problems.is_empty() {
            return;
        }
        let mut messages: BTreeMap<&Selector, Option<String>> = BTreeMap::new();
        let mut found = Vec::new();
        for (path, binding) in self.document.bindings() {
            for target in binding.also.iter().flatten() {
                let message = messages.entry(target).or_insert_with(|| self.problem_of_target(target));
                found.extend(
                    message
                        .as_ref()
                        .map(|message| (format!("{path}.also"), message.clone())),
                );
            }
        }
        for (path, message) in found {
            problems.add(path, message);
        }
    }

    fn problem_of_target(&self, target: &Selector) -> Option<String> {
        let tenant = target.get(SelectorKind::Tenant);
        let may_be_elsewhere = tenant.is_some_and(|tenant| !self.has_table(tenant));
        match self.resolve(target) {
            Ok(binding) if binding.also.is_empty() => None,
            Ok(_) => Some(format!("{target}: {HAS_COPIES}")),
            Err(ResolveError::Unknown {
                part: SelectorKind::Tenant,
                ..
            }) => None,
            Err(error @ ResolveError::Unknown { .. }) => Some(error.to_string()),
            Err(_) if may_be_elsewhere => None,
            Err(error) => Some(format!("{target}: {error}")),
        }
    }
}

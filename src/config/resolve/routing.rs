//! `[routing]`: the tracer of spans outside any scope.

use crate::config::problem::Problems;
use crate::config::resolve::config::Config;
use crate::config::resolve::error::ResolveError;
use crate::selector::{Selector, SelectorKind};

impl Config {
    /// Returns the selector of spans that are created outside any scope by code without a tenant,
    /// if one is configured.
    pub fn routing_default(&self) -> Option<&Selector> {
        self.routing_default.as_ref()
    }

    /// Adds a problem if look-ups would refuse the default, as far as that can be known without
    /// tenant files and the program's binding source.
    pub(crate) fn check_routing_default(&self, problems: &mut Problems) {
        let Some(selector) = &self.routing_default else { return };
        // Only a checked configuration can be resolved, and an unreadable file may contain the
        // binding.
        if !problems.is_empty() {
            return;
        }
        let tenant = selector.get(SelectorKind::Tenant);
        let may_be_elsewhere = tenant.is_some_and(|tenant| !self.has_table(tenant));
        match self.resolve(selector) {
            Err(ResolveError::Unknown {
                part: SelectorKind::Tenant,
                ..
            }) => {}
            Err(error @ ResolveError::Unknown { .. }) => problems.add("routing.default", error.to_string()),
            Err(error) if !may_be_elsewhere => problems.add("routing.default", format!("{selector}: {error}")),
            _ => {}
        }
    }
}

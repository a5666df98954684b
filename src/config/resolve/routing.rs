//! `[routing]`: where spans go that are made outside any scope.

use crate::config::fault::Faults;
use crate::config::resolve::config::Config;
use crate::config::resolve::error::ResolveError;
use crate::selector::{Selector, SelectorKind};

impl Config {
    /// The selector of spans that are made outside any scope by code that knows no tenants, if one is configured.
    pub fn routing_default(&self) -> Option<&Selector> {
        self.routing_default.as_ref()
    }

    /// A fault for a default that look-ups would refuse, as far as that is known without tenants' files and the program's source.
    pub(crate) fn check_routing_default(&self, faults: &mut Faults) {
        let Some(selector) = &self.routing_default else { return };
        // If a file could not be read, its binding may well be in it.
        if faults.some_file_is_unread() {
            return;
        }
        let tenant = selector.get(SelectorKind::Tenant);
        let may_be_elsewhere = tenant.is_some_and(|tenant| !self.has_table(tenant));
        match self.resolve(selector) {
            Err(ResolveError::Unknown {
                part: SelectorKind::Tenant,
                ..
            }) => {}
            Err(error @ ResolveError::Unknown { .. }) => faults.add("routing.default", error.to_string()),
            Err(error) if !may_be_elsewhere => faults.add("routing.default", format!("{selector}: {error}")),
            _ => {}
        }
    }
}

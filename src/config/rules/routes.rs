//! Indexes `[[routes]]` by their parts, so that a selector finds its routes without a scan.

use std::collections::HashMap;

use crate::config::settings::document::{Route, WILDCARD, When};
use crate::selector::{Selector, SelectorBuilder, SelectorError, SelectorKind, Slug};

/// Parts that a selector must have for a route to apply.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct RoutePattern {
    /// Parts with a fixed name.
    pub(crate) named: Selector,
    /// Whether the selector must also have a tenant of any name: `tenant = "*"`.
    pub(crate) has_any_tenant: bool,
}

impl RoutePattern {
    fn parts(&self) -> usize {
        self.named.parts().count() + usize::from(self.has_any_tenant)
    }

    /// Returns whether the route names this part. `"*"` does not count, because it makes no tenant
    /// known.
    pub(crate) fn names(&self, part: SelectorKind, name: &Slug) -> bool {
        self.named.get(part) == Some(name)
    }
}

/// Converts the parts of `when` to a selector.
pub(crate) fn selector(when: &When) -> Result<Selector, SelectorError> {
    let mut builder = SelectorBuilder::default();
    if let Some(name) = &when.environment {
        builder = builder.environment(name);
    }
    if let Some(name) = &when.feature {
        builder = builder.feature(name);
    }
    if let Some(name) = &when.tenant {
        builder = builder.tenant(name);
    }
    Selector::try_from(builder)
}

/// Converts `when` to a pattern.
///
/// # Errors
/// Returns a message for an invalid part, and for `tenant = "*"` alone.
pub(crate) fn pattern(when: &When) -> Result<RoutePattern, String> {
    let has_any_tenant = when.tenant.as_deref() == Some(WILDCARD);
    if !has_any_tenant {
        let named = selector(when).map_err(|error| error.to_string())?;
        return Ok(RoutePattern { named, has_any_tenant });
    }
    let others = When {
        tenant: None,
        ..when.clone()
    };
    if others == When::default() {
        return Err("a route for every tenant must also name a feature or an environment; use [tenants.\"*\"] for settings of every tenant".to_owned());
    }
    let named = selector(&others).map_err(|error| error.to_string())?;
    Ok(RoutePattern { named, has_any_tenant })
}

/// Patterns of all routes, by index in the order in which they are written.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Routes {
    /// `None` for an invalid route, which is a problem of the configuration.
    patterns: Vec<Option<RoutePattern>>,
    /// Unique, because two routes with the same parts are a problem.
    exact: HashMap<Selector, usize>,
    /// Routes with `tenant = "*"`, by their other parts.
    wildcard: HashMap<Selector, usize>,
    /// The other parts of these routes, as written. A list of their own, because it is read for each
    /// tenant, and a configuration may have a route for each tenant too.
    wildcard_parts: Vec<Selector>,
}

impl Routes {
    pub(crate) fn new(routes: &[Route]) -> Self {
        let mut read = Self::default();
        for (index, route) in routes.iter().enumerate() {
            let pattern = pattern(&route.when).ok();
            if let Some(pattern) = &pattern {
                let indices = if pattern.has_any_tenant {
                    read.wildcard_parts.push(pattern.named.clone());
                    &mut read.wildcard
                } else {
                    &mut read.exact
                };
                indices.insert(pattern.named.clone(), index);
            }
            read.patterns.push(pattern);
        }
        read
    }

    /// Returns the selectors that routes name, without those with `tenant = "*"`.
    pub(crate) fn selectors(&self) -> impl Iterator<Item = &Selector> {
        let exact = self.patterns.iter().flatten().filter(|pattern| !pattern.has_any_tenant);
        exact.map(|pattern| &pattern.named)
    }

    /// Returns the other parts of the routes with `tenant = "*"`.
    pub(crate) fn wildcard_parts(&self) -> impl Iterator<Item = &Selector> {
        self.wildcard_parts.iter()
    }

    /// Returns whether a route names exactly this selector.
    pub(crate) fn names(&self, selector: &Selector) -> bool {
        self.exact.contains_key(selector)
    }

    /// Returns the routes that apply to a selector, in overlay order: by number of parts, then
    /// named tenants after `tenant = "*"`, then as written.
    pub(crate) fn matching(&self, selector: &Selector) -> Vec<(usize, &RoutePattern)> {
        let any_tenant = selector.get(SelectorKind::Tenant).is_some();
        self.find(selector, any_tenant)
    }

    /// Like [`matching`](Self::matching), for a tenant of any name with these other parts.
    pub(crate) fn matching_wildcard(&self, parts: &Selector) -> Vec<(usize, &RoutePattern)> {
        self.find(parts, true)
    }

    fn find(&self, selector: &Selector, any_tenant: bool) -> Vec<(usize, &RoutePattern)> {
        if self.patterns.is_empty() {
            return Vec::new();
        }
        let mut found = Vec::new();
        for subset in selector.subsets() {
            let wildcard = || self.wildcard.get(&subset).filter(|_| any_tenant);
            found.extend(self.exact.get(&subset).into_iter().chain(wildcard()).copied());
        }
        let mut found: Vec<_> = found
            .into_iter()
            .filter_map(|index| Some((index, self.patterns[index].as_ref()?)))
            .collect();
        found.sort_by_key(|(index, pattern)| (pattern.parts(), !pattern.has_any_tenant, *index));
        found
    }
}

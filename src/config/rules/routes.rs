//! `[[routes]]` by the parts they are for, so that a selector finds its routes without a look at all of them.

use std::collections::HashMap;

use crate::config::settings::document::{Route, WILDCARD, When};
use crate::selector::{Selector, SelectorBuilder, SelectorError, SelectorKind, Slug};

/// What a route is for: the parts that a selector must have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Pattern {
    /// The parts that are named.
    pub(crate) named: Selector,
    /// Whether a selector must also have a tenant, whichever that is: `tenant = "*"`.
    pub(crate) has_any_tenant: bool,
}

impl Pattern {
    fn parts(&self) -> usize {
        self.named.parts().count() + usize::from(self.has_any_tenant)
    }

    /// Whether it names a part so. `"*"` names no tenant: it makes none known.
    pub(crate) fn names(&self, part: SelectorKind, name: &Slug) -> bool {
        self.named.get(part) == Some(name)
    }
}

/// The selector of parts as written.
pub(crate) fn selector(when: &When) -> Result<Selector, SelectorError> {
    let mut written = SelectorBuilder::default();
    if let Some(name) = &when.environment {
        written = written.environment(name);
    }
    if let Some(name) = &when.feature {
        written = written.feature(name);
    }
    if let Some(name) = &when.tenant {
        written = written.tenant(name);
    }
    Selector::try_from(written)
}

/// What a route is for.
///
/// # Errors
/// What is wrong with a part, or with `tenant = "*"` alone.
pub(crate) fn pattern(when: &When) -> Result<Pattern, String> {
    let has_any_tenant = when.tenant.as_deref() == Some(WILDCARD);
    if !has_any_tenant {
        let named = selector(when).map_err(|error| error.to_string())?;
        return Ok(Pattern { named, has_any_tenant });
    }
    let others = When {
        tenant: None,
        ..when.clone()
    };
    if others == When::default() {
        return Err("a route for every tenant names a feature or an environment too; [tenants.\"*\"] is for what holds for every tenant".to_owned());
    }
    let named = selector(&others).map_err(|error| error.to_string())?;
    Ok(Pattern { named, has_any_tenant })
}

/// What the routes are for, by place: the order in which they are written.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Routes {
    /// `None` for a route that is for no selector, which is a fault.
    patterns: Vec<Option<Pattern>>,
    /// No two routes are for the same parts: that is a fault.
    exact: HashMap<Selector, usize>,
    /// Those with `tenant = "*"`, by their other parts.
    of_any_tenant: HashMap<Selector, usize>,
}

impl Routes {
    pub(crate) fn new(routes: &[Route]) -> Self {
        let mut read = Self::default();
        for (place, route) in routes.iter().enumerate() {
            let pattern = pattern(&route.when).ok();
            if let Some(pattern) = &pattern {
                let places = if pattern.has_any_tenant {
                    &mut read.of_any_tenant
                } else {
                    &mut read.exact
                };
                places.insert(pattern.named.clone(), place);
            }
            read.patterns.push(pattern);
        }
        read
    }

    /// The selectors that routes name, those with `tenant = "*"` left out.
    pub(crate) fn selectors(&self) -> impl Iterator<Item = &Selector> {
        let exact = self.patterns.iter().flatten().filter(|pattern| !pattern.has_any_tenant);
        exact.map(|pattern| &pattern.named)
    }

    /// The other parts of the routes with `tenant = "*"`.
    pub(crate) fn parts_beside_any_tenant(&self) -> impl Iterator<Item = &Selector> {
        let of_any = self.patterns.iter().flatten().filter(|pattern| pattern.has_any_tenant);
        of_any.map(|pattern| &pattern.named)
    }

    /// Whether a route is for exactly this selector.
    pub(crate) fn names(&self, selector: &Selector) -> bool {
        self.exact.contains_key(selector)
    }

    /// The routes whose parts a selector all has, by place: those with fewer parts first, then those with `tenant = "*"`, else as they are
    /// written. What comes later is laid over what comes before.
    pub(crate) fn of(&self, selector: &Selector) -> Vec<(usize, &Pattern)> {
        let any_tenant = selector.get(SelectorKind::Tenant).is_some();
        self.found(selector, any_tenant)
    }

    /// As [`of`](Self::of), for the selectors of any tenant that have these parts.
    pub(crate) fn of_parts_beside_any_tenant(&self, parts: &Selector) -> Vec<(usize, &Pattern)> {
        self.found(parts, true)
    }

    fn found(&self, selector: &Selector, any_tenant: bool) -> Vec<(usize, &Pattern)> {
        if self.patterns.is_empty() {
            return Vec::new();
        }
        let mut found = Vec::new();
        for subset in selector.subsets() {
            let of_any_tenant = || self.of_any_tenant.get(&subset).filter(|_| any_tenant);
            found.extend(self.exact.get(&subset).into_iter().chain(of_any_tenant()).copied());
        }
        let mut found: Vec<_> = found
            .into_iter()
            .filter_map(|place| Some((place, self.patterns[place].as_ref()?)))
            .collect();
        found.sort_by_key(|(place, pattern)| (pattern.parts(), !pattern.has_any_tenant, *place));
        found
    }
}

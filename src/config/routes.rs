//! `[[routes]]` by the parts they are for, so that a selector finds its routes without a look at all of them.

use std::collections::HashMap;

use super::check;
use super::document::Route;
use crate::selector::Selector;

/// The selectors of the routes, by place: the order in which they are written.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Routes {
    /// `None` for a route that is for no selector, which is a fault.
    selectors: Vec<Option<Selector>>,
    /// No two routes are for the same parts: that is a fault.
    places: HashMap<Selector, usize>,
}

impl Routes {
    pub(super) fn new(routes: &[Route]) -> Self {
        let selectors: Vec<_> = routes.iter().map(|route| check::selector(&route.when).ok()).collect();
        let places = selectors.iter().cloned().enumerate();
        Self {
            places: places
                .filter_map(|(place, selector)| Some((selector?, place)))
                .collect(),
            selectors,
        }
    }

    pub(super) fn selectors(&self) -> impl Iterator<Item = &Selector> {
        self.selectors.iter().flatten()
    }

    /// The routes whose parts a selector all has, by place: those with fewer parts first, else as they are written.
    pub(super) fn of(&self, selector: &Selector) -> Vec<(usize, &Selector)> {
        if self.places.is_empty() {
            return Vec::new();
        }
        let found = selector
            .subsets()
            .filter_map(|subset| self.places.get(&subset).copied());
        let mut found: Vec<_> = found
            .filter_map(|place| Some((place, self.selectors[place].as_ref()?)))
            .collect();
        found.sort_by_key(|(place, route)| (route.parts().count(), *place));
        found
    }
}

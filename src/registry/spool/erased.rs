//! What was erased and is not allowed again.

use std::collections::BTreeSet;
use std::sync::MutexGuard;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::selector::Selector;
use crate::util::fork::ForkLock;

/// Selectors with erased data.
#[derive(Default)]
pub(crate) struct ErasedSelectors {
    selectors: ForkLock<BTreeSet<Selector>>,
    /// Whether there are any: most registries never erase anything.
    any: AtomicBool,
    /// Number of purges without a store, which has its own.
    generation: ForkLock<u64>,
}

impl ErasedSelectors {
    /// Locks out other purges. The number is the generation of purges without a store.
    pub(super) fn lock(&self) -> MutexGuard<'_, u64> {
        self.generation.lock()
    }

    /// Adds selectors. Returns whether one of them was not erased.
    pub(super) fn add(&self, erased: impl IntoIterator<Item = Selector>) -> bool {
        let mut selectors = self.selectors.lock();
        let before = selectors.len();
        selectors.extend(erased);
        self.any.store(!selectors.is_empty(), Ordering::SeqCst);
        selectors.len() > before
    }

    /// Returns whether it was erased.
    pub(super) fn remove(&self, selector: &Selector) -> bool {
        let mut selectors = self.selectors.lock();
        let was_erased = selectors.remove(selector);
        self.any.store(!selectors.is_empty(), Ordering::SeqCst);
        was_erased
    }

    /// Returns whether data of a selector is refused: it, or a part of it, was erased.
    pub(crate) fn covers(&self, selector: &Selector) -> bool {
        if !self.any.load(Ordering::SeqCst) {
            return false;
        }
        let selectors = self.selectors.lock();
        selector.subsets().any(|subset| selectors.contains(&subset))
    }

    /// Returns all of them, sorted.
    pub(crate) fn all(&self) -> Vec<Selector> {
        if !self.any.load(Ordering::SeqCst) {
            return Vec::new();
        }
        self.selectors.lock().iter().cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_selector_is_refused_if_it_has_all_parts_of_an_erased_one() {
        let of = |text: &str| text.parse::<Selector>().expect("a selector");
        let erased = ErasedSelectors::default();
        assert!(!erased.covers(&of("tenant:acme")));
        assert!(erased.add([of("tenant:acme"), of("environment:eu,tenant:globex")]));
        assert!(!erased.add([of("tenant:acme")]));
        for (selector, expected) in [
            ("tenant:acme", true),
            ("environment:eu,tenant:acme", true),
            ("environment:eu,feature:search,tenant:acme", true),
            ("environment:eu,tenant:globex", true),
            ("tenant:globex", false),
            ("environment:eu", false),
            ("feature:acme", false),
            ("tenant:acme2", false),
        ] {
            assert_eq!(erased.covers(&of(selector)), expected, "{selector}");
        }
        assert!(erased.remove(&of("tenant:acme")) && !erased.remove(&of("tenant:acme")));
        assert!(!erased.covers(&of("tenant:acme")));
        assert_eq!(erased.all(), [of("environment:eu,tenant:globex")]);
    }
}

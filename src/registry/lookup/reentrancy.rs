//! Tracks the registries for which a thread is creating a tracer.
//!
//! Secret and binding sources run while a tracer is being created. A source that looks up a missing
//! tracer of the same registry could deadlock: it could wait for its own thread, or for a thread
//! that waits for it. Such a look-up is refused. The list is thread-local.

use std::cell::RefCell;

thread_local! {
    static BUILDING: RefCell<Vec<usize>> = const { RefCell::new(Vec::new()) };
}

/// Marks this thread as creating a tracer for a registry until it is dropped.
pub(crate) struct ReentrancyGuard(usize);

impl ReentrancyGuard {
    /// Returns `None` if this thread is already creating a tracer for this registry.
    pub(crate) fn enter<T>(registry: &T) -> Option<Self> {
        let registry = std::ptr::from_ref(registry).addr();
        let enter = |building: &RefCell<Vec<usize>>| {
            let mut building = building.borrow_mut();
            let is_new = !building.contains(&registry);
            if is_new {
                building.push(registry);
            }
            is_new
        };
        // On an ending thread the list may be gone; then re-entrancy is not detected.
        let is_new = BUILDING.try_with(enter).unwrap_or(true);
        // Only then: dropping a guard removes the registry from the list.
        is_new.then(|| Self(registry))
    }
}

impl Drop for ReentrancyGuard {
    fn drop(&mut self) {
        // The list may be gone on an ending thread.
        let _ = BUILDING.try_with(|building| building.borrow_mut().retain(|registry| *registry != self.0));
    }
}

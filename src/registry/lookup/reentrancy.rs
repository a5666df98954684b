//! Which registries a thread is making a tracer for.
//!
//! A source of secrets or of bindings is asked while a tracer is made. If it looked up a tracer of the same registry, that look-up could
//! wait for the thread it is on, or for another one that waits for this one. So it is refused, whatever it asks for, unless the tracer is
//! there already. The list is the thread's own; threads and registries share nothing.

use std::cell::RefCell;

thread_local! {
    static MAKING: RefCell<Vec<usize>> = const { RefCell::new(Vec::new()) };
}

/// This thread is making a tracer for a registry, until this is dropped.
pub(crate) struct ReentrancyGuard(usize);

impl ReentrancyGuard {
    /// Returns `None` if this thread is already making a tracer for this registry.
    pub(crate) fn enter<T>(registry: &T) -> Option<Self> {
        let registry = std::ptr::from_ref(registry).addr();
        let enter = |making: &RefCell<Vec<usize>>| {
            let mut making = making.borrow_mut();
            let is_new = !making.contains(&registry);
            if is_new {
                making.push(registry);
            }
            is_new
        };
        // A thread that is ending may have dropped the list: then it is not noticed that a source looks a tracer up.
        let is_new = MAKING.try_with(enter).unwrap_or(true);
        // Made only then: its drop removes the registry from the list.
        is_new.then(|| Self(registry))
    }
}

impl Drop for ReentrancyGuard {
    fn drop(&mut self) {
        // As where it enters.
        let _ = MAKING.try_with(|making| making.borrow_mut().retain(|registry| *registry != self.0));
    }
}

//! Which registries a thread is making a tracer for at this moment.
//!
//! A source of secrets or of bindings is asked while a tracer is made. If it looked a tracer of the same registry up, that look-up could wait for
//! the very thread it is on, or for another one that waits for this one. So it is refused, whatever it asks for, unless the tracer
//! is there already. This holds a thread's own state, nothing that threads or registries share.

use std::cell::RefCell;

thread_local! {
    static MAKING: RefCell<Vec<usize>> = const { RefCell::new(Vec::new()) };
}

/// This thread is making a tracer for a registry, until this is dropped.
pub(super) struct Making(usize);

impl Making {
    /// Begins, unless the thread is at it for the same registry.
    pub(super) fn begin<T>(registry: &T) -> Option<Self> {
        let registry = std::ptr::from_ref(registry).addr();
        MAKING.with_borrow_mut(|making| {
            if making.contains(&registry) {
                return None;
            }
            making.push(registry);
            Some(Self(registry))
        })
    }
}

impl Drop for Making {
    fn drop(&mut self) {
        MAKING.with_borrow_mut(|making| making.retain(|registry| *registry != self.0));
    }
}

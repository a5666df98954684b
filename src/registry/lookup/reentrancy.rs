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
pub(crate) struct Making(usize);

impl Making {
    /// Begins, unless the thread is at it for the same registry.
    pub(crate) fn begin<T>(registry: &T) -> Option<Self> {
        let registry = std::ptr::from_ref(registry).addr();
        let begin = |making: &RefCell<Vec<usize>>| {
            let mut making = making.borrow_mut();
            let is_new = !making.contains(&registry);
            if is_new {
                making.push(registry);
            }
            is_new
        };
        // A thread that is ending may have dropped the list: then it is not found out that a source looks a tracer up.
        let begins = MAKING.try_with(begin).unwrap_or(true);
        // Made only then: its drop ends what it began.
        begins.then(|| Self(registry))
    }
}

impl Drop for Making {
    fn drop(&mut self) {
        // As where it begins.
        let _ = MAKING.try_with(|making| making.borrow_mut().retain(|registry| *registry != self.0));
    }
}

//! Iterators whose span starts with the call, and ends with their last item or when they are dropped.

use super::life::Life;

/// The iterator of a traced function.
pub struct TracedIterator<I> {
    /// There until the drop.
    work: Option<I>,
    life: Life,
}

impl<I> TracedIterator<I> {
    fn work(&self) -> &I {
        self.work.as_ref().expect("it is there until the drop")
    }

    fn step<T>(&mut self, step: impl FnOnce(&mut I) -> Option<T>) -> Option<T> {
        let work = self.work.as_mut().expect("it is there until the drop");
        let item = self.life.run(|| step(work));
        if item.is_none() {
            self.life.end_span();
        }
        item
    }
}

impl<I: Iterator> Iterator for TracedIterator<I> {
    type Item = I::Item;

    fn next(&mut self) -> Option<I::Item> {
        self.step(Iterator::next)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.work().size_hint()
    }
}

impl<I: DoubleEndedIterator> DoubleEndedIterator for TracedIterator<I> {
    fn next_back(&mut self) -> Option<I::Item> {
        self.step(DoubleEndedIterator::next_back)
    }
}

impl<I: ExactSizeIterator> ExactSizeIterator for TracedIterator<I> {
    fn len(&self) -> usize {
        self.work().len()
    }
}

impl<I: std::iter::FusedIterator> std::iter::FusedIterator for TracedIterator<I> {}

impl<I> Drop for TracedIterator<I> {
    fn drop(&mut self) {
        let _entered = self.life.attach();
        self.work = None;
    }
}

/// The iterator that a function returns. What the function does to make it is in the span too.
pub fn iterator<T, I: Iterator<Item = T>>(mut life: Life, make: impl FnOnce() -> I) -> TracedIterator<I> {
    let work = life.run(make);
    TracedIterator { work: Some(work), life }
}

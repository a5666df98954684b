//! An iterator with a span from the call until the last item or the drop.

use super::call_span::CallSpan;

/// The iterator of a traced function.
pub struct TracedIterator<I> {
    /// `None` only during the drop.
    work: Option<I>,
    span: CallSpan,
}

impl<I> TracedIterator<I> {
    fn work(&self) -> &I {
        self.work.as_ref().expect("present until the drop")
    }

    fn step<T>(&mut self, step: impl FnOnce(&mut I) -> Option<T>) -> Option<T> {
        let work = self.work.as_mut().expect("present until the drop");
        let item = self.span.run(|| step(work));
        if item.is_none() {
            self.span.end_span();
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
        let _entered = self.span.attach();
        self.work = None;
    }
}

/// Traces the iterator that a function returns, including the function itself.
pub fn iterator<T, I: Iterator<Item = T>>(mut span: CallSpan, make: impl FnOnce() -> I) -> TracedIterator<I> {
    let work = span.run(make);
    TracedIterator { work: Some(work), span }
}

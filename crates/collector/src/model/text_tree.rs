//! Spans as text trees, for reading and for snapshot tests.

use std::borrow::Borrow;
use std::collections::{HashMap, HashSet};
use std::fmt::Write as _;

use super::printable::printable;
use super::span::Span;

/// Deeper levels are drawn at this one. Otherwise the text would grow quadratically with the depth.
const MAX_DRAWN_LEVEL: usize = 100;

/// Width of the name column. Longer names shift the details to the right.
const NAME_WIDTH: usize = 24;

/// Details of each span in a tree.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum TreeDetail {
    /// Only the name. The text is the same in every run.
    #[default]
    Names,
    /// Name and duration, and the session of root spans.
    Durations,
}

/// Returns spans as a tree of names, one line each. The order of arrival has no effect.
///
/// Siblings are sorted by start, then by name. A span without its parent in `spans` is a root.
/// Several traces follow one another.
///
/// ```text
/// chat
/// ├─ answer
/// │  └─ retrieve
/// └─ log
/// ```
pub fn tree<S: Borrow<Span>>(spans: &[S]) -> String {
    tree_with(spans, TreeDetail::Names)
}

/// Returns a [`tree`] with details of each span.
///
/// ```text
/// chat                     [12.3 ms] session=8d2c…
/// └─ answer                [10.1 ms]
/// ```
pub fn tree_with<S: Borrow<Span>>(spans: &[S], detail: TreeDetail) -> String {
    let mut ordered: Vec<&Span> = spans.iter().map(Borrow::borrow).collect();
    // The sequence makes the order of equal spans deterministic.
    ordered.sort_by_key(|span| (span.start_unix_nanos, &span.name, span.sequence));
    Drawing::of(&ordered, detail).draw()
}

struct Drawing<'a> {
    spans: &'a [&'a Span],
    children: HashMap<usize, Vec<usize>>,
    roots: Vec<usize>,
    detail: TreeDetail,
}

impl<'a> Drawing<'a> {
    fn of(spans: &'a [&'a Span], detail: TreeDetail) -> Self {
        // Children of a duplicate id belong to its first span.
        let mut by_id = HashMap::new();
        for (index, span) in spans.iter().enumerate() {
            by_id
                .entry((span.trace_id.as_str(), span.span_id.as_str()))
                .or_insert(index);
        }
        let mut children: HashMap<usize, Vec<usize>> = HashMap::new();
        let mut roots = Vec::new();
        for (index, span) in spans.iter().enumerate() {
            let parent = span
                .parent_span_id
                .as_deref()
                .and_then(|id| by_id.get(&(span.trace_id.as_str(), id)));
            match parent {
                Some(parent) => children.entry(*parent).or_default().push(index),
                None => roots.push(index),
            }
        }
        Self {
            spans,
            children,
            roots,
            detail,
        }
    }

    fn draw(&self) -> String {
        let mut text = String::new();
        let mut drawn = HashSet::new();
        for root in &self.roots {
            self.draw_from(*root, &mut drawn, &mut text);
        }
        // The rest are cycles of parents.
        for index in 0..self.spans.len() {
            self.draw_from(index, &mut drawn, &mut text);
        }
        text
    }

    /// Draws a span and its descendants. Not recursive, because the depth is only bounded by the
    /// number of spans.
    fn draw_from(&self, root: usize, drawn: &mut HashSet<usize>, text: &mut String) {
        let mut open = vec![(root, Vec::new())];
        while let Some((index, last_flags)) = open.pop() {
            if !drawn.insert(index) {
                continue;
            }
            self.line(index, &last_flags, text);
            let children = self.children.get(&index).map_or(&[][..], Vec::as_slice);
            for (position, child) in children.iter().enumerate().rev() {
                let mut flags = last_flags.clone();
                if flags.len() < MAX_DRAWN_LEVEL {
                    flags.push(position + 1 == children.len());
                }
                open.push((*child, flags));
            }
        }
    }

    /// Draws one span. `last_flags` has for each level whether its span is the last sibling, so
    /// that no line continues below it.
    fn line(&self, index: usize, last_flags: &[bool], text: &mut String) {
        let span = self.spans[index];
        let mut line = String::new();
        if let Some((own, above)) = last_flags.split_last() {
            line.extend(above.iter().map(|last| if *last { "   " } else { "│  " }));
            line.push_str(if *own { "└─ " } else { "├─ " });
        }
        // A name with a line break or an escape sequence must not fake a tree.
        let _ = write!(line, "{}", printable(&span.name));
        if self.detail == TreeDetail::Durations {
            let micros = span.duration_nanos() / 1000;
            let _ = write!(line, "{:1$}", "", NAME_WIDTH.saturating_sub(line.chars().count()));
            let _ = write!(line, " [{}.{} ms]", micros / 1000, micros % 1000 / 100);
            if let (true, Some(session)) = (last_flags.is_empty(), &span.session_id) {
                let _ = write!(line, " session={}", printable(session));
            }
        }
        text.push_str(&line);
        text.push('\n');
    }
}

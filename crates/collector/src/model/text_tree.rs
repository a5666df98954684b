//! Spans as text, for people and for tests that compare.

use std::borrow::Borrow;
use std::collections::{HashMap, HashSet};
use std::fmt::Write as _;

use super::printable::printable;
use super::span::Span;

/// Levels deeper than this are drawn at this one: the text of a chain of spans would otherwise grow with its square.
const MAX_DRAWN_LEVEL: usize = 100;

/// How wide a name may be before it pushes the details to the right.
const NAME_WIDTH: usize = 24;

/// What a tree says of each span.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum TreeDetail {
    /// Only its name, so that the text is the same in every run.
    #[default]
    Names,
    /// Its name and duration, and the session at the top.
    Durations,
}

/// Spans as a tree of names, one line each, the same whatever order they arrived in.
///
/// Siblings are in order of start, then of name. A span whose parent is not among the given ones stands at the top. The
/// spans of several traces follow one another.
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

/// [`tree`] with more about each span.
///
/// ```text
/// chat                     [12.3 ms] session=8d2c…
/// └─ answer                [10.1 ms]
/// ```
pub fn tree_with<S: Borrow<Span>>(spans: &[S], detail: TreeDetail) -> String {
    let mut ordered: Vec<&Span> = spans.iter().map(Borrow::borrow).collect();
    // Arrival decides between equals, so that the order is the same each time.
    ordered.sort_by_key(|span| (span.start_unix_nanos, &span.name, span.sequence));
    Drawing::of(&ordered, detail).draw()
}

struct Drawing<'a> {
    spans: &'a [&'a Span],
    children: HashMap<usize, Vec<usize>>,
    tops: Vec<usize>,
    detail: TreeDetail,
}

impl<'a> Drawing<'a> {
    fn of(spans: &'a [&'a Span], detail: TreeDetail) -> Self {
        // If an id came twice, its children hang under the first.
        let mut places = HashMap::new();
        for (place, span) in spans.iter().enumerate() {
            places
                .entry((span.trace_id.as_str(), span.span_id.as_str()))
                .or_insert(place);
        }
        let mut children: HashMap<usize, Vec<usize>> = HashMap::new();
        let mut tops = Vec::new();
        for (place, span) in spans.iter().enumerate() {
            let parent = span
                .parent_span_id
                .as_deref()
                .and_then(|id| places.get(&(span.trace_id.as_str(), id)));
            match parent {
                Some(parent) => children.entry(*parent).or_default().push(place),
                None => tops.push(place),
            }
        }
        Self {
            spans,
            children,
            tops,
            detail,
        }
    }

    fn draw(&self) -> String {
        let mut text = String::new();
        let mut drawn = HashSet::new();
        for top in &self.tops {
            self.draw_from(*top, &mut drawn, &mut text);
        }
        // What is left hangs in circles of parents. It must be seen all the same.
        for place in 0..self.spans.len() {
            self.draw_from(place, &mut drawn, &mut text);
        }
        text
    }

    /// Without recursion, since a chain of parents may be as long as there are spans.
    fn draw_from(&self, top: usize, drawn: &mut HashSet<usize>, text: &mut String) {
        let mut open = vec![(top, Vec::new())];
        while let Some((place, last_flags)) = open.pop() {
            if !drawn.insert(place) {
                continue;
            }
            self.line(place, &last_flags, text);
            let children = self.children.get(&place).map_or(&[][..], Vec::as_slice);
            for (index, child) in children.iter().enumerate().rev() {
                let mut flags = last_flags.clone();
                if flags.len() < MAX_DRAWN_LEVEL {
                    flags.push(index + 1 == children.len());
                }
                open.push((*child, flags));
            }
        }
    }

    /// `last_flags` says of each level above whether it is the last of its siblings, and so has no line below it.
    fn line(&self, place: usize, last_flags: &[bool], text: &mut String) {
        let span = self.spans[place];
        let mut line = String::new();
        if let Some((own, above)) = last_flags.split_last() {
            line.extend(above.iter().map(|last| if *last { "   " } else { "│  " }));
            line.push_str(if *own { "└─ " } else { "├─ " });
        }
        // A name with a line break or a terminal's escape in it must not draw a tree of its own.
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

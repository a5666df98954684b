//! Selections of a project's spans.

use std::fmt;
use std::ops::Deref;
use std::sync::Arc;

use serde_json::Value;

use tracer_registry_collector::{Span, tree};

/// A selection of a project's spans, in order of arrival. Dereferences to a slice.
#[derive(Clone)]
pub struct Spans {
    /// Description of the selection, for panic messages.
    description: String,
    selected: Vec<Arc<Span>>,
    /// All spans of the project.
    all: Arc<[Arc<Span>]>,
}

impl Spans {
    pub(super) fn all(project: &str, spans: &[Arc<Span>]) -> Self {
        Self {
            description: format!("span of {project}"),
            selected: spans.to_vec(),
            all: spans.into(),
        }
    }

    /// Returns the spans with this name.
    pub fn named(&self, name: &str) -> Self {
        self.filter(&format!("named {name:?}"), |span| span.name == name)
    }

    /// Returns the spans with this value of an attribute.
    pub fn with_attribute(&self, key: &str, value: impl Into<Value>) -> Self {
        let value = value.into();
        let condition = format!("with {key:?} = {value}");
        self.filter(&condition, |span| span.attributes.get(key) == Some(&value))
    }

    /// Returns the spans of a session.
    pub fn of_session(&self, id: &str) -> Self {
        self.filter(&format!("of session {id}"), |span| {
            span.session_id.as_deref() == Some(id)
        })
    }

    /// Returns the spans without a parent.
    pub fn roots(&self) -> Self {
        self.filter("without a parent", |span| span.parent_span_id.is_none())
    }

    /// Returns the direct children of these spans.
    pub fn children(&self) -> Self {
        let is_child = |span: &Span| {
            let mut parents = self.selected.iter();
            parents.any(|parent| {
                parent.trace_id == span.trace_id && span.parent_span_id.as_deref() == Some(parent.span_id.as_str())
            })
        };
        Self {
            description: format!("child of a {}", self.description),
            selected: self.all.iter().filter(|span| is_child(span)).cloned().collect(),
            all: Arc::clone(&self.all),
        }
    }

    /// Returns the only span.
    ///
    /// # Panics
    /// If there is no span, or more than one. The message shows the project's tree.
    #[track_caller]
    pub fn one(&self) -> &Span {
        let [span] = self.selected.as_slice() else {
            panic!(
                "expected one {}, found {} in:\n{}",
                self.description,
                self.len(),
                tree(&self.all)
            );
        };
        span
    }

    /// Returns the spans as a tree, the same text in every run; see
    /// [`tree`](tracer_registry_collector::tree). A span without its parent in the selection is a
    /// root.
    pub fn tree(&self) -> String {
        tree(&self.selected)
    }

    fn filter(&self, condition: &str, predicate: impl Fn(&Span) -> bool) -> Self {
        Self {
            description: format!("{} {condition}", self.description),
            selected: self.selected.iter().filter(|span| predicate(span)).cloned().collect(),
            all: Arc::clone(&self.all),
        }
    }
}

impl Deref for Spans {
    type Target = [Arc<Span>];

    fn deref(&self) -> &Self::Target {
        &self.selected
    }
}

impl fmt::Debug for Spans {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(&self.selected).finish()
    }
}

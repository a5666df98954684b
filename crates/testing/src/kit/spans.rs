//! Some spans of a project, chosen by what a test says of them.

use std::fmt;
use std::ops::Deref;
use std::sync::Arc;

use serde_json::Value;

use tracer_registry_collector::{Span, tree};

/// Some spans of a project, in order of arrival; a slice of them, and what narrows them down.
#[derive(Clone)]
pub struct Spans {
    /// Which, in words, for messages.
    which: String,
    chosen: Vec<Arc<Span>>,
    /// All of the project: what a message shows, and where children are looked for.
    all: Arc<[Arc<Span>]>,
}

impl Spans {
    pub(super) fn all(project: &str, spans: &[Arc<Span>]) -> Self {
        Self {
            which: format!("span of {project}"),
            chosen: spans.to_vec(),
            all: spans.into(),
        }
    }

    /// Those of a name.
    pub fn named(&self, name: &str) -> Self {
        self.only(&format!("named {name:?}"), |span| span.name == name)
    }

    /// Those with an attribute that has a value.
    pub fn with_attribute(&self, key: &str, value: impl Into<Value>) -> Self {
        let value = value.into();
        let how = format!("with {key:?} = {value}");
        self.only(&how, |span| span.attributes.get(key) == Some(&value))
    }

    /// Those of a session.
    pub fn of_session(&self, id: &str) -> Self {
        self.only(&format!("of session {id}"), |span| {
            span.session_id.as_deref() == Some(id)
        })
    }

    /// Those without a parent.
    pub fn roots(&self) -> Self {
        self.only("without a parent", |span| span.parent_span_id.is_none())
    }

    /// The children of these, whatever they are called.
    pub fn children(&self) -> Self {
        let is_child = |span: &Span| {
            let mut parents = self.chosen.iter();
            parents.any(|parent| {
                parent.trace_id == span.trace_id && span.parent_span_id.as_deref() == Some(parent.span_id.as_str())
            })
        };
        Self {
            which: format!("child of a {}", self.which),
            chosen: self.all.iter().filter(|span| is_child(span)).cloned().collect(),
            all: Arc::clone(&self.all),
        }
    }

    /// The only one.
    ///
    /// # Panics
    /// If there is none, or more than one; the message has the project's tree.
    #[track_caller]
    pub fn one(&self) -> &Span {
        let [span] = self.chosen.as_slice() else {
            panic!(
                "expected one {}, found {} in:\n{}",
                self.which,
                self.len(),
                tree(&self.all)
            );
        };
        span
    }

    /// As text, the same in every run; see [`tree`](tracer_registry_collector::tree). A span whose
    /// parent is not among them stands at the top.
    pub fn tree(&self) -> String {
        tree(&self.chosen)
    }

    fn only(&self, how: &str, holds: impl Fn(&Span) -> bool) -> Self {
        Self {
            which: format!("{} {how}", self.which),
            chosen: self.chosen.iter().filter(|span| holds(span)).cloned().collect(),
            all: Arc::clone(&self.all),
        }
    }
}

impl Deref for Spans {
    type Target = [Arc<Span>];

    fn deref(&self) -> &Self::Target {
        &self.chosen
    }
}

impl fmt::Debug for Spans {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(&self.chosen).finish()
    }
}

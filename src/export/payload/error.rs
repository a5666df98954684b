//! Why a request is refused.

use std::borrow::Cow;
use std::fmt;

/// Names in a path that an error shows.
const MAX_SEGMENTS: usize = 8;

/// Field and rule of the first fault of a request. The text is bounded.
#[derive(Debug)]
pub(crate) struct PayloadError(Box<Fault>);

#[derive(Debug)]
struct Fault {
    /// Innermost first.
    path: Vec<Segment>,
    rule: Rule,
}

/// A field in the path to a fault.
#[derive(Debug)]
pub(super) struct Segment {
    pub(super) name: Cow<'static, str>,
    /// The place among fields of the same name, if the field may be repeated.
    pub(super) index: Option<usize>,
}

/// A rule that a request breaks.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Rule {
    #[error("the message ends inside a field")]
    Truncated,
    #[error("a varint has at most 64 bits")]
    Varint,
    #[error("field number {0} is not between 1 and 2^29 - 1")]
    Number(u64),
    #[error("groups are not supported")]
    Group,
    #[error("wire type {0} does not exist")]
    UnknownWireType(u32),
    #[error("expected wire type {expected}, found {found}")]
    WireType { expected: u32, found: u32 },
    #[error("length {length} exceeds what is left of the message: {left}")]
    Length { length: u64, left: usize },
    #[error("expected {expected} bytes, found {found}")]
    Bytes { expected: usize, found: usize },
    #[error("an id is not all zeros")]
    Zero,
    #[error("not valid UTF-8")]
    Utf8,
    #[error("spans in instrumentation_library_spans, which OTLP 1.0 removed: use scope_spans")]
    OldSpans,
    #[error("set more than once")]
    Repeated,
    #[error("values nest at most {0} levels")]
    Nesting(u32),
    #[error("at most {0} bytes besides spans")]
    OwnBytes(usize),
    #[error("a request has at most {0} blocks without spans")]
    EmptyBlocks(usize),
    #[error("more than one value of {0:?}")]
    SeveralValues(String),
    #[error("a request has at most {0} values of the attribute that selects the tenant")]
    Parts(usize),
    #[error("unknown to this version, so it cannot be assigned to one of several tenants")]
    Unassigned,
}

impl PayloadError {
    /// Adds the field that contains the fault so far.
    #[cold]
    pub(super) fn within(mut self, segment: Segment) -> Self {
        self.0.path.push(segment);
        self
    }
}

impl Segment {
    pub(super) fn new(name: impl Into<Cow<'static, str>>, index: Option<usize>) -> Self {
        Self {
            name: name.into(),
            index,
        }
    }
}

impl From<Rule> for PayloadError {
    #[cold]
    fn from(rule: Rule) -> Self {
        Self(Box::new(Fault { path: Vec::new(), rule }))
    }
}

impl fmt::Display for PayloadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Fault { path, rule } = &*self.0;
        for (depth, Segment { name, index }) in path.iter().rev().take(MAX_SEGMENTS).enumerate() {
            f.write_str(if depth > 0 { "." } else { "" })?;
            f.write_str(name)?;
            if let Some(index) = index {
                write!(f, "[{index}]")?;
            }
        }
        f.write_str(match path.len() {
            0 => "",
            1..=MAX_SEGMENTS => ": ",
            _ => "...: ",
        })?;
        rule.fmt(f)
    }
}

impl std::error::Error for PayloadError {}

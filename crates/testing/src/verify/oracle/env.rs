//! Current scopes and reachable handles at a position of a program, from lexical rules only.

use std::rc::Rc;

use super::super::program::cast::Member;
use super::super::program::operation::{OpId, TracerRef};

/// Current scopes and spans, innermost first. A captured scope is a clone.
#[derive(Clone, Debug, Default)]
pub(crate) struct Env(Option<Rc<Node<Frame>>>);

/// Handles in the variables of the code, independent of the current scope.
#[derive(Clone, Debug, Default)]
pub(crate) struct Reach(Option<Rc<Node<Handle>>>);

#[derive(Debug)]
struct Node<T> {
    value: T,
    outer: Option<Rc<Node<T>>>,
}

/// A current scope, span or baggage entry.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Frame {
    /// A span that the crate made current, with the scope of its tracer.
    Span { target: TracerRef, op: OpId },
    /// A span that was made current with OpenTelemetry's API.
    ByHand { target: TracerRef, op: OpId },
    /// The scope of a tracer.
    Scope { target: TracerRef },
    /// The scope of the session that an operation started.
    Session { target: TracerRef, op: OpId, end: End },
    /// A baggage entry.
    Baggage { target: TracerRef, op: OpId },
    /// The scope that `extract` returned for incoming headers.
    Incoming { target: TracerRef, accepted: Accepted },
    /// The enclosing operations have ended.
    AllDone,
}

/// Time at which a session is ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    Never,
    /// Later in the operation that started it.
    Later,
    /// Before the current position.
    Already,
}

/// Parts of the incoming headers of operation `op` that a tracer accepts.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Accepted {
    pub(crate) op: OpId,
    pub(crate) parent: bool,
    pub(crate) session: bool,
    pub(crate) baggage: bool,
}

/// A reachable handle.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Handle {
    Span {
        target: TracerRef,
        op: OpId,
        /// Whether the root of its trace is a local span of its tracer.
        has_local_root: bool,
    },
    Session {
        target: TracerRef,
        op: OpId,
        end: End,
    },
    Dedicated {
        member: usize,
        op: OpId,
    },
    /// The span has ended.
    Ended(OpId),
    /// All enclosing spans have ended.
    AllEnded,
}

/// Parent of a span.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Parent {
    None,
    Span(OpId),
    /// From the incoming headers of this operation.
    Remote(OpId),
}

/// Session of a span.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum InSession {
    None,
    Started(OpId),
    /// From the incoming headers of this operation.
    Incoming(OpId),
}

impl Env {
    pub(crate) fn with(&self, frame: Frame) -> Self {
        Self(Some(Rc::new(Node {
            value: frame,
            outer: self.0.clone(),
        })))
    }

    fn frames(&self) -> impl Iterator<Item = Frame> {
        walk(self.0.as_deref()).copied()
    }

    /// Returns the innermost enclosing span of the tracer, or a remote parent it accepted, if
    /// nearer.
    pub(crate) fn parent(&self, of: TracerRef) -> Parent {
        let mut found = self.frames().filter_map(|frame| match frame {
            Frame::Span { target, op } | Frame::ByHand { target, op } if target == of => Some(Parent::Span(op)),
            Frame::Incoming { target, accepted } if target == of && accepted.parent => {
                Some(Parent::Remote(accepted.op))
            }
            _ => None,
        });
        found.next().unwrap_or(Parent::None)
    }

    /// Returns the tracer's innermost enclosing span if code can reach the span and not only its
    /// id. A span made current by hand hides the ones around it.
    pub(crate) fn accessible_span(&self, of: TracerRef) -> Option<OpId> {
        let nearest = self
            .frames()
            .find(|frame| !matches!(frame, Frame::Baggage { .. } | Frame::AllDone));
        if let Some(Frame::ByHand { target, op }) = nearest {
            return (target == of).then_some(op);
        }
        let of_tracer = self.frames().find(|frame| match frame {
            Frame::ByHand { .. } => true,
            Frame::Span { target, .. } => *target == of,
            Frame::Incoming { target, accepted } => *target == of && accepted.parent,
            _ => false,
        });
        match of_tracer {
            Some(Frame::Span { op, .. }) => Some(op),
            _ => None,
        }
    }

    /// Returns the tracer's innermost enclosing session, if it has not ended.
    pub(crate) fn session(&self, of: TracerRef) -> InSession {
        self.innermost_session(of, false)
    }

    /// Returns the tracer's innermost enclosing session, even if it has ended.
    pub(crate) fn current_session(&self, of: TracerRef) -> InSession {
        self.innermost_session(of, true)
    }

    fn innermost_session(&self, of: TracerRef, include_ended: bool) -> InSession {
        let mut done = false;
        for frame in self.frames() {
            match frame {
                Frame::AllDone => done = true,
                // An ended session hides the ones around it.
                Frame::Session { target, end, .. } if target == of && end.is_over(done) && !include_ended => {
                    return InSession::None;
                }
                Frame::Session { target, op, .. } if target == of => return InSession::Started(op),
                Frame::Incoming { target, accepted } if target == of && accepted.session => {
                    return InSession::Incoming(accepted.op);
                }
                _ => {}
            }
        }
        InSession::None
    }

    /// Returns the tracer's baggage: the operations that set entries, and the incoming headers with
    /// further entries.
    pub(crate) fn baggage(&self, of: TracerRef) -> (Vec<OpId>, Option<Accepted>) {
        let mut set = Vec::new();
        for frame in self.frames() {
            match frame {
                Frame::Baggage { target, op } if target == of => set.push(op),
                // Replaces the outer baggage, even if the request has none.
                Frame::Incoming { target, accepted } if target == of => {
                    return (set, accepted.baggage.then_some(accepted));
                }
                _ => {}
            }
        }
        (set, None)
    }

    /// Returns the tracer of the innermost scope. A span made current by hand has no scope.
    pub(crate) fn owner(&self) -> Option<TracerRef> {
        self.frames().find_map(|frame| match frame {
            Frame::Span { target, .. }
            | Frame::Scope { target }
            | Frame::Session { target, .. }
            | Frame::Incoming { target, .. } => Some(target),
            Frame::ByHand { .. } | Frame::Baggage { .. } | Frame::AllDone => None,
        })
    }

    /// Returns whether a span of the tracer may be made current by hand. It must not directly cover
    /// another tracer's span that was too, because a context holds only one span
    /// (docs/decisions/0001). If tracers are replaced, the same name may be another tracer.
    pub(crate) fn may_by_hand(&self, of: TracerRef, replaced: bool) -> bool {
        let nearest = self
            .frames()
            .find(|frame| !matches!(frame, Frame::Baggage { .. } | Frame::AllDone));
        !matches!(nearest, Some(Frame::ByHand { target, .. }) if replaced || target != of)
    }
}

impl End {
    fn is_over(self, done: bool) -> bool {
        self == Self::Already || (self == Self::Later && done)
    }
}

impl Reach {
    pub(crate) fn with(&self, handle: Handle) -> Self {
        Self(Some(Rc::new(Node {
            value: handle,
            outer: self.0.clone(),
        })))
    }

    pub(crate) fn handles(&self) -> impl Iterator<Item = Handle> {
        walk(self.0.as_deref()).copied()
    }

    /// Returns the tracer itself, or the pooled one if the dedicated one is not reachable.
    pub(crate) fn resolve(&self, target: TracerRef) -> TracerRef {
        let is_reachable = |op| {
            self.handles()
                .any(|handle| matches!(handle, Handle::Dedicated { op: made, .. } if made == op))
        };
        TracerRef {
            dedicated: target.dedicated.filter(|op| is_reachable(*op)),
            ..target
        }
    }

    /// Returns the tracer and the end of a reachable session.
    pub(crate) fn session(&self, wanted: OpId) -> Option<(TracerRef, End)> {
        let mut done = false;
        for handle in self.handles() {
            match handle {
                Handle::AllEnded => done = true,
                Handle::Session { target, end, op } if op == wanted && end.is_over(done) => {
                    return Some((target, End::Already));
                }
                Handle::Session { target, end, op } if op == wanted => return Some((target, end)),
                _ => {}
            }
        }
        None
    }

    /// Returns the handle of a span that starts in `env`.
    pub(crate) fn started(&self, env: &Env, target: TracerRef, op: OpId) -> Handle {
        let has_local_root = match env.parent(target) {
            Parent::None => true,
            Parent::Remote(_) => false,
            // The only unreachable parent is the span of a worker, which is a root.
            Parent::Span(parent) => !self.has_remote_root(parent),
        };
        Handle::Span {
            target,
            op,
            has_local_root,
        }
    }

    /// Returns the tracer of a reachable span.
    pub(crate) fn tracer_of(&self, wanted: OpId) -> Option<TracerRef> {
        self.handles().find_map(|handle| match handle {
            Handle::Span { target, op, .. } if op == wanted => Some(target),
            _ => None,
        })
    }

    fn has_remote_root(&self, wanted: OpId) -> bool {
        let is_it =
            |handle| matches!(handle, Handle::Span { op, has_local_root, .. } if op == wanted && !has_local_root);
        self.handles().any(is_it)
    }

    /// Returns whether another member of the same registry started the trace of a reachable span.
    pub(crate) fn is_trace_of_sibling(&self, span: OpId, member: usize, cast: &[Member]) -> bool {
        let owner = self.tracer_of(span).filter(|_| !self.has_remote_root(span));
        owner.is_some_and(|target| target.member != member && cast[target.member].registry == cast[member].registry)
    }

    /// Returns whether a reachable span is open. `None` if it is not reachable.
    pub(crate) fn span(&self, wanted: OpId) -> Option<bool> {
        let mut open = true;
        for handle in self.handles() {
            match handle {
                Handle::AllEnded => open = false,
                Handle::Ended(op) if op == wanted => open = false,
                Handle::Span { op, .. } if op == wanted => return Some(open),
                _ => {}
            }
        }
        None
    }
}

fn walk<T>(node: Option<&Node<T>>) -> impl Iterator<Item = &T> {
    std::iter::successors(node, |node| node.outer.as_deref()).map(|node| &node.value)
}

//! What is current at one place of a program, by lexical rules alone, and which handles the code there can reach.

use std::rc::Rc;

use super::super::program::cast::Member;
use super::super::program::operation::{OpId, Who};

/// What is current, the innermost first. A captured one is the same value.
#[derive(Clone, Debug, Default)]
pub(crate) struct Env(Option<Rc<Node<Frame>>>);

/// What the code has in its variables, whatever is current.
#[derive(Clone, Debug, Default)]
pub(crate) struct Reach(Option<Rc<Node<Handle>>>);

#[derive(Debug)]
struct Node<T> {
    value: T,
    outer: Option<Rc<Node<T>>>,
}

/// One thing that is current.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Frame {
    /// A span that was made current by a function of the crate, which also enters its tracer's scope.
    Span { who: Who, op: OpId },
    /// A span that was made current with OpenTelemetry's own means.
    ByHand { who: Who, op: OpId },
    /// A tracer's scope.
    Scope { who: Who },
    /// The scope of the session that an operation started.
    Session { who: Who, op: OpId, end: End },
    /// A baggage entry.
    Baggage { who: Who, op: OpId },
    /// What `extract` took from incoming headers.
    Incoming { who: Who, taken: Taken },
    /// The operations further out are done.
    AllDone,
}

/// When a session is ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    Never,
    /// Within the operation that started it.
    Later,
    /// Before the place that is looked at.
    Already,
}

/// What a tracer takes from incoming headers; the operation says which ones they were.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Taken {
    pub(crate) op: OpId,
    pub(crate) parent: bool,
    pub(crate) session: bool,
    pub(crate) baggage: bool,
}

/// One thing in reach.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Handle {
    Span {
        who: Who,
        op: OpId,
        /// Whether its trace was begun by a span of its tracer.
        is_begun: bool,
    },
    Session {
        who: Who,
        op: OpId,
        end: End,
    },
    Dedicated {
        member: usize,
        op: OpId,
    },
    /// The span has ended from here on.
    Ended(OpId),
    /// All spans further out have ended.
    AllEnded,
}

/// The parent of a span.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Parent {
    None,
    Span(OpId),
    /// The one in the headers of that operation.
    Remote(OpId),
}

/// The session of a span.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum InSession {
    None,
    Started(OpId),
    /// The one in the headers of that operation.
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

    /// The innermost enclosing span of the tracer, or the remote parent that it took, if that is nearer.
    pub(crate) fn parent(&self, of: Who) -> Parent {
        let mut found = self.frames().filter_map(|frame| match frame {
            Frame::Span { who, op } | Frame::ByHand { who, op } if who == of => Some(Parent::Span(op)),
            Frame::Incoming { who, taken } if who == of && taken.parent => Some(Parent::Remote(taken.op)),
            _ => None,
        });
        found.next().unwrap_or(Parent::None)
    }

    /// The innermost enclosing span of the tracer, where code finds more of it than its id: not
    /// past one that was made current by hand.
    pub(crate) fn span_at_hand(&self, of: Who) -> Option<OpId> {
        let nearest = self
            .frames()
            .find(|frame| !matches!(frame, Frame::Baggage { .. } | Frame::AllDone));
        if let Some(Frame::ByHand { who, op }) = nearest {
            return (who == of).then_some(op);
        }
        let of_tracer = self.frames().find(|frame| match frame {
            Frame::ByHand { .. } => true,
            Frame::Span { who, .. } => *who == of,
            Frame::Incoming { who, taken } => *who == of && taken.parent,
            _ => false,
        });
        match of_tracer {
            Some(Frame::Span { op, .. }) => Some(op),
            _ => None,
        }
    }

    /// The innermost enclosing session of the tracer.
    pub(crate) fn session(&self, of: Who) -> InSession {
        self.innermost_session(of, false)
    }

    /// The same, and where it has ended still that one: what is current is not what is carried.
    pub(crate) fn current_session(&self, of: Who) -> InSession {
        self.innermost_session(of, true)
    }

    fn innermost_session(&self, of: Who, ended_too: bool) -> InSession {
        let mut done = false;
        for frame in self.frames() {
            match frame {
                Frame::AllDone => done = true,
                // One that has ended is not carried any more, and hides the ones further out all the same.
                Frame::Session { who, end, .. } if who == of && end.is_over(done) && !ended_too => {
                    return InSession::None;
                }
                Frame::Session { who, op, .. } if who == of => return InSession::Started(op),
                Frame::Incoming { who, taken } if who == of && taken.session => return InSession::Incoming(taken.op),
                _ => {}
            }
        }
        InSession::None
    }

    /// The tracer's own baggage: the operations that set an entry, and the headers that it begins with.
    pub(crate) fn baggage(&self, of: Who) -> (Vec<OpId>, Option<Taken>) {
        let mut set = Vec::new();
        for frame in self.frames() {
            match frame {
                Frame::Baggage { who, op } if who == of => set.push(op),
                // In place of what was, also where the request has none.
                Frame::Incoming { who, taken } if who == of => return (set, taken.baggage.then_some(taken)),
                _ => {}
            }
        }
        (set, None)
    }

    /// Whose baggage would be set here: the tracer of the innermost scope. A span made current by hand has none.
    pub(crate) fn owner(&self) -> Option<Who> {
        self.frames().find_map(|frame| match frame {
            Frame::Span { who, .. }
            | Frame::Scope { who }
            | Frame::Session { who, .. }
            | Frame::Incoming { who, .. } => Some(who),
            Frame::ByHand { .. } | Frame::Baggage { .. } | Frame::AllDone => None,
        })
    }

    /// Whether a span of the tracer may be made current by hand: not directly over another tracer's
    /// that was too. A context holds one span, so there the first leaves no trace
    /// (docs/decisions/0001). If tracers are replaced meanwhile, the same name may be another
    /// tracer.
    pub(crate) fn may_by_hand(&self, of: Who, replaced: bool) -> bool {
        let nearest = self
            .frames()
            .find(|frame| !matches!(frame, Frame::Baggage { .. } | Frame::AllDone));
        !matches!(nearest, Some(Frame::ByHand { who, .. }) if replaced || who != of)
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

    /// The tracer that is meant here.
    pub(crate) fn resolve(&self, who: Who) -> Who {
        let is_around = |op| {
            self.handles()
                .any(|handle| matches!(handle, Handle::Dedicated { op: made, .. } if made == op))
        };
        Who {
            dedicated: who.dedicated.filter(|op| is_around(*op)),
            ..who
        }
    }

    /// The tracer of a session that is around, and when the session is ended.
    pub(crate) fn session(&self, wanted: OpId) -> Option<(Who, End)> {
        let mut done = false;
        for handle in self.handles() {
            match handle {
                Handle::AllEnded => done = true,
                Handle::Session { who, end, op } if op == wanted && end.is_over(done) => {
                    return Some((who, End::Already));
                }
                Handle::Session { who, end, op } if op == wanted => return Some((who, end)),
                _ => {}
            }
        }
        None
    }

    /// A span of the tracer that is started in a place, as a handle.
    pub(crate) fn started(&self, env: &Env, who: Who, op: OpId) -> Handle {
        let is_begun = match env.parent(who) {
            Parent::None => true,
            Parent::Remote(_) => false,
            // Not in reach is a worker's own, which is a root.
            Parent::Span(parent) => !self.is_begun_elsewhere(parent),
        };
        Handle::Span { who, op, is_begun }
    }

    /// The tracer of a span that is around.
    pub(crate) fn tracer_of(&self, wanted: OpId) -> Option<Who> {
        self.handles().find_map(|handle| match handle {
            Handle::Span { who, op, .. } if op == wanted => Some(who),
            _ => None,
        })
    }

    fn is_begun_elsewhere(&self, wanted: OpId) -> bool {
        let is_it = |handle| matches!(handle, Handle::Span { op, is_begun, .. } if op == wanted && !is_begun);
        self.handles().any(is_it)
    }

    /// Whether another member of the same registry as `member` began the trace of a span that is around.
    pub(crate) fn is_begun_beside(&self, span: OpId, member: usize, cast: &[Member]) -> bool {
        let owner = self.tracer_of(span).filter(|_| !self.is_begun_elsewhere(span));
        owner.is_some_and(|who| who.member != member && cast[who.member].registry == cast[member].registry)
    }

    /// A span that is around, and whether it is open still.
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

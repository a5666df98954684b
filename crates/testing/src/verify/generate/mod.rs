//! Random programs. The same seed generates the same program.

mod disturbances;
mod position;

use rand::rngs::StdRng;
use rand::seq::IndexedRandom as _;
use rand::{Rng as _, SeedableRng as _};

use super::oracle::env::{Env, Handle, Reach};
use super::program::cast::Member;
use super::program::operation::{
    Block, Carried, Forgery, How, Kind, Misname, Mode, Op, OpId, Program, Thread, TracerRef,
};
use position::Position;

/// Maximum nesting of blocks. Each tree has its own limit up to this one.
const MAX_DEPTH: usize = 10;
/// Tracers in one tree of operations; few, so that they occur again at inner levels.
const TREE_MEMBERS: usize = 4;
/// Maximum operations in one tree. Keeps the late attributes of a span below the attribute limit.
const MAX_TREE: usize = 80;
/// Threads that live as long as the program.
const WORKERS: usize = 2;

/// Threads with too many contexts in a program; each takes some milliseconds.
const OVERFULL: usize = 3;

/// In disturbed programs, one of this many operations is a disturbance.
const DISTURBANCE: u32 = 100;

/// Generates a program with this number of operations.
pub(crate) fn generate(seed: u64, operations: usize, threads: usize, cast: &[Member]) -> Program {
    generate_program(seed, operations, threads, cast, false)
}

/// Generates a program with disturbances between its operations.
pub(crate) fn generate_disturbed(seed: u64, operations: usize, threads: usize, cast: &[Member]) -> Program {
    generate_program(seed, operations, threads, cast, true)
}

fn generate_program(seed: u64, operations: usize, threads: usize, cast: &[Member], disturbed: bool) -> Program {
    let members: Vec<usize> = (0..cast.len()).filter(|member| !cast[*member].is_target()).collect();
    let mut generator = Generator {
        rng: StdRng::seed_from_u64(seed),
        cast,
        members,
        disturbed,
        next: 1,
        tree_members: Vec::new(),
        left: 0,
        tree: 0,
        depth: MAX_DEPTH,
        overfull: OVERFULL,
    };
    let workers = (0..WORKERS)
        .map(|_| {
            (
                generator.id(),
                TracerRef::pooled(generator.members[generator.rng.random_range(0..generator.members.len())]),
            )
        })
        .collect();
    let threads = (0..threads.max(1))
        .map(|thread| {
            let share = operations / threads.max(1) + usize::from(thread < operations % threads.max(1));
            generator.thread(share, thread == 0)
        })
        .collect();
    Program { threads, workers }
}

struct Generator<'a> {
    rng: StdRng,
    cast: &'a [Member],
    /// Members that programs use.
    members: Vec<usize>,
    disturbed: bool,
    next: OpId,
    /// Members that the current tree uses.
    tree_members: Vec<usize>,
    /// Operations left for the current thread.
    left: usize,
    /// Operations left for the current tree.
    tree: usize,
    /// Maximum nesting of the current tree.
    depth: usize,
    /// Threads with too many contexts left for the program.
    overfull: usize,
}

impl Generator<'_> {
    fn id(&mut self) -> OpId {
        self.next += 1;
        self.next - 1
    }

    fn thread(&mut self, operations: usize, is_first: bool) -> Thread {
        self.left = operations;
        let mode = if is_first || self.rng.random_ratio(3, 4) {
            Mode::Async
        } else {
            Mode::Sync
        };
        let mut block = Vec::new();
        // Exactly once in a program: between trees, when this many operations or fewer are left.
        let mut refused_at =
            (self.disturbed && is_first).then(|| self.rng.random_range(MAX_TREE.min(operations)..=operations));
        while self.left > 0 {
            if refused_at.take_if(|at| self.left <= *at).is_some() {
                block.extend(self.refused());
                continue;
            }
            self.tree = self.rng.random_range(1..=MAX_TREE);
            self.depth = self.rng.random_range(3..=MAX_DEPTH);
            let members = self.members.choose_multiple(&mut self.rng, TREE_MEMBERS);
            self.tree_members = members.copied().collect();
            let position = Position {
                mode,
                env: Env::default(),
                reach: Reach::default(),
                depth: 0,
                in_channel: false,
            };
            block.push(self.op(&position));
        }
        Thread {
            mode,
            block: block.into(),
        }
    }

    fn block(&mut self, position: &Position) -> Block {
        let wanted = self.rng.random_range(1..=4);
        (0..wanted)
            .map_while(|_| (self.left > 0 && self.tree > 0).then(|| self.op(position)))
            .collect()
    }

    fn op(&mut self, position: &Position) -> Op {
        self.left -= 1;
        self.tree = self.tree.saturating_sub(1);
        let id = self.id();
        // The first choice may not fit the position; an inject operation always does.
        let found = (0..6).find_map(|_| self.kind(position));
        let kind = found.unwrap_or_else(|| Kind::Inject {
            target: self.target(position),
        });
        let mode = self.body_mode(&kind, position.mode);
        let inside = position.inside(id, &kind, mode, self.cast);
        let is_leaf = matches!(
            kind,
            Kind::Enrich { .. }
                | Kind::Late { .. }
                | Kind::Current { .. }
                | Kind::Link { .. }
                | Kind::Inject { .. }
                | Kind::Ask
                | Kind::Misname { .. }
                | Kind::Event { .. }
                | Kind::Yield
                | Kind::Overfull { .. }
                | Kind::Disturb(_)
                | Kind::Refused { .. }
        );
        let body = if is_leaf || position.depth >= self.depth {
            Block::default()
        } else {
            self.block(&inside)
        };
        Op { id, kind, mode, body }
    }

    /// Returns a random kind, or `None` if it does not fit the position.
    fn kind(&mut self, position: &Position) -> Option<Kind> {
        if self.disturbed && self.rng.random_ratio(1, DISTURBANCE) {
            return Some(Kind::Disturb(self.disturbance()));
        }
        let target = self.target(position);
        if position.depth >= self.depth {
            return self.leaf(position, target);
        }
        let roll = self.rng.random_range(0..100);
        if roll < 20 {
            return self.leaf(position, target);
        }
        if roll < 58 {
            return self.span(position, target);
        }
        if roll < 84 {
            return self.around(position, target);
        }
        match position.mode {
            // Threads are expensive, so choose them less often.
            Mode::Sync if roll < 92 => self.leaf(position, target),
            Mode::Sync => Some(self.moved(position)),
            Mode::Async if roll < 86 => Some(self.moved(position)),
            // Not in disturbed programs: only the layer knows which tracer instance serves a
            // request.
            Mode::Async if roll < 89 && !self.disturbed => Some(Kind::Request {
                member: target.member,
                forgery: self.forgery(position, target)?,
                read: self.rng.random_bool(0.5),
            }),
            Mode::Async => Some(self.task(target)),
        }
    }

    fn leaf(&mut self, position: &Position, target: TracerRef) -> Option<Kind> {
        // At the first positions that fit.
        if self.overfull > 0 && position.env.owner().is_some_and(|owner| owner.member != target.member) {
            self.overfull -= 1;
            return Some(Kind::Overfull { target });
        }
        match self.rng.random_range(0..20) {
            18.. => Some(Kind::Event {
                target: position.env.owner()?,
            }),
            0..4 => Some(Kind::Loose {
                target,
                elsewhere: self.rng.random_ratio(1, 8),
            }),
            4..7 => Some(Kind::Enrich {
                session: self.session_in_reach(position)?,
            }),
            7..11 => Some(Kind::Late {
                span: self.span_in_reach(position)?,
            }),
            11 => Some(Kind::Misname {
                member: target.member,
                how: *[Misname::Unknown, Misname::Invalid, Misname::OtherRegistry].choose(&mut self.rng)?,
            }),
            12 => Some(Kind::Ask),
            14 => Some(Kind::Current { target }),
            15 => {
                let (from, to) = (self.span_in_reach(position)?, self.span_in_reach(position)?);
                let from_member = position.reach.tracer_of(from)?.member;
                // Links to remote spans are kept, so a flagged link must not look like one.
                let is_recognized = position.reach.is_trace_of_sibling(to, from_member, self.cast);
                let remote = is_recognized && self.rng.random_bool(0.5);
                Some(Kind::Link { from, to, remote })
            }
            13 => Some(Kind::Yield).filter(|_| position.mode == Mode::Async),
            _ => Some(Kind::Inject { target }),
        }
    }

    fn span(&mut self, position: &Position, target: TracerRef) -> Option<Kind> {
        let how = match self.rng.random_range(0..16) {
            0..5 => How::Closure,
            10..12 => How::Traced,
            12..14 => How::TracedInScope,
            14.. => How::Subscriber,
            // Synchronous bodies only, so choose it less often in an asynchronous block.
            5 => How::Trait,
            6 if position.mode == Mode::Sync => How::Trait,
            _ => How::ByHand {
                ended_after: self.rng.random_range(0..5),
            },
        };
        if let (How::Trait, Some(owner)) = (how, position.env.owner())
            && self.rng.random_bool(0.5)
        {
            let how = How::Routed;
            return Some(Kind::Span { target: owner, how });
        }
        if how.uses_scope() {
            let Some(target) = position.env.owner() else {
                // Workers run in a scope.
                let by_subscriber = how == How::Subscriber;
                return (!position.in_channel).then_some(Kind::Unscoped { by_subscriber });
            };
            return Some(Kind::Span { target, how });
        }
        let fits = !matches!(how, How::ByHand { .. })
            || position.env.may_by_hand(position.reach.resolve(target), self.disturbed);
        fits.then_some(Kind::Span { target, how })
    }

    fn around(&mut self, position: &Position, target: TracerRef) -> Option<Kind> {
        match self.rng.random_range(0..18) {
            0..4 => Some(Kind::Scope { target }),
            4..8 => Some(Kind::Session {
                target,
                given: self.rng.random_bool(0.5),
                current: self.rng.random_ratio(4, 5),
                end: self.rng.random_ratio(1, 3).then(|| self.rng.random_range(0..5)),
            }),
            8..11 => Some(Kind::Baggage {
                target: position.env.owner()?,
            }),
            11..14 => Some(Kind::Incoming {
                target,
                forgery: self.forgery(position, target)?,
            }),
            14 => Some(Kind::Panic { target }),
            15..17 => Some(Kind::Rejoin {
                session: self.session_in_reach(position)?,
            }),
            _ => Some(Kind::Dedicated { member: target.member }),
        }
    }

    fn forgery(&mut self, position: &Position, target: TracerRef) -> Option<Forgery> {
        let member = &self.cast[target.member];
        match self.rng.random_range(0..6) {
            0 => Some(Forgery::Parent),
            4 => Some(Forgery::Garbage),
            1 => {
                let span = self.span_in_reach(position)?;
                // A member that trusts headers may accept ids of other registries and of remote
                // traces.
                let is_refused =
                    !member.trusts_parents || position.reach.is_trace_of_sibling(span, target.member, self.cast);
                is_refused.then_some(Forgery::ParentOf(span))
            }
            2 => Some(Forgery::Session),
            3 if !member.takes_sessions => Some(Forgery::SessionOf(self.session_in_reach(position)?)),
            _ => Some(Forgery::Baggage(self.rng.random_range(0..self.cast.len()))),
        }
    }

    /// Returns an operation that moves its body to another thread.
    fn moved(&mut self, position: &Position) -> Kind {
        let carried = self.rng.random_ratio(3, 4);
        if !position.in_channel && self.rng.random_ratio(2, 3) {
            let worker = self.rng.random_range(0..WORKERS);
            return Kind::Channel { worker, carried };
        }
        let scoped = self.rng.random_bool(0.5);
        Kind::Thread { carried, scoped }
    }

    fn task(&mut self, target: TracerRef) -> Kind {
        let carried = self.rng.random_ratio(3, 4);
        match self.rng.random_range(0..16) {
            0..4 => Kind::Spawn {
                carried: *[Carried::Nothing, Carried::Scope, Carried::Context]
                    .choose(&mut self.rng)
                    .unwrap_or(&Carried::Scope),
            },
            4..6 => Kind::SpawnSpan { target },
            6..8 => Kind::JoinSet { carried },
            8 => Kind::Blocking { carried },
            9..11 => Kind::Select {
                target,
                on_drop: self.id(),
            },
            11 => Kind::Abort {
                target,
                on_drop: self.id(),
            },
            12..15 => Kind::Deferred { carried },
            _ => Kind::Stream { reader: target },
        }
    }

    fn target(&mut self, position: &Position) -> TracerRef {
        let member = *self.tree_members.choose(&mut self.rng).unwrap_or(&0);
        let dedicated = position.reach.handles().find_map(|handle| match handle {
            Handle::Dedicated { member: made, op } if made == member => Some(op),
            _ => None,
        });
        TracerRef {
            instance: 0,
            member,
            dedicated: dedicated.filter(|_| self.rng.random_bool(0.5)),
        }
    }

    fn session_in_reach(&mut self, position: &Position) -> Option<OpId> {
        let sessions = position.reach.handles().filter_map(|handle| match handle {
            Handle::Session { op, .. } => Some(op),
            _ => None,
        });
        sessions.collect::<Vec<_>>().choose(&mut self.rng).copied()
    }

    fn span_in_reach(&mut self, position: &Position) -> Option<OpId> {
        let spans = position.reach.handles().filter_map(|handle| match handle {
            Handle::Span { op, .. } => Some(op),
            _ => None,
        });
        spans.take(6).collect::<Vec<_>>().choose(&mut self.rng).copied()
    }

    fn body_mode(&mut self, kind: &Kind, outer: Mode) -> Mode {
        match (outer, kind) {
            (Mode::Sync, _)
            | (
                _,
                Kind::Thread { .. }
                | Kind::Channel { .. }
                | Kind::Blocking { .. }
                | Kind::Span {
                    how: How::Trait | How::Routed,
                    ..
                },
            ) => Mode::Sync,
            (
                Mode::Async,
                Kind::Spawn { .. }
                | Kind::SpawnSpan { .. }
                | Kind::JoinSet { .. }
                | Kind::Request { .. }
                | Kind::Select { .. }
                | Kind::Abort { .. }
                | Kind::Deferred { .. }
                | Kind::Stream { .. },
            ) => Mode::Async,
            (Mode::Async, _) if self.rng.random_ratio(1, 12) => Mode::Sync,
            (Mode::Async, _) => Mode::Async,
        }
    }
}

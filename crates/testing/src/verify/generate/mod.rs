//! Random programs, the same ones for the same seed.

mod disturbances;
mod position;

use rand::rngs::StdRng;
use rand::seq::IndexedRandom as _;
use rand::{Rng as _, SeedableRng as _};

use super::oracle::env::{Env, Handle, Reach};
use super::program::cast::Member;
use super::program::operation::{Block, Carried, How, Kind, Lie, Misname, Mode, Op, OpId, Program, Thread, Who};
use position::Position;

/// How deep blocks stand in one another at the most; each tree has a bound of its own up to here.
const MAX_DEPTH: usize = 10;
/// How many tracers meet in one tree of operations, so that they come back further in.
const COMPANY: usize = 4;
/// Operations of one tree at the most: what is set late on its spans stays within the limit for attributes.
const MAX_TREE: usize = 80;
/// Threads that live as long as the program.
const WORKERS: usize = 2;

/// How many threads with too many contexts there are: each takes some milliseconds.
const OVERFULL: usize = 3;

/// Of so many operations one is a disturbance, where there are to be some.
const DISTURBANCE: u32 = 100;

/// Makes a program of about so many operations.
pub(crate) fn generate(seed: u64, operations: usize, threads: usize, cast: &[Member]) -> Program {
    make(seed, operations, threads, cast, false)
}

/// The same with disturbances between the operations.
pub(crate) fn generate_disturbed(seed: u64, operations: usize, threads: usize, cast: &[Member]) -> Program {
    make(seed, operations, threads, cast, true)
}

fn make(seed: u64, operations: usize, threads: usize, cast: &[Member], disturbed: bool) -> Program {
    let mut generator = Generator {
        rng: StdRng::seed_from_u64(seed),
        cast,
        disturbed,
        next: 1,
        company: Vec::new(),
        left: 0,
        tree: 0,
        depth: MAX_DEPTH,
        overfull: OVERFULL,
    };
    let workers = (0..WORKERS)
        .map(|_| (generator.id(), Who::pooled(generator.rng.random_range(0..cast.len()))))
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
    disturbed: bool,
    next: OpId,
    /// The tracers of the tree that is being made.
    company: Vec<usize>,
    /// Operations that the thread may still have.
    left: usize,
    /// Operations that the tree may still have.
    tree: usize,
    /// How deep its blocks stand in one another.
    depth: usize,
    /// Threads with too many contexts that are still to be made.
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
        // Once in a program, and for certain: when as much is left, which is more than one tree takes.
        let mut refused_at =
            (self.disturbed && is_first).then(|| self.rng.random_range(MAX_TREE.min(operations)..=operations));
        while self.left > 0 {
            if refused_at.take_if(|at| self.left <= *at).is_some() {
                block.extend(self.refused());
                continue;
            }
            let members: Vec<usize> = (0..self.cast.len()).collect();
            self.tree = self.rng.random_range(1..=MAX_TREE);
            self.depth = self.rng.random_range(3..=MAX_DEPTH);
            self.company = members.choose_multiple(&mut self.rng, COMPANY).copied().collect();
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
        // A position may have no use for the first choice; a leaf fits everywhere.
        let found = (0..6).find_map(|_| self.kind(position));
        let kind = found.unwrap_or_else(|| Kind::Inject {
            who: self.who(position),
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

    /// Some kind that fits here, or `None` if the roll fell on one that does not.
    fn kind(&mut self, position: &Position) -> Option<Kind> {
        if self.disturbed && self.rng.random_ratio(1, DISTURBANCE) {
            return Some(Kind::Disturb(self.disturbance()));
        }
        let who = self.who(position);
        if position.depth >= self.depth {
            return self.leaf(position, who);
        }
        let roll = self.rng.random_range(0..100);
        if roll < 20 {
            return self.leaf(position, who);
        }
        if roll < 58 {
            return self.span(position, who);
        }
        if roll < 84 {
            return self.around(position, who);
        }
        match position.mode {
            // A thread costs more than all else here.
            Mode::Sync if roll < 92 => self.leaf(position, who),
            Mode::Sync => Some(self.moved(position)),
            Mode::Async if roll < 86 => Some(self.moved(position)),
            // If tracers are replaced, which one a request came by is known to its layer alone.
            Mode::Async if roll < 89 && !self.disturbed => Some(Kind::Request {
                member: who.member,
                lie: self.lie(position, who)?,
                read: self.rng.random_bool(0.5),
            }),
            Mode::Async => Some(self.task(who)),
        }
    }

    fn leaf(&mut self, position: &Position, who: Who) -> Option<Kind> {
        // The first places that fit: each program has its own.
        if self.overfull > 0 && position.env.owner().is_some_and(|owner| owner.member != who.member) {
            self.overfull -= 1;
            return Some(Kind::Overfull { who });
        }
        match self.rng.random_range(0..20) {
            18.. => Some(Kind::Event {
                who: position.env.owner()?,
            }),
            0..4 => Some(Kind::Loose {
                who,
                elsewhere: self.rng.random_ratio(1, 8),
            }),
            4..7 => Some(Kind::Enrich {
                session: self.session_in_reach(position)?,
            }),
            7..11 => Some(Kind::Late {
                span: self.span_in_reach(position)?,
            }),
            11 => Some(Kind::Misname {
                member: who.member,
                how: *[Misname::Unknown, Misname::NotAName, Misname::OtherRegistry].choose(&mut self.rng)?,
            }),
            12 => Some(Kind::Ask),
            14 => Some(Kind::Current { who }),
            15 => {
                let (from, to) = (self.span_in_reach(position)?, self.span_in_reach(position)?);
                let from_member = position.reach.tracer_of(from)?.member;
                // Links to spans of other processes are kept, and so is what only looks like one.
                let may_seem_remote = position.reach.is_begun_beside(to, from_member, self.cast);
                let remote = may_seem_remote && self.rng.random_bool(0.5);
                Some(Kind::Link { from, to, remote })
            }
            13 => Some(Kind::Yield).filter(|_| position.mode == Mode::Async),
            _ => Some(Kind::Inject { who }),
        }
    }

    fn span(&mut self, position: &Position, who: Who) -> Option<Kind> {
        let how = match self.rng.random_range(0..16) {
            0..5 => How::Closure,
            10..12 => How::Traced,
            12..14 => How::TracedInScope,
            14.. => How::Subscriber,
            // Has synchronous bodies only, and in an asynchronous block those are to be the smaller part.
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
            return Some(Kind::Span { who: owner, how });
        }
        if how.is_of_scope() {
            let Some(who) = position.env.owner() else {
                // Workers stand in scopes of their own.
                let by_subscriber = how == How::Subscriber;
                return (!position.in_channel).then_some(Kind::Unscoped { by_subscriber });
            };
            return Some(Kind::Span { who, how });
        }
        let fits =
            !matches!(how, How::ByHand { .. }) || position.env.may_by_hand(position.reach.resolve(who), self.disturbed);
        fits.then_some(Kind::Span { who, how })
    }

    fn around(&mut self, position: &Position, who: Who) -> Option<Kind> {
        match self.rng.random_range(0..18) {
            0..4 => Some(Kind::Scope { who }),
            4..8 => Some(Kind::Session {
                who,
                given: self.rng.random_bool(0.5),
                current: self.rng.random_ratio(4, 5),
                end: self.rng.random_ratio(1, 3).then(|| self.rng.random_range(0..5)),
            }),
            8..11 => Some(Kind::Baggage {
                who: position.env.owner()?,
            }),
            11..14 => Some(Kind::Incoming {
                who,
                lie: self.lie(position, who)?,
            }),
            14 => Some(Kind::Panic { who }),
            15..17 => Some(Kind::Rejoin {
                session: self.session_in_reach(position)?,
            }),
            _ => Some(Kind::Dedicated { member: who.member }),
        }
    }

    fn lie(&mut self, position: &Position, who: Who) -> Option<Lie> {
        let member = &self.cast[who.member];
        match self.rng.random_range(0..6) {
            0 => Some(Lie::Parent),
            4 => Some(Lie::Garbage),
            1 => {
                let span = self.span_in_reach(position)?;
                // A member that trusts headers would be right to use real ids of other registries,
                // and of traces that were begun elsewhere.
                let is_known = !member.trusts_parents || position.reach.is_begun_beside(span, who.member, self.cast);
                is_known.then_some(Lie::ParentOf(span))
            }
            2 => Some(Lie::Session),
            3 if !member.takes_sessions => Some(Lie::SessionOf(self.session_in_reach(position)?)),
            _ => Some(Lie::Baggage(self.rng.random_range(0..self.cast.len()))),
        }
    }

    /// Ways of work to another thread.
    fn moved(&mut self, position: &Position) -> Kind {
        let carried = self.rng.random_ratio(3, 4);
        if !position.in_channel && self.rng.random_ratio(2, 3) {
            let worker = self.rng.random_range(0..WORKERS);
            return Kind::Channel { worker, carried };
        }
        let scoped = self.rng.random_bool(0.5);
        Kind::Thread { carried, scoped }
    }

    fn task(&mut self, who: Who) -> Kind {
        let carried = self.rng.random_ratio(3, 4);
        match self.rng.random_range(0..16) {
            0..4 => Kind::Spawn {
                carried: *[Carried::Nothing, Carried::Scope, Carried::Context]
                    .choose(&mut self.rng)
                    .unwrap_or(&Carried::Scope),
            },
            4..6 => Kind::SpawnSpan { who },
            6..8 => Kind::JoinSet { carried },
            8 => Kind::Blocking { carried },
            9..11 => Kind::Select {
                who,
                on_drop: self.id(),
            },
            11 => Kind::Abort {
                who,
                on_drop: self.id(),
            },
            12..15 => Kind::Deferred { carried },
            _ => Kind::Stream { reader: who },
        }
    }

    fn who(&mut self, position: &Position) -> Who {
        let member = *self.company.choose(&mut self.rng).unwrap_or(&0);
        let dedicated = position.reach.handles().find_map(|handle| match handle {
            Handle::Dedicated { member: made, op } if made == member => Some(op),
            _ => None,
        });
        Who {
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

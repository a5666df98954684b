//! Where an operation is to stand, as far as it decides what may stand there.

use super::super::oracle::env::{End, Env, Frame, Handle, Reach};
use super::super::oracle::expect::taken;
use super::super::program::cast::Member;
use super::super::program::operation::{Carried, How, Kind, Lie, Mode, OpId, Who};

#[derive(Clone)]
pub(super) struct Position {
    pub(super) mode: Mode,
    pub(super) env: Env,
    pub(super) reach: Reach,
    pub(super) depth: usize,
    /// A worker does not send to itself.
    pub(super) in_channel: bool,
}

impl Position {
    /// What holds inside an operation, as far as it decides what may stand there.
    pub(super) fn inside(&self, id: OpId, kind: &Kind, mode: Mode, cast: &[Member]) -> Self {
        let (env, reach) = (&self.env, &self.reach);
        let kept = |carried: bool| if carried { env.clone() } else { Env::default() };
        let started = |who: Who, frame: Frame| (env.with(frame), reach.with(reach.started(env, who, id)));
        let current = |who: Who| {
            let who = reach.resolve(who);
            started(who, Frame::Span { who, op: id })
        };
        let incoming = |who: Who, lie: Lie| {
            let taken = taken(id, lie, who.member, cast, reach);
            env.with(Frame::Incoming { who, taken })
        };
        let (env, reach) = match kind {
            Kind::Span {
                who,
                how: How::ByHand { .. },
            } => {
                let who = reach.resolve(*who);
                started(who, Frame::ByHand { who, op: id })
            }
            Kind::Span { who, .. }
            | Kind::SpawnSpan { who }
            | Kind::Panic { who }
            | Kind::Select { who, .. }
            | Kind::Abort { who, .. } => current(*who),
            Kind::Scope { who } => (
                env.with(Frame::Scope {
                    who: reach.resolve(*who),
                }),
                reach.clone(),
            ),
            Kind::Session { who, current, .. } => {
                let who = reach.resolve(*who);
                let env = if *current {
                    env.with(Frame::Session {
                        who,
                        op: id,
                        end: End::Never,
                    })
                } else {
                    env.clone()
                };
                // That it ends decides nothing about what may stand there.
                let end = End::Never;
                (env, reach.with(Handle::Session { who, op: id, end }))
            }
            Kind::Rejoin { session: op } => {
                let entered = reach
                    .session(*op)
                    .map(|(who, end)| Frame::Session { who, op: *op, end });
                let env = entered.map_or_else(|| env.clone(), |entered| env.with(entered));
                (env, reach.clone())
            }
            Kind::Baggage { who } => {
                let who = reach.resolve(*who);
                (env.with(Frame::Baggage { who, op: id }), reach.clone())
            }
            Kind::Request { member, lie, .. } => {
                let who = Who::pooled(*member);
                let came = incoming(who, *lie);
                let handle = reach.started(&came, who, id);
                (came.with(Frame::Span { who, op: id }), reach.with(handle))
            }
            Kind::Incoming { who, lie } => (incoming(reach.resolve(*who), *lie), reach.clone()),
            Kind::Dedicated { member } => (
                env.clone(),
                reach.with(Handle::Dedicated {
                    member: *member,
                    op: id,
                }),
            ),
            // On a worker without a scope the worker's own span is current; nothing that hangs on it is made there.
            Kind::Thread { carried, .. }
            | Kind::Channel { carried, .. }
            | Kind::Blocking { carried }
            | Kind::JoinSet { carried }
            | Kind::Deferred { carried } => (kept(*carried), reach.clone()),
            Kind::Spawn { carried } => (kept(*carried != Carried::Nothing), reach.clone()),
            Kind::Loose { .. }
            | Kind::Enrich { .. }
            | Kind::Late { .. }
            | Kind::Current { .. }
            | Kind::Link { .. }
            | Kind::Inject { .. }
            | Kind::Ask
            | Kind::Misname { .. }
            | Kind::Event { .. }
            | Kind::Unscoped { .. }
            | Kind::Stream { .. }
            | Kind::Yield
            | Kind::Overfull { .. }
            | Kind::Disturb(_)
            | Kind::Refused { .. } => (env.clone(), reach.clone()),
        };
        Self {
            mode,
            env,
            reach,
            depth: self.depth + 1,
            in_channel: self.in_channel || matches!(kind, Kind::Channel { .. }),
        }
    }
}

//! Position of an operation, which decides the operations that are valid there.

use super::super::oracle::env::{End, Env, Frame, Handle, Reach};
use super::super::oracle::expect::accepted;
use super::super::program::cast::Member;
use super::super::program::operation::{Carried, Forgery, How, Kind, Mode, OpId, TracerRef};

#[derive(Clone)]
pub(super) struct Position {
    pub(super) mode: Mode,
    pub(super) env: Env,
    pub(super) reach: Reach,
    pub(super) depth: usize,
    /// Whether the position is on a worker, which must not send to itself.
    pub(super) in_channel: bool,
}

impl Position {
    /// Returns the position in the body of an operation.
    pub(super) fn inside(&self, id: OpId, kind: &Kind, mode: Mode, cast: &[Member]) -> Self {
        let (env, reach) = (&self.env, &self.reach);
        let captured = |carried: bool| if carried { env.clone() } else { Env::default() };
        let started = |target: TracerRef, frame: Frame| (env.with(frame), reach.with(reach.started(env, target, id)));
        let current = |target: TracerRef| {
            let target = reach.resolve(target);
            started(target, Frame::Span { target, op: id })
        };
        let incoming = |target: TracerRef, forgery: Forgery| {
            let accepted = accepted(id, forgery, target.member, cast, reach);
            env.with(Frame::Incoming { target, accepted })
        };
        let (env, reach) = match kind {
            Kind::Span {
                target,
                how: How::ByHand { .. },
            } => {
                let target = reach.resolve(*target);
                started(target, Frame::ByHand { target, op: id })
            }
            Kind::Span { target, .. }
            | Kind::SpawnSpan { target }
            | Kind::Panic { target }
            | Kind::Select { target, .. }
            | Kind::Abort { target, .. } => current(*target),
            Kind::Scope { target } => (
                env.with(Frame::Scope {
                    target: reach.resolve(*target),
                }),
                reach.clone(),
            ),
            Kind::Session { target, current, .. } => {
                let target = reach.resolve(*target);
                let env = if *current {
                    env.with(Frame::Session {
                        target,
                        op: id,
                        end: End::Never,
                    })
                } else {
                    env.clone()
                };
                // The end of a session does not affect which operations are valid.
                let end = End::Never;
                (env, reach.with(Handle::Session { target, op: id, end }))
            }
            Kind::Rejoin { session: op } => {
                let entered = reach
                    .session(*op)
                    .map(|(target, end)| Frame::Session { target, op: *op, end });
                let env = entered.map_or_else(|| env.clone(), |entered| env.with(entered));
                (env, reach.clone())
            }
            Kind::Baggage { target } => {
                let target = reach.resolve(*target);
                (env.with(Frame::Baggage { target, op: id }), reach.clone())
            }
            Kind::Request { member, forgery, .. } => {
                let target = TracerRef::pooled(*member);
                let extracted = incoming(target, *forgery);
                let handle = reach.started(&extracted, target, id);
                (extracted.with(Frame::Span { target, op: id }), reach.with(handle))
            }
            Kind::Incoming { target, forgery } => (incoming(reach.resolve(*target), *forgery), reach.clone()),
            Kind::Dedicated { member } => (
                env.clone(),
                reach.with(Handle::Dedicated {
                    member: *member,
                    op: id,
                }),
            ),
            // On a worker without a captured scope the worker's own span is current. Generated
            // operations do not depend on it.
            Kind::Thread { carried, .. }
            | Kind::Channel { carried, .. }
            | Kind::Blocking { carried }
            | Kind::JoinSet { carried }
            | Kind::Deferred { carried } => (captured(*carried), reach.clone()),
            Kind::Spawn { carried } => (captured(*carried != Carried::Nothing), reach.clone()),
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

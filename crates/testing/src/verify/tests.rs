//! Tests of the parts of `verify`: the oracle on handwritten programs, the checker on altered
//! expectations and faulty subjects, the shrinker on a planted fault.

mod chaos;
mod checker;
mod generator;
mod oracle;
mod shrinker;

use std::sync::Arc;

use super::program::cast::{Member, cast};
use super::program::operation::{Block, How, Kind, Mode, Op, OpId, Program, Thread, TracerRef};

/// Returns tenants `t0` to `t3` and the members that come with them.
fn members() -> Arc<[Member]> {
    cast(4).into()
}

const A: TracerRef = TracerRef {
    member: 0,
    dedicated: None,
    instance: 0,
};
const B: TracerRef = TracerRef {
    member: 3,
    dedicated: None,
    instance: 0,
};

fn op(id: OpId, kind: Kind, body: Vec<Op>) -> Op {
    Op {
        id,
        kind,
        mode: Mode::Sync,
        body: body.into(),
    }
}

fn span(id: OpId, target: TracerRef, body: Vec<Op>) -> Op {
    let how = How::Closure;
    op(id, Kind::Span { target, how }, body)
}

fn by_hand(id: OpId, target: TracerRef, body: Vec<Op>) -> Op {
    let how = How::ByHand { ended_after: 1 };
    op(id, Kind::Span { target, how }, body)
}

fn session(id: OpId, target: TracerRef, body: Vec<Op>) -> Op {
    let kind = Kind::Session {
        target,
        given: true,
        current: true,
        end: None,
    };
    op(id, kind, body)
}

fn program(block: Vec<Op>) -> Program {
    Program {
        threads: vec![Thread {
            mode: Mode::Sync,
            block: Block::from(block),
        }],
        workers: vec![(9000, B)],
    }
}

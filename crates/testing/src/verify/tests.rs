//! The parts of `verify`, each by itself: the oracle on programs written by hand, the checker on doctored expectations and subjects that
//! misbehave, the shrinker on a planted fault.

mod chaos;
mod checker;
mod generator;
mod oracle;
mod shrinker;

use std::sync::Arc;

use super::program::cast::{Member, cast};
use super::program::operation::{Block, How, Kind, Mode, Op, OpId, Program, Thread, Who};

/// Tenants `t0` to `t3` and what comes with them.
fn members() -> Arc<[Member]> {
    cast(4).into()
}

const A: Who = Who {
    member: 0,
    dedicated: None,
    instance: 0,
};
const B: Who = Who {
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

fn span(id: OpId, who: Who, body: Vec<Op>) -> Op {
    let how = How::Closure;
    op(id, Kind::Span { who, how }, body)
}

fn by_hand(id: OpId, who: Who, body: Vec<Op>) -> Op {
    let how = How::ByHand { ended_after: 1 };
    op(id, Kind::Span { who, how }, body)
}

fn session(id: OpId, who: Who, body: Vec<Op>) -> Op {
    let kind = Kind::Session {
        who,
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

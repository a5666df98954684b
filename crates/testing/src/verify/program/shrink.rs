//! The shortest program that still shows something.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use super::operation::{Block, Kind, Op, OpId, Program, Thread};

/// How much may be spent on making a program shorter.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Budget {
    pub(crate) tries: usize,
    pub(crate) time: Duration,
}

struct Shrinking<F> {
    shows: F,
    left: usize,
    deadline: Instant,
}

/// Takes away whatever can be taken away with `shows` still saying yes: whole threads, subtrees by
/// halves down to one, then what is around a body. `shows` may be asked about programs that break
/// the generator's rules, and is to say no.
pub(crate) fn shrink(program: Program, budget: Budget, shows: impl FnMut(&Program) -> bool) -> Program {
    let mut shrinking = Shrinking {
        shows,
        left: budget.tries,
        deadline: Instant::now() + budget.time,
    };
    let mut best = program;
    loop {
        let before = best.len();
        best = shrinking.without_threads(best);
        best = shrinking.without_subtrees(best);
        best = shrinking.without_surroundings(best);
        if best.len() == before || !shrinking.may_go_on() {
            return best;
        }
    }
}

impl<F: FnMut(&Program) -> bool> Shrinking<F> {
    fn may_go_on(&self) -> bool {
        self.left > 0 && Instant::now() < self.deadline
    }

    fn shows(&mut self, program: &Program) -> bool {
        if !self.may_go_on() {
            return false;
        }
        self.left -= 1;
        (self.shows)(program)
    }

    fn without_threads(&mut self, mut best: Program) -> Program {
        let mut index = 0;
        while index < best.threads.len() && best.threads.len() > 1 {
            let mut shorter = best.clone();
            shorter.threads.remove(index);
            if self.shows(&shorter) {
                best = shorter;
            } else {
                index += 1;
            }
        }
        best
    }

    fn without_subtrees(&mut self, mut best: Program) -> Program {
        let mut size = (ids(&best).len() / 2).max(1);
        loop {
            let mut place = 0;
            loop {
                let ids = ids(&best);
                let Some(chunk) = ids
                    .get(place..(place + size).min(ids.len()))
                    .filter(|chunk| !chunk.is_empty())
                else {
                    break;
                };
                let chunk: HashSet<OpId> = chunk.iter().copied().collect();
                let shorter = map(&best, &|block| without(block, &chunk));
                if self.shows(&shorter) {
                    best = shorter;
                } else {
                    place += size;
                }
            }
            if size == 1 || !self.may_go_on() {
                return best;
            }
            size /= 2;
        }
    }

    fn without_surroundings(&mut self, mut best: Program) -> Program {
        for id in ids(&best) {
            let shorter = map(&best, &|block| hoisted(block, &HashSet::from([id])));
            if shorter.len() < best.len() && self.shows(&shorter) {
                best = shorter;
            }
        }
        best
    }
}

/// Outer operations first.
fn ids(program: &Program) -> Vec<OpId> {
    let mut ids = Vec::new();
    program.each(|op| ids.push(op.id));
    ids
}

fn map(program: &Program, change: &impl Fn(&[Op]) -> Block) -> Program {
    let threads = program.threads.iter().map(|thread| Thread {
        mode: thread.mode,
        block: change(&thread.block),
    });
    Program {
        threads: threads.collect(),
        workers: program.workers.clone(),
    }
}

/// The program with the bodies of dedicated tracers in their places: the pooled ones are meant then.
pub(crate) fn without_dedicated(program: &Program) -> Program {
    let mut dedicated = Vec::new();
    program.each(|op| {
        if matches!(op.kind, Kind::Dedicated { .. }) {
            dedicated.push(op.id);
        }
    });
    let dedicated: HashSet<OpId> = dedicated.into_iter().collect();
    map(program, &|block| hoisted(block, &dedicated))
}

fn without(block: &[Op], gone: &HashSet<OpId>) -> Block {
    let kept = block.iter().filter(|op| !gone.contains(&op.id));
    kept.map(|op| Op {
        body: without(&op.body, gone),
        ..op.clone()
    })
    .collect()
}

/// The block with the bodies of some operations in their places. Always a program again: what may
/// stand in a synchronous block may stand in any.
fn hoisted(block: &[Op], around: &HashSet<OpId>) -> Block {
    let mut ops = Vec::new();
    for op in block {
        let body = hoisted(&op.body, around);
        if around.contains(&op.id) {
            ops.extend(body.iter().cloned());
        } else {
            ops.push(Op { body, ..op.clone() });
        }
    }
    ops.into()
}

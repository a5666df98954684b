//! Shortens failing programs.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use super::operation::{Block, Kind, Op, OpId, Program, Thread};

/// Limits of the shortening of a program.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Budget {
    pub(crate) tries: usize,
    pub(crate) time: Duration,
}

struct Shrinker<F> {
    fails: F,
    left: usize,
    deadline: Instant,
}

/// Removes parts of a program while `fails` still returns true: whole threads, chunks of subtrees
/// in halving sizes, and operations around a body. `fails` must return false for invalid programs.
pub(crate) fn shrink(program: Program, budget: Budget, fails: impl FnMut(&Program) -> bool) -> Program {
    let mut shrinker = Shrinker {
        fails,
        left: budget.tries,
        deadline: Instant::now() + budget.time,
    };
    let mut best = program;
    loop {
        let before = best.len();
        best = shrinker.without_threads(best);
        best = shrinker.without_subtrees(best);
        best = shrinker.without_surroundings(best);
        if best.len() == before || !shrinker.has_budget() {
            return best;
        }
    }
}

impl<F: FnMut(&Program) -> bool> Shrinker<F> {
    fn has_budget(&self) -> bool {
        self.left > 0 && Instant::now() < self.deadline
    }

    fn fails(&mut self, program: &Program) -> bool {
        if !self.has_budget() {
            return false;
        }
        self.left -= 1;
        (self.fails)(program)
    }

    fn without_threads(&mut self, mut best: Program) -> Program {
        let mut index = 0;
        while index < best.threads.len() && best.threads.len() > 1 {
            let mut shorter = best.clone();
            shorter.threads.remove(index);
            if self.fails(&shorter) {
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
            let mut start = 0;
            loop {
                let ids = ids(&best);
                let Some(chunk) = ids
                    .get(start..(start + size).min(ids.len()))
                    .filter(|chunk| !chunk.is_empty())
                else {
                    break;
                };
                let chunk: HashSet<OpId> = chunk.iter().copied().collect();
                let shorter = map(&best, &|block| without(block, &chunk));
                if self.fails(&shorter) {
                    best = shorter;
                } else {
                    start += size;
                }
            }
            if size == 1 || !self.has_budget() {
                return best;
            }
            size /= 2;
        }
    }

    fn without_surroundings(&mut self, mut best: Program) -> Program {
        for id in ids(&best) {
            let shorter = map(&best, &|block| hoisted(block, &HashSet::from([id])));
            if shorter.len() < best.len() && self.fails(&shorter) {
                best = shorter;
            }
        }
        best
    }
}

/// Returns the ids of all operations, outer ones first.
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

/// Returns the program with pooled tracers instead of dedicated ones.
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

/// Returns the block with some operations replaced by their bodies. The result is valid, because
/// any block may contain the operations of a synchronous one.
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

//! The shrinker on a program with a planted fault.

use std::time::Duration;

use super::super::generate::generate;
use super::super::program::operation::{Kind, Op, Program};
use super::super::program::print::print;
use super::super::program::shrink::{Budget, shrink};
use super::members;

const PLENTY: Budget = Budget {
    tries: 100_000,
    time: Duration::from_secs(60),
};

/// Returns whether the program contains an enrichment inside a panic.
fn has_fault(program: &Program) -> bool {
    fn inside(block: &[Op], panicking: bool) -> bool {
        block.iter().any(|op| match op.kind {
            Kind::Enrich { .. } if panicking => true,
            Kind::Panic { .. } => inside(&op.body, true),
            _ => inside(&op.body, panicking),
        })
    }
    program.threads.iter().any(|thread| inside(&thread.block, false))
}

#[test]
fn a_program_is_reduced_to_the_operations_of_the_fault() {
    let cast = members();
    let faulty = (0..100).map(|seed| generate(seed, 2000, 3, &cast)).find(has_fault);
    let shortest = shrink(faulty.expect("there is one"), PLENTY, has_fault);
    assert_eq!(shortest.len(), 2, "{}", print(&shortest, &cast));
    assert_eq!(shortest.threads.len(), 1);
    let text = print(&shortest, &cast);
    assert!(
        text.contains("that panics after") && text.contains(".enrich()"),
        "{text}"
    );
}

#[test]
fn shrinking_ends_when_its_tries_are_used_up() {
    let program = generate(1, 500, 2, &members());
    let mut tries = 0;
    let budget = Budget { tries: 10, ..PLENTY };
    shrink(program, budget, |_| {
        tries += 1;
        false
    });
    assert_eq!(tries, 10);
}

//! Programs of the generator.

use std::collections::BTreeSet;

use super::super::generate::generate;
use super::super::oracle::expect::expect;
use super::super::program::operation::{Mode, Op};
use super::super::program::print::print;
use super::members;

#[test]
fn the_same_seed_makes_the_same_program() {
    let cast = members();
    assert_eq!(generate(7, 500, 3, &cast), generate(7, 500, 3, &cast));
    assert_ne!(generate(7, 500, 3, &cast), generate(8, 500, 3, &cast));
}

#[test]
fn programs_are_valid_and_have_the_requested_size() {
    let cast = members();
    for seed in 0..200 {
        let program = generate(seed, 300, 3, &cast);
        assert_eq!(program.len(), 300);
        assert!(
            !expect(&program, &cast).is_invalid,
            "seed {seed}:\n{}",
            print(&program, &cast)
        );
        program.each(assert_sync_blocks_have_only_sync_operations);
    }
}

fn assert_sync_blocks_have_only_sync_operations(op: &Op) {
    if op.mode == Mode::Sync {
        assert!(op.body.iter().all(|inner| inner.mode == Mode::Sync), "#{}", op.id);
    }
}

#[test]
fn programs_contain_every_kind_of_operation() {
    let mut kinds = BTreeSet::new();
    generate(1, 20_000, 4, &members()).each(|op| {
        kinds.insert(op.kind.name(op.mode));
    });
    assert_eq!(kinds.len(), 37, "{kinds:#?}");
}

//! Disturbances of the registries between the operations.

use rand::Rng as _;
use rand::seq::IndexedRandom as _;

use super::super::program::cast::{Member, REGISTRIES};
use super::super::program::operation::{Block, Disturbance, Kind, Mode, Op};
use super::Generator;
use tracer_registry::selector::SelectorKind;

impl Generator<'_> {
    /// Returns a disturbance; half of them affect a tracer of the same tree.
    pub(super) fn disturbance(&mut self) -> Disturbance {
        let member = match self.tree_members.choose(&mut self.rng) {
            Some(member) if self.rng.random_bool(0.5) => *member,
            _ => self.rng.random_range(0..self.cast.len()),
        };
        let targets: Vec<usize> = (0..self.cast.len()).filter(|at| self.cast[*at].is_target()).collect();
        if let (Some(&member), true) = (targets.choose(&mut self.rng), self.rng.random_ratio(1, 8)) {
            return if self.rng.random_bool(0.5) {
                Disturbance::Refuse { member }
            } else {
                Disturbance::Withhold { member }
            };
        }
        match self.rng.random_range(0..14) {
            0..3 => Disturbance::Remove { member },
            3..6 => Disturbance::Rebind {
                member,
                count: self.rng.random_range(1..=3),
            },
            6 => Disturbance::Defaults {
                registry: self.rng.random_range(0..REGISTRIES),
            },
            7 => Disturbance::Broken {
                registry: self.rng.random_range(0..REGISTRIES),
            },
            8..10 => Disturbance::Rotate { member },
            10..12 => Disturbance::Pause { member },
            _ => Disturbance::Vanish { member },
        }
    }

    /// Returns a [`Kind::Refused`] for a member with its key in the vault that is never removed.
    pub(super) fn refused(&mut self) -> Option<Op> {
        let is_eligible =
            |member: &Member| member.has_key_in_vault && !matches!(*member.parts, [(SelectorKind::Tenant, _)]);
        let members = self.members.iter().copied();
        let members: Vec<usize> = members.filter(|at| is_eligible(&self.cast[*at])).collect();
        let member = *members.choose(&mut self.rng)?;
        self.left -= 1;
        Some(Op {
            id: self.id(),
            kind: Kind::Refused { member },
            mode: Mode::Sync,
            body: Block::default(),
        })
    }
}

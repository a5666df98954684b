//! Rotated keys. The receiver refuses each old key.

use std::io;
use std::sync::{Arc, Mutex};

use super::super::program::cast::{KEYS, Member};
use crate::lock::lock;
use tracer_registry_collector::{Fault, FaultId, LocalCollector};

/// Current and refused keys of all members.
pub(in super::super) struct Rotation {
    collector: Arc<LocalCollector>,
    state: Mutex<State>,
}

struct State {
    /// By member: the index of its current key, and the fault that refuses each old key.
    members: Vec<(usize, [Option<FaultId>; KEYS])>,
    /// All faults so far, with their members.
    faults: Vec<(usize, FaultId)>,
}

impl Rotation {
    pub(in super::super) fn new(collector: &Arc<LocalCollector>, members: usize) -> Self {
        Self {
            collector: Arc::clone(collector),
            state: Mutex::new(State {
                members: vec![Default::default(); members],
                faults: Vec::new(),
            }),
        }
    }

    /// Writes the next key of a member, and then refuses the previous one.
    pub(in super::super) fn rotate(
        &self,
        index: usize,
        member: &Member,
        write: impl FnOnce(&str) -> io::Result<()>,
    ) -> io::Result<String> {
        let mut state = lock(&self.state);
        let (current, refused) = &mut state.members[index];
        let (old, new) = (*current, (*current + 1) % KEYS);
        let mut keys = member.keys();
        // Keys are reused, so the new one may still be refused.
        if let Some(fault) = refused[new].take() {
            self.collector.clear_fault(fault);
        }
        let key = std::mem::take(&mut keys[new]);
        write(&key)?;
        let fault = self
            .collector
            .fault(Fault::reject_key().only(std::mem::take(&mut keys[old])));
        (*current, refused[old]) = (new, Some(fault));
        state.faults.push((index, fault));
        Ok(key)
    }

    /// Returns the current key of a member.
    pub(in super::super) fn current(&self, index: usize, member: &Member) -> String {
        let (current, _) = lock(&self.state).members[index];
        std::mem::take(&mut member.keys()[current])
    }

    pub(super) fn collector(&self) -> &LocalCollector {
        &self.collector
    }

    /// Returns the number of refused requests of all members.
    pub(in super::super) fn refused(&self) -> u64 {
        self.hits(|_| true)
    }

    /// Returns the number of refused requests of a member.
    pub(super) fn refused_of(&self, member: usize) -> u64 {
        self.hits(|of| of == member)
    }

    fn hits(&self, is_counted: impl Fn(usize) -> bool) -> u64 {
        let state = lock(&self.state);
        let counted = state.faults.iter().filter(|(of, _)| is_counted(*of));
        counted.map(|(_, fault)| self.collector.fault_hits(*fault)).sum()
    }
}

//! Keys that come in the place of others, which the receiver refuses from then on.

use std::io;
use std::sync::{Arc, Mutex};

use super::super::program::cast::{KEYS, Member};
use crate::lock::lock;
use tracer_registry::secret::{Fingerprint, Fingerprinter};
use tracer_registry_collector::{Fault, FaultId, LocalCollector};

/// The keys of all members, in turn.
pub(super) struct Rotation {
    collector: Arc<LocalCollector>,
    fingerprinter: Fingerprinter,
    turns: Mutex<Turns>,
}

struct Turns {
    /// Which of its keys each member has, and those that are refused.
    members: Vec<(usize, [Option<FaultId>; KEYS])>,
    /// Of which member, and what refuses its key.
    all: Vec<(usize, FaultId)>,
}

impl Rotation {
    pub(super) fn new(collector: &Arc<LocalCollector>, fingerprinter: Fingerprinter, members: usize) -> Self {
        Self {
            collector: Arc::clone(collector),
            fingerprinter,
            turns: Mutex::new(Turns {
                members: vec![Default::default(); members],
                all: Vec::new(),
            }),
        }
    }

    /// Gives a member its next key, and has the one before refused as soon as that is written.
    pub(super) fn rotate(
        &self,
        index: usize,
        member: &Member,
        write: impl FnOnce(&str) -> io::Result<()>,
    ) -> io::Result<String> {
        let mut turns = lock(&self.turns);
        let (turn, refused) = &mut turns.members[index];
        let (old, new) = (*turn, (*turn + 1) % KEYS);
        let mut keys = member.keys();
        // It was refused the last time it was in use.
        if let Some(fault) = refused[new].take() {
            self.collector.clear_fault(fault);
        }
        let key = std::mem::take(&mut keys[new]);
        write(&key)?;
        let fault = self
            .collector
            .fault(Fault::reject_key().only(std::mem::take(&mut keys[old])));
        (*turn, refused[old]) = (new, Some(fault));
        turns.all.push((index, fault));
        Ok(key)
    }

    pub(super) fn fingerprint(&self, key: &str) -> Fingerprint {
        self.fingerprinter.fingerprint(key.as_bytes())
    }

    /// How many requests were refused since the beginning.
    pub(super) fn refused(&self) -> u64 {
        self.hits(|_| true)
    }

    /// How many of a member's requests were.
    pub(super) fn refused_of(&self, member: usize) -> u64 {
        self.hits(|of| of == member)
    }

    fn hits(&self, is_meant: impl Fn(usize) -> bool) -> u64 {
        let turns = lock(&self.turns);
        let meant = turns.all.iter().filter(|(of, _)| is_meant(*of));
        meant.map(|(_, fault)| self.collector.fault_hits(*fault)).sum()
    }
}

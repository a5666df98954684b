//! Purges of the whole cluster: what was erased, and since when.

use std::collections::{BTreeMap, HashMap};

use serde::{Deserialize, Serialize};

use crate::options::Covers;

/// Most purges. Another one is refused.
pub(crate) const MAX_PURGES: usize = 100_000;

/// An entry of the bucket `erased`. The revision of the first entry is the generation of its purge.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Tombstone {
    /// The text of the selector.
    pub(crate) what: String,
    /// The generation, once the data is allowed again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) allowed_after: Option<u64>,
}

/// Most queues of which the last answer is remembered.
const MAX_QUEUES: usize = 100_000;

/// What was erased.
#[derive(Debug, Default)]
pub(crate) struct Erased {
    purges: BTreeMap<String, Purge>,
    /// The first generation of which data of a queue is accepted, `None` if there is none.
    /// Forgotten after each change.
    queues: HashMap<String, Option<u64>>,
    generation: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Purge {
    revision: u64,
    generation: u64,
    is_allowed: bool,
}

/// How a tombstone changed what is erased.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    Erased,
    Allowed,
    None,
}

impl Erased {
    /// Notes a tombstone with the revision of its entry.
    pub(crate) fn note(&mut self, tombstone: Tombstone, revision: u64) -> Change {
        let Tombstone { what, allowed_after } = tombstone;
        let purge = Purge {
            revision,
            generation: allowed_after.unwrap_or(revision),
            is_allowed: allowed_after.is_some(),
        };
        self.generation = self.generation.max(purge.generation);
        if self.purges.get(&what).is_some_and(|known| known.revision >= revision) {
            return Change::None;
        }
        self.purges.insert(what, purge);
        self.queues.clear();
        if purge.is_allowed {
            Change::Allowed
        } else {
            Change::Erased
        }
    }

    /// Returns whether data of a queue is erased that was accepted in a generation.
    pub(crate) fn refuses(&mut self, covers: Covers, queue: &str, generation: u64) -> bool {
        if self.purges.is_empty() {
            return false;
        }
        let first = match self.queues.get(queue) {
            Some(first) => *first,
            None => self.look_up(covers, queue),
        };
        first.is_none_or(|first| generation < first)
    }

    /// Compares a queue with all purges.
    fn look_up(&mut self, covers: Covers, queue: &str) -> Option<u64> {
        let covering = self.purges.iter().filter(|(what, _)| covers(what, queue));
        let first = covering
            .map(|(_, purge)| purge.is_allowed.then_some(purge.generation))
            .try_fold(0, |first, of_purge| Some(of_purge?.max(first)));
        if self.queues.len() >= MAX_QUEUES {
            self.queues.clear();
        }
        self.queues.insert(queue.to_owned(), first);
        first
    }

    /// Whether no other purge is accepted.
    pub(crate) fn is_full(&self) -> bool {
        self.purges.len() >= MAX_PURGES
    }

    /// Returns the generation of a purge that is in force.
    pub(crate) fn purged(&self, what: &str) -> Option<u64> {
        let purge = self.purges.get(what).filter(|purge| !purge.is_allowed);
        purge.map(|purge| purge.generation)
    }

    /// Returns the generation of the newest purge.
    pub(crate) fn generation(&self) -> u64 {
        self.generation
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn covers(what: &str, queue: &str) -> bool {
        queue.starts_with(what)
    }

    fn tombstone(allowed_after: Option<u64>) -> Tombstone {
        Tombstone {
            what: "tenant:acme".to_owned(),
            allowed_after,
        }
    }

    #[test]
    fn data_is_refused_until_it_is_allowed_and_older_data_for_ever() {
        let mut erased = Erased::default();
        let queue = "tenant:acme,feature:x";
        assert!(!erased.refuses(covers, queue, 0));
        assert_eq!(erased.note(tombstone(None), 7), Change::Erased);
        assert_eq!(erased.note(tombstone(None), 7), Change::None);
        assert!(erased.refuses(covers, queue, 7));
        assert!(!erased.refuses(covers, "tenant:globex", 0));
        assert_eq!(erased.purged("tenant:acme"), Some(7));
        assert_eq!(erased.note(tombstone(Some(7)), 9), Change::Allowed);
        assert_eq!(erased.purged("tenant:acme"), None);
        assert!(erased.refuses(covers, queue, 6), "accepted before the purge");
        assert!(!erased.refuses(covers, queue, 7));
        assert_eq!(erased.note(tombstone(None), 7), Change::None, "older");
        assert_eq!(erased.note(tombstone(None), 12), Change::Erased, "erased again");
        assert_eq!(erased.note(tombstone(Some(7)), 9), Change::None);
        assert_eq!(erased.generation(), 12);
    }
}

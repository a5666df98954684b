//! What replicas erased, as they answer.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::commands::ErasedQueue;

/// Queues of one answer, so that it fits a message.
const QUEUES: usize = 5_000;

/// Purges of which a replica keeps what it erased before it was asked.
const UNASKED: usize = 64;

/// What one replica erased.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Answer {
    /// The replica.
    #[serde(default)]
    pub(crate) process: Uuid,
    /// Partitions that it owns and erased.
    pub(crate) partitions: Vec<u16>,
    /// What it erased in them.
    pub(crate) queues: Vec<ErasedQueue>,
    /// What it erased in its local spool.
    #[serde(default)]
    pub(crate) local: Vec<ErasedQueue>,
}

/// What was erased because of a tombstone, before the replica that purges has asked for it.
#[derive(Debug, Default)]
pub(crate) struct Unasked(VecDeque<(String, Answer)>);

impl Answer {
    /// Divides the queues among answers, of which the last names the partitions.
    pub(super) fn parts(mut self) -> Vec<Self> {
        let mut parts = Vec::new();
        while self.queues.len() + self.local.len() > QUEUES {
            let rest = |queues: &mut Vec<_>| queues.split_off(queues.len() - queues.len().min(QUEUES / 2));
            parts.push(Self {
                process: self.process,
                partitions: Vec::new(),
                queues: rest(&mut self.queues),
                local: rest(&mut self.local),
            });
        }
        parts.push(self);
        parts
    }
}

impl Unasked {
    /// Keeps an answer. The oldest ones are forgotten: their replica has ended.
    pub(super) fn keep(&mut self, what: &str, answer: Answer) {
        if self.0.len() >= UNASKED {
            self.0.pop_front();
        }
        self.0.push_back((what.to_owned(), answer));
    }

    /// Adds what was erased before to an answer.
    pub(super) fn add_to(&mut self, what: &str, answer: &mut Answer) {
        self.0.retain_mut(|(of, before)| {
            let is_same = of == what;
            if is_same {
                answer.queues.append(&mut before.queues);
                answer.local.append(&mut before.local);
            }
            !is_same
        });
    }
}

//! The last changes of a registry: starts and ends of problems, new keys, reloads, actions of
//! operators.
//!
//! A ring of numbered entries. Readers ask for those after a number, so a slow reader costs nothing
//! and learns how many it missed.

use std::collections::VecDeque;
use std::pin::pin;
use std::time::SystemTime;

use serde::Serialize;
use tokio::sync::Notify;

use crate::ledger::DropReason;
use crate::selector::Selector;
use crate::util::fork::{ForkGuard, ForkLock};
use crate::util::wall_time;

/// Number of kept changes.
const KEPT: usize = 1024;

/// Maximum length of a detail, in bytes.
const MAX_DETAIL: usize = 1024;

/// A change of a registry.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Change {
    /// Number of the change, from 1. Numbers have no gaps.
    pub number: u64,
    /// When it was recorded.
    #[serde(with = "wall_time")]
    pub at: SystemTime,
    /// What changed.
    #[serde(flatten)]
    pub kind: ChangeKind,
    /// The tracers that it concerns. `None` if it concerns an endpoint, a key source or the
    /// registry.
    pub selector: Option<Selector>,
    /// Scheme, host and port of the receiver that it concerns.
    pub endpoint: Option<String>,
    /// Text of the log line, without a key: an error, a source, or what a reload changed. At most
    /// 1,024 bytes.
    pub detail: Option<String>,
}

/// Kind of a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
#[non_exhaustive]
pub enum ChangeKind {
    /// A problem started. At most one per minute for each problem of a selector or endpoint.
    ProblemBegan(Problem),
    /// A problem is over. Its start was recorded.
    ProblemEnded(Problem),
    /// A receiver accepted a new key. At most one per minute for each key source.
    KeyRotated,
    /// The configuration was reloaded.
    Reloaded,
    /// A reload failed. The running configuration is kept.
    ReloadRefused,
    /// An operator paused a selector.
    Paused,
    /// An operator resumed a selector.
    Resumed,
    /// An operator removed a tracer from the pool.
    Removed,
    /// An operator erased the data of a selector and of all that contain its parts.
    Purged,
    /// An operator allowed data of an erased selector again.
    Allowed,
    /// A file of the spool cannot be used. It was renamed, and a new one begun.
    SpoolSetAside,
    /// A change of the program, such as the gateway.
    Program {
        /// Name of the change.
        name: &'static str,
    },
}

/// Kind of a problem.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "problem", content = "reason", rename_all = "snake_case")]
#[non_exhaustive]
pub enum Problem {
    /// The receiver refuses the key.
    KeyRefused,
    /// The key's source fails, and the last good key stays in use.
    KeySourceFailing,
    /// Requests of a tracer fail, and its breaker is open.
    BreakerOpen,
    /// Connections to an endpoint fail, and its breaker is open.
    EndpointUnreachable,
    /// Data is dropped.
    DataDropped(DropReason),
    /// A queue takes no data of the gateway's clients, which may send it again.
    DataRefused(DropReason),
    /// Queued data uses more than three quarters of `export.max_queue_bytes`.
    MemoryPressure,
    /// The pool is full, and look-ups of new names fail.
    PoolFull,
    /// The disk or the files of the spool fail.
    SpoolFailing,
    /// The spool is full: `spool.max_bytes`, or the disk.
    SpoolFull,
}

/// The last changes of a registry.
#[derive(Debug, Default)]
pub(crate) struct ChangeLog {
    ring: ForkLock<Ring>,
    changed: Notify,
    fork: ForkGuard,
}

#[derive(Debug, Default)]
struct Ring {
    changes: VecDeque<Change>,
    /// Number of the last change.
    last: u64,
}

impl ChangeLog {
    /// Records a change. Does nothing in a forked child. May run on application threads.
    pub(crate) fn record(
        &self,
        kind: ChangeKind,
        selector: Option<&Selector>,
        endpoint: Option<&str>,
        detail: Option<String>,
    ) {
        // The lock inside `Notify` may never be released in a forked child.
        if self.fork.is_forked_child() {
            return;
        }
        let mut ring = self.ring.lock();
        ring.last += 1;
        let change = Change {
            number: ring.last,
            at: wall_time::to_millis(SystemTime::now()),
            kind,
            selector: selector.cloned(),
            endpoint: endpoint.map(ToOwned::to_owned),
            detail: detail.map(cut),
        };
        if ring.changes.len() == KEPT {
            ring.changes.pop_front();
        }
        ring.changes.push_back(change);
        drop(ring);
        self.changed.notify_waiters();
    }

    /// Returns the changes after a number, oldest first, and the number of those that are no longer
    /// kept. A number that no change has yet, such as one of an earlier process, counts as 0.
    pub(crate) fn after(&self, number: u64) -> (Vec<Change>, u64) {
        let Some(ring) = self.ring.lock_unless_forked() else {
            return (Vec::new(), 0);
        };
        let number = if number > ring.last { 0 } else { number };
        let forgotten = ring.last - ring.changes.len() as u64;
        let kept = ring.changes.iter().filter(|change| change.number > number);
        (kept.cloned().collect(), forgotten.saturating_sub(number))
    }

    /// Waits until [`after`](Self::after) returns a change for this number. Cancel safe.
    pub(crate) async fn wait(&self, number: u64) {
        loop {
            let mut changed = pin!(self.changed.notified());
            // Registered before the number is read, so that no change is missed.
            changed.as_mut().enable();
            let last = self.ring.lock_unless_forked().map_or(0, |ring| ring.last);
            // A number that no change has yet counts as 0, also while there is no change at all.
            if last != number && last > 0 {
                return;
            }
            changed.await;
        }
    }
}

/// Limits the length of a text.
fn cut(mut text: String) -> String {
    const MARK: &str = "...";
    if text.len() > MAX_DETAIL {
        let mut end = MAX_DETAIL - MARK.len();
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        text.truncate(end);
        text.push_str(MARK);
    }
    text
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use super::*;

    fn numbers((changes, missed): (Vec<Change>, u64)) -> (Vec<u64>, u64) {
        (changes.iter().map(|change| change.number).collect(), missed)
    }

    #[test]
    fn a_slow_reader_gets_what_is_kept_and_the_number_of_missed_changes() {
        let log = ChangeLog::default();
        assert_eq!(numbers(log.after(0)), (vec![], 0));
        for _ in 0..KEPT + 10 {
            log.record(ChangeKind::Reloaded, None, None, None);
        }
        let last = (KEPT + 10) as u64;
        assert_eq!(numbers(log.after(0)), ((11..=last).collect(), 10));
        assert_eq!(numbers(log.after(4)), ((11..=last).collect(), 6));
        assert_eq!(numbers(log.after(last - 2)), (vec![last - 1, last], 0));
        assert_eq!(numbers(log.after(last)), (vec![], 0));
        assert_eq!(numbers(log.after(last + 1)).1, 10, "a number of an earlier process");
    }

    #[test]
    fn a_detail_is_cut_between_characters() {
        let log = ChangeLog::default();
        log.record(ChangeKind::Reloaded, None, None, Some("\u{e4}".repeat(2 * MAX_DETAIL)));
        let (changes, _) = log.after(0);
        let detail = changes[0].detail.as_deref().expect("a detail");
        assert!(detail.len() <= MAX_DETAIL && detail.ends_with("\u{e4}..."), "{detail}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_reader_waits_until_there_is_a_change_after_its_number() {
        let log = Arc::new(ChangeLog::default());
        let reader = tokio::spawn({
            let log = Arc::clone(&log);
            async move {
                log.wait(0).await;
                log.wait(1).await;
            }
        });
        log.record(ChangeKind::Paused, None, None, None);
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert!(!reader.is_finished(), "there is no second change");
        log.record(ChangeKind::Resumed, None, None, None);
        reader.await.expect("no panic");
        log.wait(7).await;
    }

    #[tokio::test(start_paused = true)]
    async fn a_number_of_an_earlier_process_waits_for_the_first_change() {
        let log = ChangeLog::default();
        assert_eq!(numbers(log.after(7)), (vec![], 0));
        let early = tokio::time::timeout(Duration::from_secs(1), log.wait(7)).await;
        assert!(early.is_err(), "there is no change yet");
        log.record(ChangeKind::Reloaded, None, None, None);
        log.wait(7).await;
        assert_eq!(numbers(log.after(7)), (vec![1], 0));
    }

    #[test]
    fn a_change_is_a_flat_object_in_json() {
        let log = ChangeLog::default();
        let dropped = Problem::DataDropped(DropReason::QueueFull);
        let (acme, endpoint) = (
            Selector::try_from(Selector::tenant("acme")).expect("a slug"),
            "http://receiver",
        );
        log.record(ChangeKind::ProblemBegan(dropped), Some(&acme), Some(endpoint), None);
        log.record(
            ChangeKind::ProblemEnded(Problem::PoolFull),
            None,
            None,
            Some("3".into()),
        );
        log.record(ChangeKind::Program { name: "certificates" }, None, None, None);
        let json = log.after(0).0.into_iter().map(|change| {
            let mut json = serde_json::to_value(change).expect("serializable");
            json.as_object_mut().expect("an object").remove("at");
            json
        });
        let expected = [
            serde_json::json!({
                "number": 1, "kind": "problem_began", "problem": "data_dropped", "reason": "queue_full",
                "selector": "tenant:acme", "endpoint": "http://receiver", "detail": null
            }),
            serde_json::json!({
                "number": 2, "kind": "problem_ended", "problem": "pool_full",
                "selector": null, "endpoint": null, "detail": "3"
            }),
            serde_json::json!({
                "number": 3, "kind": "program", "name": "certificates",
                "selector": null, "endpoint": null, "detail": null
            }),
        ];
        assert_eq!(json.collect::<Vec<_>>(), expected);
    }
}

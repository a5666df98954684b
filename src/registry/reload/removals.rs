//! Delays changes of files that remove something, because a file written in place is empty or
//! incomplete for a moment.
//!
//! A table or a setting is removed only after the files have had the same content for [`SETTLED`].
//! Compares the parsed content, so unrelated changes do not restart the delay. Uses the caller's
//! clock. Not for concurrent use.
//!
//! | pending | the files | result |
//! |---|---|---|
//! | nothing | remove something | starts waiting |
//! | a removal | unchanged for less than `SETTLED` | keeps waiting |
//! | a removal | unchanged for `SETTLED` | applied |
//! | a removal | remove something else | starts waiting again |
//! | a removal | remove nothing, or are invalid | no longer pending |

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use crate::config::{Config, Digest};
use crate::selector::Selector;

/// How long the files must be unchanged.
pub(crate) const SETTLED: Duration = Duration::from_secs(2);

/// What to do about a removal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Removal {
    /// It starts waiting now.
    Starts,
    /// It keeps waiting.
    Waits,
    /// It has waited long enough.
    Due,
}

/// Digest of the binding a tracer would get, or the error.
pub(crate) type Outcome = Result<Digest, String>;

/// Pending removals.
#[derive(Default)]
pub(crate) struct Removals {
    /// Content of the configuration files as a whole.
    config: Option<Waiting<Config>>,
    /// Tracers whose tenants' files lost something.
    tracers: BTreeMap<Selector, Waiting<Outcome>>,
}

struct Waiting<T> {
    content: T,
    since: Instant,
}

impl Removals {
    /// Records that the configuration files lost something compared to the running configuration.
    pub(crate) fn note_config(&mut self, content: &Config, now: Instant) -> Removal {
        match &self.config {
            Some(waiting) if waiting.content == *content => waiting.at(now),
            _ => {
                let content = content.clone();
                self.config = Some(Waiting { content, since: now });
                Removal::Starts
            }
        }
    }

    /// Records that a tenant's file lost something since its tracer was created.
    pub(crate) fn note_tracer(&mut self, selector: &Selector, content: Outcome, now: Instant) -> Removal {
        match self.tracers.get(selector) {
            Some(waiting) if waiting.content == content => waiting.at(now),
            _ => {
                self.tracers.insert(selector.clone(), Waiting { content, since: now });
                Removal::Starts
            }
        }
    }

    /// Clears the pending configuration: it removes nothing, was applied, or is invalid.
    pub(crate) fn clear_config(&mut self) {
        self.config = None;
    }

    /// Clears tracers whose files were read and that no longer wait.
    pub(crate) fn clear_tracers(&mut self, is_settled: impl Fn(&Selector) -> bool) {
        self.tracers.retain(|selector, _| !is_settled(selector));
    }

    /// Returns the delay until the files must be read again. `None` if nothing is pending.
    pub(crate) fn left(&self, now: Instant) -> Option<Duration> {
        let since = self.config.iter().map(|waiting| waiting.since);
        let since = since.chain(self.tracers.values().map(|waiting| waiting.since));
        since
            .min()
            .map(|since| (since + SETTLED).saturating_duration_since(now))
    }
}

impl<T> Waiting<T> {
    fn at(&self, now: Instant) -> Removal {
        if now.saturating_duration_since(self.since) < SETTLED {
            Removal::Waits
        } else {
            Removal::Due
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MOMENT: Duration = Duration::from_millis(1);
    /// 1 ms less than [`SETTLED`].
    const ALMOST: Duration = Duration::from_millis(1_999);

    fn selector(text: &str) -> Selector {
        text.parse().expect("a selector")
    }

    fn gone(why: &str) -> Outcome {
        Err(why.to_owned())
    }

    #[test]
    fn a_removal_is_due_after_two_seconds_and_not_earlier() {
        let (mut removals, start) = (Removals::default(), Instant::now());
        let acme = selector("tenant:acme");
        let mut note = |after| removals.note_tracer(&acme, gone("unknown"), start + after);
        assert_eq!(note(Duration::ZERO), Removal::Starts);
        assert_eq!(note(MOMENT), Removal::Waits);
        assert_eq!(note(ALMOST), Removal::Waits);
        assert_eq!(note(SETTLED), Removal::Due);
        assert_eq!(removals.left(start + MOMENT), Some(ALMOST));
        assert_eq!(removals.left(start + 2 * SETTLED), Some(Duration::ZERO));
    }

    #[test]
    fn another_removal_restarts_the_wait_and_none_ends_it() {
        let (mut removals, start) = (Removals::default(), Instant::now());
        let (acme, globex) = (selector("tenant:acme"), selector("tenant:globex"));
        assert_eq!(removals.note_tracer(&acme, gone("empty"), start), Removal::Starts);
        let later = start + SETTLED;
        assert_eq!(removals.note_tracer(&acme, gone("unknown"), later), Removal::Starts);
        assert_eq!(
            removals.note_tracer(&globex, gone("unknown"), later + MOMENT),
            Removal::Starts
        );
        assert_eq!(
            removals.note_tracer(&acme, gone("unknown"), later + SETTLED),
            Removal::Due
        );
        assert_eq!(removals.left(later + MOMENT), Some(ALMOST));
        removals.clear_tracers(|selector| *selector == acme);
        assert_eq!(removals.left(later + MOMENT), Some(SETTLED));
        removals.clear_tracers(|_| true);
        assert_eq!(removals.left(later), None);
    }

    #[test]
    fn a_configuration_waits_as_a_whole() {
        let config = |text: &str| {
            let folder = tempfile::tempdir().expect("a folder");
            let file = folder.path().join("any.toml");
            std::fs::write(&file, text).expect("written");
            Config::load(file).expect("valid")
        };
        // Load each once: the folder is part of the content.
        let (half, empty) = (config("[tenants.acme]"), config(""));
        let (mut removals, start) = (Removals::default(), Instant::now());
        assert_eq!(removals.note_config(&empty, start), Removal::Starts);
        assert_eq!(removals.note_config(&half, start + SETTLED), Removal::Starts);
        assert_eq!(removals.note_config(&half, start + SETTLED + MOMENT), Removal::Waits);
        assert_eq!(removals.note_config(&half, start + 2 * SETTLED), Removal::Due);
        removals.clear_config();
        assert_eq!(removals.left(start), None);
        assert_eq!(removals.note_config(&half, start + 3 * SETTLED), Removal::Starts);
    }
}

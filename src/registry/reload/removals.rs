//! What changes of files would take away. It waits: a file that is written in place is empty, or half there, for a moment.
//!
//! A table or a setting is gone only when the files have said so for [`SETTLED`]. What they say is compared, so that other changes meanwhile
//! do not matter. By the clock of the caller, and for one thread at a time.
//!
//! | waits | the files say | then |
//! |---|---|---|
//! | nothing | less | waits |
//! | something | the same, for less than `SETTLED` | waits |
//! | something | the same, for `SETTLED` | is taken |
//! | something | less, and something else | waits from now on |
//! | something | nothing less, or have a fault | nothing waits |

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use crate::config::{Config, Digest};
use crate::selector::Selector;

/// How long the files must have said the same.
pub(crate) const SETTLED: Duration = Duration::from_secs(2);

/// What is to be done about something that the files take away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Removal {
    /// It waits, from now on.
    Begins,
    /// It goes on waiting.
    Waits,
    /// It has waited long enough.
    Taken,
}

/// What a tracer would be made of, or why there would be none.
pub(crate) type Outcome = Result<Digest, String>;

/// What waits.
#[derive(Default)]
pub(crate) struct Removals {
    /// The configuration, as a whole.
    config: Option<Waiting<Config>>,
    /// Tracers whose tenants' files have less.
    tracers: BTreeMap<Selector, Waiting<Outcome>>,
}

struct Waiting<T> {
    says: T,
    since: Instant,
}

impl Removals {
    /// The files of the configuration have less than the running one.
    pub(crate) fn note_config(&mut self, says: &Config, now: Instant) -> Removal {
        match &self.config {
            Some(waiting) if waiting.says == *says => waiting.at(now),
            _ => {
                let says = says.clone();
                self.config = Some(Waiting { says, since: now });
                Removal::Begins
            }
        }
    }

    /// The file of a tracer's tenant has less than when it was made.
    pub(crate) fn note_tracer(&mut self, selector: &Selector, says: Outcome, now: Instant) -> Removal {
        match self.tracers.get(selector) {
            Some(waiting) if waiting.says == says => waiting.at(now),
            _ => {
                self.tracers.insert(selector.clone(), Waiting { says, since: now });
                Removal::Begins
            }
        }
    }

    /// The configuration takes nothing away, was taken, or cannot be used.
    pub(crate) fn settle_config(&mut self) {
        self.config = None;
    }

    /// Forgets the tracers whose files were read and that do not wait.
    pub(crate) fn settle_tracers(&mut self, does_not_wait: impl Fn(&Selector) -> bool) {
        self.tracers.retain(|selector, _| !does_not_wait(selector));
    }

    /// In how long the files are to be read again; `None` if nothing waits.
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
            Removal::Taken
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MOMENT: Duration = Duration::from_millis(1);
    /// A moment less than [`SETTLED`].
    const ALMOST: Duration = Duration::from_millis(1_999);

    fn selector(text: &str) -> Selector {
        text.parse().expect("a selector")
    }

    fn gone(why: &str) -> Outcome {
        Err(why.to_owned())
    }

    #[test]
    fn what_the_files_say_for_two_seconds_is_taken_and_not_a_moment_before() {
        let (mut removals, start) = (Removals::default(), Instant::now());
        let acme = selector("tenant:acme");
        let mut note = |after| removals.note_tracer(&acme, gone("unknown"), start + after);
        assert_eq!(note(Duration::ZERO), Removal::Begins);
        assert_eq!(note(MOMENT), Removal::Waits);
        assert_eq!(note(ALMOST), Removal::Waits);
        assert_eq!(note(SETTLED), Removal::Taken);
        assert_eq!(removals.left(start + MOMENT), Some(ALMOST));
        assert_eq!(removals.left(start + 2 * SETTLED), Some(Duration::ZERO));
    }

    #[test]
    fn another_thing_that_is_less_waits_anew_and_nothing_less_ends_it() {
        let (mut removals, start) = (Removals::default(), Instant::now());
        let (acme, globex) = (selector("tenant:acme"), selector("tenant:globex"));
        assert_eq!(removals.note_tracer(&acme, gone("empty"), start), Removal::Begins);
        let later = start + SETTLED;
        assert_eq!(removals.note_tracer(&acme, gone("unknown"), later), Removal::Begins);
        assert_eq!(
            removals.note_tracer(&globex, gone("unknown"), later + MOMENT),
            Removal::Begins
        );
        assert_eq!(
            removals.note_tracer(&acme, gone("unknown"), later + SETTLED),
            Removal::Taken
        );
        assert_eq!(removals.left(later + MOMENT), Some(ALMOST));
        removals.settle_tracers(|selector| *selector == acme);
        assert_eq!(removals.left(later + MOMENT), Some(SETTLED));
        removals.settle_tracers(|_| true);
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
        // Loaded once each: the folder is part of what it says.
        let (half, empty) = (config("[tenants.acme]"), config(""));
        let (mut removals, start) = (Removals::default(), Instant::now());
        assert_eq!(removals.note_config(&empty, start), Removal::Begins);
        assert_eq!(removals.note_config(&half, start + SETTLED), Removal::Begins);
        assert_eq!(removals.note_config(&half, start + SETTLED + MOMENT), Removal::Waits);
        assert_eq!(removals.note_config(&half, start + 2 * SETTLED), Removal::Taken);
        removals.settle_config();
        assert_eq!(removals.left(start), None);
        assert_eq!(removals.note_config(&half, start + 3 * SETTLED), Removal::Begins);
    }
}

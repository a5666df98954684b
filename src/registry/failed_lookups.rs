//! Selectors that have a binding and no tracer, because it cannot be created.

use std::collections::BTreeMap;
use std::time::{Duration, Instant, SystemTime};

use super::error::LookupError;
use crate::export::Episode;
use crate::selector::Selector;
use crate::util::fork::ForkLock;

/// Most selectors remembered. Further ones are not, so names of clients need bounded memory.
const MAX_SELECTORS: usize = 1_000;

/// How long a failure counts after the last one.
const COUNTS_FOR: Duration = Duration::from_secs(15 * 60);

/// The last failure of each selector, until its tracer is created.
#[derive(Default)]
pub(crate) struct FailedLookUps(ForkLock<BTreeMap<Selector, Failed>>);

struct Failed {
    episode: Episode,
    last: Instant,
    error: LookupError,
}

impl FailedLookUps {
    /// Records the result of creating a tracer.
    pub(super) fn note<T>(&self, selector: &Selector, result: &Result<T, LookupError>) {
        let Some(mut all) = self.0.lock_unless_forked() else {
            return;
        };
        match result {
            Ok(_) => drop(all.remove(selector)),
            Err(error) if error.is_unknown() => drop(all.remove(selector)),
            Err(error) if has_binding(error) => {
                let now = Instant::now();
                if all.len() >= MAX_SELECTORS && !all.contains_key(selector) {
                    all.retain(|_, failed| now.saturating_duration_since(failed.last) < COUNTS_FOR);
                }
                let is_full = all.len() >= MAX_SELECTORS;
                if let Some(failed) = all.get_mut(selector) {
                    failed.error = error.clone();
                    failed.last = now;
                    failed.episode.note(1, now);
                } else if !is_full {
                    let mut episode = Episode::default();
                    episode.note(1, now);
                    let error = error.clone();
                    all.insert(
                        selector.clone(),
                        Failed {
                            episode,
                            last: now,
                            error,
                        },
                    );
                }
            }
            Err(_) => {}
        }
    }

    /// Calls a function with each failure that counts and its start, in the order of the selectors.
    pub(super) fn each(&self, now: SystemTime, mut f: impl FnMut(&Selector, SystemTime, &LookupError)) {
        let Some(all) = self.0.lock_unless_forked() else {
            return;
        };
        for (selector, failed) in all.iter() {
            if let Some(since) = failed.since(now) {
                f(selector, since, &failed.error);
            }
        }
    }
}

impl Failed {
    /// Returns when it began, if it counts.
    fn since(&self, now: SystemTime) -> Option<SystemTime> {
        let ongoing = self.episode.ongoing()?;
        let age = now.duration_since(ongoing.last).unwrap_or_default();
        (age < COUNTS_FOR).then_some(ongoing.since)
    }
}

/// Whether a selector has a binding, if it is not unknown.
fn has_binding(error: &LookupError) -> bool {
    match error {
        LookupError::Resolve(_)
        | LookupError::TenantBinding(_)
        | LookupError::Destination(_)
        | LookupError::Secret(_)
        | LookupError::Tls(_)
        | LookupError::ProxyCredentials(_)
        | LookupError::RedactKey(_)
        | LookupError::Panicked(_)
        | LookupError::PoolFull { .. } => true,
        LookupError::Selector(_)
        | LookupError::Source { .. }
        | LookupError::OnlyAsync(_)
        | LookupError::NoActiveEnvironment
        | LookupError::Recursive { .. }
        | LookupError::Erased(_)
        | LookupError::Forked
        | LookupError::Shutdown => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hostile_names_need_bounded_memory_and_a_success_ends_a_failure() {
        let failed = FailedLookUps::default();
        let selector = |n: usize| -> Selector { format!("tenant:t{n:05}").parse().expect("a selector") };
        let full = |n| -> Result<(), _> {
            Err(LookupError::PoolFull {
                selector: selector(n),
                max_tracers: 1,
            })
        };
        let count = |now| {
            let mut count = 0;
            failed.each(now, |_, _, _| count += 1);
            count
        };
        for n in 0..10 * MAX_SELECTORS {
            failed.note(&selector(n), &full(n));
        }
        let kept = failed.0.lock().len();
        assert_eq!((kept, count(SystemTime::now())), (1_000, 1_000));
        failed.note(&selector(0), &Ok(()));
        failed.note(&selector(1), &Err::<(), _>(LookupError::Shutdown));
        assert_eq!(count(SystemTime::now()), 999);
        assert_eq!(count(SystemTime::now() + COUNTS_FOR + Duration::from_secs(1)), 0);
    }
}

//! Settings of each member over time. They decide which results a look-up may have, by its start
//! and end.

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use super::super::program::cast::Setting;
use crate::lock::lock;

/// By member: its settings with the number of the change that set them; `None` while it is removed.
type Past = Vec<Vec<(u64, Option<Setting>)>>;

/// Changes are serialized; look-ups run concurrently.
pub(super) struct History {
    past: Mutex<Past>,
    /// The last change that look-ups may see.
    begun: AtomicU64,
    /// The last change that look-ups starting now must see.
    done: AtomicU64,
}

/// Start of a look-up: the last change that was complete.
#[derive(Clone, Copy, Debug)]
pub(super) struct LookupStart(u64);

/// Permitted results of a look-up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Permitted {
    /// Settings that the tracer may have.
    pub(super) settings: Vec<Setting>,
    /// Whether the error for an unknown name is permitted.
    pub(super) unknown: bool,
}

impl History {
    pub(super) fn new(members: usize) -> Self {
        Self {
            past: Mutex::new(vec![vec![(0, Some(Setting::default()))]; members]),
            begun: AtomicU64::new(0),
            done: AtomicU64::new(0),
        }
    }

    /// Records that members are about to change their settings or to be removed.
    pub(super) fn begin(&self, changes: &[(usize, Option<Setting>)]) {
        let next = self.begun.load(Ordering::SeqCst) + 1;
        let mut past = lock(&self.past);
        for (member, setting) in changes {
            past[*member].push((next, *setting));
        }
        drop(past);
        self.begun.store(next, Ordering::SeqCst);
    }

    /// Records that the change is complete: look-ups that start now must not find older settings.
    pub(super) fn done(&self) {
        self.done.store(self.begun.load(Ordering::SeqCst), Ordering::SeqCst);
    }

    /// Records the start of a look-up.
    pub(super) fn start(&self) -> LookupStart {
        LookupStart(self.done.load(Ordering::SeqCst))
    }

    /// Returns the permitted results of a look-up that ends now.
    pub(super) fn permitted(&self, member: usize, start: LookupStart) -> Permitted {
        let begun = self.begun.load(Ordering::SeqCst);
        let past = lock(&self.past);
        let past = &past[member];
        let first = past.partition_point(|(change, _)| *change <= start.0).saturating_sub(1);
        let visible = past[first..].iter().take_while(|(change, _)| *change <= begun);
        let (mut settings, mut unknown) = (Vec::new(), false);
        for (_, setting) in visible {
            match setting {
                Some(setting) => settings.push(*setting),
                None => unknown = true,
            }
        }
        Permitted { settings, unknown }
    }

    /// Returns all settings of each member, and removes outdated ones. No look-up may be running.
    pub(super) fn take(&self) -> Vec<Vec<Setting>> {
        let mut past = lock(&self.past);
        let settings = past.iter_mut().map(|past| {
            let all = past.iter().filter_map(|(_, setting)| *setting).collect();
            past.drain(..past.len() - 1);
            all
        });
        settings.collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn setting(binding: u32) -> Setting {
        Setting { binding, defaults: 0 }
    }

    #[test]
    fn a_look_up_may_find_settings_from_its_start_to_its_end() {
        let history = History::new(2);
        let before = history.start();
        assert_eq!(history.permitted(0, before).settings, [setting(0)]);
        history.begin(&[(0, Some(setting(1)))]);
        let during = history.start();
        for start in [before, during] {
            assert_eq!(history.permitted(0, start).settings, [setting(0), setting(1)]);
        }
        history.done();
        assert_eq!(
            history.permitted(0, history.start()).settings,
            [setting(1)],
            "nothing older"
        );
        assert_eq!(history.permitted(0, before).settings, [setting(0), setting(1)]);
        assert_eq!(
            history.permitted(1, before).settings,
            [setting(0)],
            "the other member has not changed"
        );
    }

    #[test]
    fn a_look_up_after_a_removal_must_not_find_the_member() {
        let history = History::new(1);
        let before = history.start();
        history.begin(&[(0, None)]);
        assert!(history.permitted(0, before).unknown);
        assert_eq!(history.permitted(0, before).settings, [setting(0)]);
        history.done();
        let (settings, unknown) = (Vec::new(), true);
        assert_eq!(history.permitted(0, history.start()), Permitted { settings, unknown });
        history.begin(&[(0, Some(setting(1)))]);
        history.done();
        assert_eq!(history.take(), [[setting(0), setting(1)]]);
        assert_eq!(history.take(), [[setting(1)]]);
        let (settings, unknown) = (vec![setting(1)], false);
        assert_eq!(history.permitted(0, history.start()), Permitted { settings, unknown });
    }
}

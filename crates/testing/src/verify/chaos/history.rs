//! What holds for whom, and since when: what a look-up may find depends on when it began and when it ended.

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use super::super::program::cast::Setting;
use crate::lock::lock;

/// What each member had, by the change that brought it; `None` if it was gone.
type Past = Vec<Vec<(u64, Option<Setting>)>>;

/// One change is made at a time, and look-ups go on meanwhile.
pub(super) struct History {
    past: Mutex<Past>,
    /// The last change that may be seen already.
    begun: AtomicU64,
    /// The last change that must be seen by look-ups that begin now.
    done: AtomicU64,
}

/// When a look-up began: the last change that was done then.
#[derive(Clone, Copy, Debug)]
pub(super) struct Since(u64);

/// What a look-up may find.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct MayBe {
    /// A tracer of one of these.
    pub(super) there: Vec<Setting>,
    /// The error for a name that is unknown.
    pub(super) gone: bool,
}

impl History {
    pub(super) fn new(members: usize) -> Self {
        Self {
            past: Mutex::new(vec![vec![(0, Some(Setting::default()))]; members]),
            begun: AtomicU64::new(0),
            done: AtomicU64::new(0),
        }
    }

    /// Some members are about to have other settings, or none.
    pub(super) fn begin(&self, changes: &[(usize, Option<Setting>)]) {
        let next = self.begun.load(Ordering::SeqCst) + 1;
        let mut past = lock(&self.past);
        for (member, setting) in changes {
            past[*member].push((next, *setting));
        }
        drop(past);
        self.begun.store(next, Ordering::SeqCst);
    }

    /// They have them: a look-up that begins now finds nothing older.
    pub(super) fn done(&self) {
        self.done.store(self.begun.load(Ordering::SeqCst), Ordering::SeqCst);
    }

    /// A look-up begins.
    pub(super) fn now(&self) -> Since {
        Since(self.done.load(Ordering::SeqCst))
    }

    /// What a look-up may have found that ends now.
    pub(super) fn may_be(&self, member: usize, since: Since) -> MayBe {
        let begun = self.begun.load(Ordering::SeqCst);
        let past = lock(&self.past);
        let past = &past[member];
        let first = past.partition_point(|(change, _)| *change <= since.0).saturating_sub(1);
        let may_be = past[first..].iter().take_while(|(change, _)| *change <= begun);
        let (mut there, mut gone) = (Vec::new(), false);
        for (_, setting) in may_be {
            match setting {
                Some(setting) => there.push(*setting),
                None => gone = true,
            }
        }
        MayBe { there, gone }
    }

    /// Forgets settings that no look-up can find any more. No look-up may be under way.
    pub(super) fn forget(&self) {
        let mut past = lock(&self.past);
        for past in past.iter_mut() {
            past.drain(..past.len() - 1);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn setting(binding: u32) -> Setting {
        Setting { binding, defaults: 0 }
    }

    #[test]
    fn a_look_up_finds_what_holds_when_it_begins_or_comes_while_it_lasts() {
        let history = History::new(2);
        let before = history.now();
        assert_eq!(history.may_be(0, before).there, [setting(0)]);
        history.begin(&[(0, Some(setting(1)))]);
        let during = history.now();
        for since in [before, during] {
            assert_eq!(history.may_be(0, since).there, [setting(0), setting(1)]);
        }
        history.done();
        assert_eq!(history.may_be(0, history.now()).there, [setting(1)], "nothing older");
        assert_eq!(history.may_be(0, before).there, [setting(0), setting(1)]);
        assert_eq!(
            history.may_be(1, before).there,
            [setting(0)],
            "the other has not changed"
        );
    }

    #[test]
    fn who_is_gone_is_not_found_by_a_look_up_that_begins_then() {
        let history = History::new(1);
        let before = history.now();
        history.begin(&[(0, None)]);
        assert!(history.may_be(0, before).gone);
        assert_eq!(history.may_be(0, before).there, [setting(0)]);
        history.done();
        let (there, gone) = (Vec::new(), true);
        assert_eq!(history.may_be(0, history.now()), MayBe { there, gone });
        history.begin(&[(0, Some(setting(1)))]);
        history.done();
        history.forget();
        let (there, gone) = (vec![setting(1)], false);
        assert_eq!(history.may_be(0, history.now()), MayBe { there, gone });
    }
}

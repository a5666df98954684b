//! The books of every selector that a tracer was ever made for.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use dashmap::DashMap;

use crate::export::Account;
use crate::selector::Selector;

/// The books of all selectors, kept until the end.
#[derive(Default)]
pub(super) struct Accounts {
    opened: DashMap<Selector, Arc<Opened>>,
    count: AtomicUsize,
}

/// The books of one selector, and when they were opened.
pub(super) struct Opened {
    pub(super) account: Arc<Account>,
    /// How many were opened before.
    #[cfg_attr(not(feature = "metrics"), expect(dead_code, reason = "says whom metrics name"))]
    pub(super) number: usize,
    /// Where the spans go.
    #[cfg_attr(not(feature = "metrics"), expect(dead_code, reason = "metrics name it"))]
    pub(super) traces_url: String,
}

impl Accounts {
    /// The books of a selector; new ones where it has none.
    pub(super) fn open(&self, selector: &Selector, traces_url: &str) -> Arc<Account> {
        let opened = self.opened.entry(selector.clone()).or_insert_with(|| {
            Arc::new(Opened {
                account: Account::new(selector.clone()),
                // Relaxed: only the number itself matters.
                number: self.count.fetch_add(1, Ordering::Relaxed),
                traces_url: traces_url.to_owned(),
            })
        });
        Arc::clone(&opened.account)
    }

    /// Clones, so that no lock of the map is held while anybody works.
    pub(super) fn all(&self) -> Vec<Arc<Opened>> {
        self.opened.iter().map(|opened| Arc::clone(opened.value())).collect()
    }

    /// In the order of their selectors.
    pub(super) fn sorted(&self) -> Vec<Arc<Account>> {
        let all = self.all();
        let mut accounts: Vec<Arc<Account>> = all.iter().map(|opened| Arc::clone(&opened.account)).collect();
        accounts.sort_by(|one, other| one.selector.cmp(&other.selector));
        accounts
    }
}

//! What an operator should look at now.

use std::borrow::Borrow;
use std::collections::{BTreeMap, BTreeSet};
use std::time::SystemTime;

use serde::Serialize;

use super::problems::{Rule, Severity, problems};
use super::types::SpoolHealth;
use crate::export::ReasonName;
use crate::ledger::DropReason;
use crate::registry::error::LookupError;
use crate::registry::handle::TracerRegistry;
use crate::selector::{Selector, SelectorError};
use crate::util::wall_time;

/// Most tracers and endpoints of an entry.
const SHOWN: usize = 20;

/// Something that an operator should look at: [`TracerRegistry::attention`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Attention {
    /// Name of the rule, as in the table of alerts in docs/operations.md.
    pub rule: &'static str,
    /// How urgent it is.
    pub severity: Severity,
    /// Number of selectors that it concerns. 0 if it concerns the registry.
    pub count: usize,
    /// The first 20 of them, sorted.
    pub tracers: Vec<Selector>,
    /// Scheme, host and port of the receivers that the newest tracers of these selectors use: the
    /// first 20, sorted.
    pub endpoints: Vec<String>,
    /// When it began, for the selector for which it began first. `None` if that is not recorded.
    #[serde(with = "wall_time::optional")]
    pub since: Option<SystemTime>,
    /// What is wrong. Contains no key.
    pub message: String,
}

/// The selectors that one rule concerns.
#[derive(Default)]
struct Concerned {
    count: usize,
    tracers: BTreeSet<Selector>,
    endpoints: BTreeSet<String>,
    since: Option<SystemTime>,
    reasons: BTreeSet<DropReason>,
    /// The first selector that has no tracer, and why.
    failure: Option<String>,
}

impl TracerRegistry {
    /// Returns what an operator should look at now, most urgent first: one entry for each rule that
    /// applies. Empty if all is well, and in a forked child of the registry's process.
    ///
    /// Applies the rules in the table of alerts in docs/operations.md. Visits every selector, like
    /// [`tracers`](Self::tracers).
    pub fn attention(&self) -> Vec<Attention> {
        if self.0.engine.is_forked() {
            return Vec::new();
        }
        let now = SystemTime::now();
        let old = self.0.state.bindings.loaded().spool().max_age / 2;
        let is_old = |oldest: SystemTime| now.duration_since(oldest).is_ok_and(|age| age > old);
        let mut found: BTreeMap<Rule, Concerned> = BTreeMap::new();
        for ledger in self.0.accounting.all().0 {
            let problems = problems(&ledger, &ledger.summary(), now);
            let is_paused = ledger.gate.is_closed();
            let oldest = ledger.spooled().oldest.filter(|oldest| is_old(*oldest));
            if problems.is_empty() && !is_paused && oldest.is_none() {
                continue;
            }
            let connections = ledger.connections();
            let mut rules: BTreeSet<Rule> = problems.iter().map(|problem| problem.rule).collect();
            rules.extend(is_paused.then_some(Rule::Paused));
            rules.extend(oldest.map(|_| Rule::SpoolOld));
            for rule in rules {
                let concerned = found.entry(rule).or_default();
                concerned.count += 1;
                insert(&mut concerned.tracers, &ledger.selector);
                concerned.began(oldest.filter(|_| rule == Rule::SpoolOld));
                if let Some(connections) = &connections {
                    insert(&mut concerned.endpoints, connections.origin());
                    if rule == Rule::EndpointUnreachable {
                        let ongoing = connections.episodes.problems();
                        concerned.began(ongoing.iter().map(|(_, problem)| problem.since).min());
                    }
                }
            }
            for problem in problems {
                let concerned = found.entry(problem.rule).or_default();
                concerned.began(problem.since);
                concerned.reasons.extend(problem.reason);
            }
        }
        self.0.state.failed.each(now, |selector, since, error| {
            let concerned = found.entry(Rule::TracerNotCreated).or_default();
            concerned.count += 1;
            insert(&mut concerned.tracers, selector);
            concerned.began(Some(since));
            concerned.failure.get_or_insert_with(|| format!("{selector}: {error}"));
        });
        for selector in self.0.state.erased.all() {
            let concerned = found.entry(Rule::Erased).or_default();
            concerned.count += 1;
            insert(&mut concerned.tracers, &selector);
        }
        let mut attention: Vec<(Rule, Attention)> = found
            .into_iter()
            .map(|(rule, concerned)| (rule, concerned.attention(rule)))
            .collect();
        attention.extend(self.attention_of_registry());
        attention.sort_by_key(|(rule, _)| *rule);
        attention.into_iter().map(|(_, attention)| attention).collect()
    }

    /// Returns why the tracer of a selector cannot be created: the last failure of a look-up, until
    /// one succeeds, and for 15 minutes after the failure. `None` if the selector has no binding.
    ///
    /// Not cached: the next look-up tries again. Remembers at most 1,000 selectors. Contains no key.
    ///
    /// # Errors
    /// [`SelectorError`] if the selector is not valid.
    pub fn creation_error<S>(&self, selector: S) -> Result<Option<LookupError>, SelectorError>
    where
        S: TryInto<Selector, Error: Into<SelectorError>>,
    {
        let wanted = selector.try_into().map_err(Into::into)?;
        let mut found = None;
        self.0.state.failed.each(SystemTime::now(), |selector, _, error| {
            if *selector == wanted {
                found = Some(error.clone());
            }
        });
        Ok(found)
    }

    /// Returns the rules that concern the registry as a whole.
    fn attention_of_registry(&self) -> impl Iterator<Item = (Rule, Attention)> {
        let pool = self.0.state.pool.problem();
        let error = self.0.state.reloads.status().error;
        let spool = self.0.spool_status(None);
        let health = spool.as_ref().map(|spool| spool.health);
        let since = spool.as_ref().and_then(|spool| spool.since);
        let set_aside = spool.as_ref().and_then(|spool| spool.set_aside.first());
        let holds = [
            (self.0.engine.is_under_pressure(), Rule::MemoryPressure, None, None),
            (pool.is_some(), Rule::PoolFull, pool.map(|pool| pool.since), None),
            (
                error.is_some(),
                Rule::ConfigurationRefused,
                None,
                error.map(|error| error.to_string()),
            ),
            (
                health == Some(SpoolHealth::Failing),
                Rule::SpoolFailing,
                since,
                spool.as_ref().and_then(|spool| spool.error.clone()),
            ),
            (health == Some(SpoolHealth::Full), Rule::SpoolFull, since, None),
            (
                set_aside.is_some(),
                Rule::SpoolSetAside,
                None,
                set_aside.map(|file| format!("{}: {file}", Rule::SpoolSetAside.message())),
            ),
        ];
        let holds = holds.into_iter().filter(|(holds, ..)| *holds);
        holds.map(|(_, rule, since, message)| {
            let mut attention = Concerned::default().attention(rule);
            attention.since = since.map(wall_time::to_millis);
            attention.message = message.unwrap_or(attention.message);
            (rule, attention)
        })
    }
}

impl Concerned {
    fn began(&mut self, since: Option<SystemTime>) {
        self.since = self.since.into_iter().chain(since).min();
    }

    fn attention(self, rule: Rule) -> Attention {
        let reasons = self.reasons.into_iter().map(|reason| ReasonName(reason).to_string());
        let reasons: Vec<String> = reasons.chain(self.failure).collect();
        let message = match reasons.as_slice() {
            [] => rule.message().to_owned(),
            reasons => format!("{}: {}", rule.message(), reasons.join(", ")),
        };
        Attention {
            rule: rule.name(),
            severity: rule.severity(),
            count: self.count,
            tracers: self.tracers.into_iter().collect(),
            endpoints: self.endpoints.into_iter().collect(),
            since: self.since.map(wall_time::to_millis),
            message,
        }
    }
}

/// Inserts a value into the [`SHOWN`] smallest ones. Copies it only if it is one of them.
fn insert<T: Ord + Borrow<B>, B: ToOwned<Owned = T> + Ord + ?Sized>(smallest: &mut BTreeSet<T>, value: &B) {
    let is_larger = |last: &T| last.borrow() < value;
    if smallest.contains(value) || smallest.len() == SHOWN && smallest.last().is_some_and(is_larger) {
        return;
    }
    smallest.insert(value.to_owned());
    if smallest.len() > SHOWN {
        smallest.pop_last();
    }
}

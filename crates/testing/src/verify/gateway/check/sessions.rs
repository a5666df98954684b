//! Checks of requests to the session API: each arrives once, at the right tenant, with its own data,
//! in the order in which its client made them.

use std::collections::BTreeMap;

use serde_json::Value;

use super::super::super::check::finding::FindingKind;
use super::super::super::program::cast::Backend;
use super::super::super::program::operation::OpId;
use super::super::content::canary;
use super::super::program::{Action, Kind};
use super::Check;
use super::sent_session::{SentSession, ops_of};
use tracer_registry_collector::{LocalCollector, OperationKind, SessionOrigin};

impl Check<'_> {
    pub(super) fn sent_sessions(&self) -> BTreeMap<OpId, SentSession> {
        let mut all = BTreeMap::new();
        for (client, ops) in self.program.clients.iter().enumerate() {
            for op in ops {
                let Kind::Session(session) = &op.kind else { continue };
                let Some(observed) = self.left.observed.get(&op.id) else {
                    continue;
                };
                let permitted = self.permitted(&op.kind, observed, observed.period.first);
                let success = permitted.iter().find(|expected| expected.refusals.is_empty());
                let (min, max) = Self::times(&op.kind, observed);
                let (Some(success), Some(id)) = (success.filter(|_| max > 0), &observed.session) else {
                    continue;
                };
                let member = success.members[0];
                let is_repeated = self.left.repeated.contains(&member);
                let sent = SentSession {
                    member,
                    client,
                    action: session.action,
                    id: id.clone(),
                    min,
                    period: observed.period,
                    max: if is_repeated { u64::MAX } else { max },
                    copies: max,
                    repeats: self.left.seen.repeats(&self.names[member], op.id),
                    arrived: BTreeMap::new(),
                    has_wrong_session: false,
                };
                all.insert(op.id, sent);
            }
        }
        all
    }

    /// Call after the spans were counted.
    pub(super) fn check_sessions(&mut self, collector: &LocalCollector) {
        let mut unexpected = Vec::new();
        for member in 0..self.names.len() {
            let Some(project) = collector.project(&self.names[member]) else {
                continue;
            };
            let operations = project.sessions().iter().flat_map(|session| &session.operations);
            let calls = operations.filter_map(|operation| operation.body.as_object());
            let bodies = calls.chain(project.events().iter().map(|event| &event.body));
            for op in bodies.flat_map(ops_of) {
                match self.sessions.get_mut(&op) {
                    Some(sent) => *sent.arrived.entry(member).or_default() += 1,
                    None => unexpected.push((member, op)),
                }
            }
        }
        for (member, op) in unexpected {
            let seen = "data of a request that was not answered with success";
            self.find(FindingKind::Unexpected, Some(member), op, "no such request", seen);
        }
        let sessions = std::mem::take(&mut self.sessions);
        for (op, sent) in &sessions {
            let member = Some(sent.member);
            let wanted = format!("{} to {} arrivals", sent.min, sent.max);
            // Calls of a session API are not copied.
            let targets = self.world.receivers(sent.member).skip(1);
            let targets: Vec<usize> = targets
                .filter(|_| !self.world.members[sent.member].has_calls())
                .collect();
            for target in &targets {
                self.check_copies_of_session(*op, sent, *target);
            }
            let is_elsewhere = |other: &usize| *other != sent.member && !targets.contains(other);
            for (other, count) in sent.arrived.iter().filter(|(other, _)| is_elsewhere(other)) {
                let seen = format!("{count} in the project of {}", self.names[*other]);
                self.find(FindingKind::Leaked, member, *op, "its own project", seen);
            }
            let own = sent.arrived.get(&sent.member).copied().unwrap_or_default();
            let has_calls = self.world.members[sent.member].has_calls();
            let project = collector.project(&self.names[sent.member]);
            let rejected = project.map_or(0, |project| project.summary().rejected_spans);
            self.repeated += own.saturating_sub(sent.max);
            if own > sent.max.saturating_add(sent.repeats) {
                self.find(FindingKind::Duplicated, member, *op, wanted, own);
            } else if own < sent.min && (has_calls || rejected == 0) {
                self.find(FindingKind::Lost, member, *op, wanted, own);
            }
            if sent.has_wrong_session {
                let wanted = format!("the session {}", sent.id);
                self.find(FindingKind::WrongSession, member, *op, wanted, "another one");
            }
            if !has_calls {
                let totals = self.counts.entry(sent.member).or_default();
                totals[0] += sent.min;
                totals[1] = totals[1].saturating_add(sent.max).saturating_add(sent.repeats);
            }
        }
        self.check_order(&sessions, collector);
        self.sessions = sessions;
    }

    /// Returns whether a reload may have replaced the tracer of a member between these requests: then
    /// they have no order.
    fn was_replaced(&self, member: usize, sent: &[(OpId, &SentSession)]) -> bool {
        let first = sent.iter().map(|(_, sent)| sent.period.first).min().unwrap_or_default();
        let last = sent.iter().map(|(_, sent)| sent.period.last).max().unwrap_or_default();
        let mut of_member = self.left.states[first..=last].iter().map(|state| {
            let is_removed = state.removed.contains(&member);
            (state.settings[member], is_removed)
        });
        let before = of_member.next();
        of_member.any(|at| Some(at) != before)
    }

    /// Checks the order of the requests of one client for one session.
    fn check_order(&mut self, sessions: &BTreeMap<OpId, SentSession>, collector: &LocalCollector) {
        let mut by_session: BTreeMap<(usize, &str), Vec<(OpId, &SentSession)>> = BTreeMap::new();
        // Numbers of operations grow with each client.
        for (op, sent) in sessions {
            if self.world.members[sent.member].has_calls() && !matches!(sent.action, Action::Event { .. }) {
                by_session.entry((sent.member, &sent.id)).or_default().push((*op, sent));
            }
        }
        for ((member, id), sent) in by_session {
            let is_exact = sent.iter().all(|(_, sent)| (sent.min, sent.max) == (1, 1));
            if !is_exact || self.was_replaced(member, &sent) {
                continue;
            }
            let Some(session) = collector
                .project(&self.names[member])
                .and_then(|project| project.session(id).cloned())
            else {
                continue;
            };
            let first = sent[0];
            let of_client: Vec<_> = sent
                .iter()
                .filter(|(_, other)| other.client == first.1.client)
                .collect();
            let has = |body: &Value, op| body.as_object().is_some_and(|body| ops_of(body).contains(&op));
            let place = |op: OpId| session.operations.iter().position(|operation| has(&operation.body, op));
            let places: Vec<_> = of_client.iter().map(|(op, _)| place(*op)).collect();
            if places.contains(&None) {
                // Reported as lost.
                continue;
            }
            if !places.is_sorted() {
                let ops: Vec<OpId> = of_client.iter().map(|(op, _)| *op).collect();
                let wanted = format!("the operations {ops:?} in this order");
                self.find(
                    FindingKind::WrongOrder,
                    Some(member),
                    first.0,
                    wanted,
                    format!("places {places:?}"),
                );
            }
            let last = sent.iter().rev().find(|(_, last)| !last.is_start());
            if let (Some((op, _)), true) = (last, of_client.len() == sent.len()) {
                let wanted = canary(self.world, Some(member), *op);
                let seen = &session.metadata.get("last");
                if seen.is_none_or(|seen| *seen != wanted) {
                    self.find(FindingKind::WrongOrder, Some(member), *op, wanted, format!("{seen:?}"));
                }
            }
            let is_started = session.origin == SessionOrigin::Started
                && session
                    .operations
                    .first()
                    .is_some_and(|first| first.kind == OperationKind::Start);
            if first.1.is_start() && of_client.len() == sent.len() && !is_started {
                let seen = format!("{:?}", session.origin);
                self.find(FindingKind::WrongOrder, Some(member), first.0, "the start first", seen);
            }
            let (backend, source) = (self.world.members[member].backend, session.source.clone());
            let settings = self
                .left
                .states
                .iter()
                .map(|state| self.world.members[member].source_at(state.settings[member]));
            if backend == Backend::Honeyhive
                && session.origin == SessionOrigin::Started
                && !settings.into_iter().any(|own| Some(&own) == source.as_ref())
            {
                self.find(
                    FindingKind::WrongSource,
                    Some(member),
                    first.0,
                    "the member's source",
                    format!("{source:?}"),
                );
            }
        }
    }
}

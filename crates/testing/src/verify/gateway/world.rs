//! Tenants, callers, and the state of the configuration.

use std::collections::BTreeSet;
use std::iter;
use std::sync::{Mutex, MutexGuard};

use super::super::program::cast::{Backend, Member, RATIO, Setting, cast};
use crate::lock::lock;
use tracer_registry::config::SessionMode;
use tracer_registry::selector::SelectorKind;

/// Header that names the tenant.
pub(super) const TENANT_HEADER: &str = "x-tenant";
/// Resource attribute that names the tenant.
pub(super) const TENANT_ATTRIBUTE: &str = "tenant.id";
/// Largest request of the gateway.
pub(super) const MAX_REQUEST: usize = 256 << 10;
/// Largest span of a tenant with this limit.
pub(super) const MAX_SPAN: usize = 4096;

/// Everything that does not change during a run.
#[derive(Debug)]
pub(super) struct World {
    pub(super) members: Vec<Member>,
    /// By member.
    pub(super) rules: Vec<MemberRules>,
    pub(super) callers: Vec<Caller>,
    /// Unique text that no request may contain.
    pub(super) stranger: String,
}

/// What a member's binding does with its spans.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct MemberRules {
    /// Whether the binding adds nothing, so that a compressed request is sent unchanged.
    pub(super) is_plain: bool,
    /// Whether spans above [`MAX_SPAN`] are refused.
    pub(super) is_limited: bool,
}

/// A program that sends to the gateway.
#[derive(Debug)]
pub(super) struct Caller {
    pub(super) name: String,
    /// Unique part of its tokens.
    pub(super) stem: String,
    pub(super) basic: Basic,
    pub(super) rule: Rule,
    /// Environment and feature of its requests.
    pub(super) others: Vec<(SelectorKind, String)>,
    /// Whether it has a file of its own.
    pub(super) has_file: bool,
}

/// Part of a `Basic` credential that is the token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Basic {
    Pair,
    User,
    Password,
}

/// How a request names its tenant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Rule {
    Fixed(Option<String>),
    Header(Vec<String>),
    Resource(Vec<String>),
    Path(Vec<String>),
}

/// What the configuration says at one time.
#[derive(Clone, Debug)]
pub(super) struct State {
    /// By member.
    pub(super) settings: Vec<Setting>,
    /// Members that are not configured.
    pub(super) removed: BTreeSet<usize>,
    /// By caller: the number of its first token. The next one is valid too.
    pub(super) tokens: Vec<u32>,
    /// Callers whose lists lack their first tenant.
    pub(super) narrowed: BTreeSet<usize>,
}

/// Valid tokens of a caller.
pub(super) const TOKENS: u32 = 2;

impl World {
    pub(super) fn new(tenants: usize) -> Self {
        let mut members = cast(tenants);
        members.retain(|member| member.registry == 0);
        let rules: Vec<MemberRules> = (0..members.len()).map(|index| rules(index, tenants)).collect();
        for (index, (member, rules)) in members.iter_mut().zip(&rules).enumerate() {
            if index < tenants && index % 5 == 2 {
                member.ratio = RATIO;
            }
            if rules.is_plain {
                member.backend = Backend::Otlp;
                member.sessions = SessionMode::Explicit;
            }
        }
        let mut callers = Vec::new();
        let mut add = |name: String, rule: Rule, others: Vec<(SelectorKind, String)>| {
            let index = callers.len();
            callers.push(Caller {
                stem: stem(index + 1),
                basic: [Basic::Pair, Basic::User, Basic::Password][index % 3],
                has_file: index % 4 == 1,
                name,
                rule,
                others,
            });
        };
        for (index, member) in members.iter().enumerate().filter(|(_, member)| !member.is_target()) {
            let (tenant, others): (Vec<_>, Vec<_>) = member
                .parts
                .iter()
                .cloned()
                .partition(|(kind, _)| *kind == SelectorKind::Tenant);
            let tenant = tenant.into_iter().next().map(|(_, name)| name);
            add(format!("fixed-{index}"), Rule::Fixed(tenant), others);
        }
        let even: Vec<String> = (0..tenants).step_by(2).map(|index| format!("t{index}")).collect();
        let pattern = vec!["t1*".to_owned(), "t0".to_owned()];
        let all = vec!["*".to_owned()];
        for (name, rule) in [
            ("header-even", Rule::Header(even.clone())),
            ("header-pattern", Rule::Header(pattern.clone())),
            ("path-even", Rule::Path(even.clone())),
            ("path-all", Rule::Path(all.clone())),
            ("resource-even", Rule::Resource(even)),
            ("resource-pattern", Rule::Resource(pattern)),
            ("resource-all", Rule::Resource(all)),
        ] {
            add(name.to_owned(), rule, Vec::new());
        }
        Self {
            members,
            rules,
            callers,
            stranger: stem(0),
        }
    }

    pub(super) fn initial(&self) -> State {
        State {
            settings: vec![Setting::default(); self.members.len()],
            removed: BTreeSet::new(),
            tokens: vec![0; self.callers.len()],
            narrowed: BTreeSet::new(),
        }
    }

    /// Returns the members that get the spans of a member: itself, and the targets of its copies.
    pub(super) fn receivers(&self, member: usize) -> impl Iterator<Item = usize> + use<'_> {
        let is_target = move |target: &usize| self.members[member].copies_to(&self.members[*target]);
        iter::once(member).chain((0..self.members.len()).filter(is_target))
    }

    /// Returns the member with these parts of a selector.
    pub(super) fn member(&self, tenant: Option<&str>, others: &[(SelectorKind, String)]) -> Option<usize> {
        self.members.iter().position(|member| {
            let of = |kind| {
                member
                    .parts
                    .iter()
                    .find(|(part, _)| *part == kind)
                    .map(|(_, name)| name.as_str())
            };
            let other = |kind| {
                others
                    .iter()
                    .find(|(part, _)| *part == kind)
                    .map(|(_, name)| name.as_str())
            };
            of(SelectorKind::Tenant) == tenant
                && [SelectorKind::Environment, SelectorKind::Feature]
                    .into_iter()
                    .all(|kind| of(kind) == other(kind))
        })
    }

    /// Returns texts of which no request to a receiver may contain any.
    pub(super) fn strangers(&self) -> Vec<&str> {
        let stems = self.callers.iter().map(|caller| caller.stem.as_str());
        stems.chain([self.stranger.as_str()]).collect()
    }
}

impl Caller {
    /// Returns one of its tokens.
    pub(super) fn token(&self, number: u32) -> String {
        match self.basic {
            Basic::Pair => format!("user-{}:token-{number}", self.stem),
            Basic::User | Basic::Password => format!("token-{}-{number}", self.stem),
        }
    }

    /// Returns the names and patterns that its requests may name.
    pub(super) fn allow(&self) -> &[String] {
        match &self.rule {
            Rule::Fixed(tenant) => tenant.as_slice(),
            Rule::Header(allow) | Rule::Resource(allow) | Rule::Path(allow) => allow,
        }
    }
}

impl State {
    /// Returns the list of a caller in this state.
    pub(super) fn allow<'a>(&self, world: &'a World, caller: usize) -> &'a [String] {
        let allow = world.callers[caller].allow();
        if self.narrowed.contains(&caller) {
            &allow[1..]
        } else {
            allow
        }
    }

    pub(super) fn is_valid(&self, caller: usize, token: u32) -> bool {
        let first = self.tokens[caller];
        (first..first + TOKENS).contains(&token)
    }
}

fn rules(index: usize, tenants: usize) -> MemberRules {
    // The first tenant and features also apply to a combination of both.
    if index == 0 || index >= tenants {
        return MemberRules::default();
    }
    MemberRules {
        is_plain: index % 6 == 1,
        is_limited: index % 4 == 3,
    }
}

/// Returns ten hexadecimal digits that differ from the token of each member.
fn stem(index: usize) -> String {
    let number = (index as u64 + 1).wrapping_mul(0xD1B5_4A32_D192_ED03) >> 24;
    format!("{number:010x}")
}

/// The states of a run. Changes are serialized; requests run concurrently.
pub(super) struct States(Mutex<Past>);

struct Past {
    states: Vec<State>,
    /// The last state that is complete.
    done: usize,
}

/// Time of a request: the states from its start to its end, any of which may have been in force.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Period {
    pub(super) first: usize,
    pub(super) last: usize,
}

impl States {
    pub(super) fn new(state: State) -> Self {
        Self(Mutex::new(Past {
            states: vec![state],
            done: 0,
        }))
    }

    /// Records that the configuration is about to change. Returns the new state.
    pub(super) fn begin(&self, change: impl FnOnce(&mut State)) -> State {
        let mut past = self.past();
        let mut next = past.states[past.states.len() - 1].clone();
        change(&mut next);
        past.states.push(next.clone());
        next
    }

    /// Records that the change is complete: requests that start now must follow it.
    pub(super) fn done(&self) {
        let mut past = self.past();
        past.done = past.states.len() - 1;
    }

    /// Returns the last complete state, and its number.
    pub(super) fn now(&self) -> (usize, State) {
        let past = self.past();
        (past.done, past.states[past.done].clone())
    }

    /// Returns the number of the last state that requests may see.
    pub(super) fn begun(&self) -> usize {
        self.past().states.len() - 1
    }

    /// Returns all states, by number.
    pub(super) fn all(&self) -> Vec<State> {
        self.past().states.clone()
    }

    /// Forgets all states but the last one. No request may be running.
    pub(super) fn forget(&self) {
        let mut past = self.past();
        let last = past.states.len() - 1;
        past.states.drain(..last);
        past.done = 0;
    }

    fn past(&self) -> MutexGuard<'_, Past> {
        lock(&self.0)
    }
}

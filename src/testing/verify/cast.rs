//! The cast: which tracers a run has, with their keys, their backends and their settings. Made from a number alone.

use crate::{Part, Selector, SelectorParts};

use super::program::OpId;

/// How many registries share the process and the collector.
pub(crate) const REGISTRIES: usize = 2;

/// What the name of every canary begins with.
pub(crate) const CANARY: &str = "canary-";

/// One tracer, and the project that its key opens.
#[derive(Clone, Debug)]
pub(crate) struct Member {
    pub(crate) registry: usize,
    pub(crate) parts: Vec<(Part, String)>,
    pub(crate) backend: Backend,
    pub(crate) trusts_parents: bool,
    /// Stands in every canary of the project, and in nobody else's.
    pub(crate) token: String,
    pub(crate) key: String,
    pub(crate) source: String,
}

/// How a member's backend has sessions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Backend {
    /// By calls of its own.
    Honeyhive,
    /// As an attribute of spans.
    Otlp,
}

impl Member {
    fn new(index: usize, registry: usize, parts: Vec<(Part, String)>) -> Self {
        // Spread over the letters, so that no token begins as another one ends.
        let token = format!("{:010x}", (index as u64 + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 24);
        Self {
            registry,
            parts,
            backend: if index % 3 == 1 {
                Backend::Otlp
            } else {
                Backend::Honeyhive
            },
            trusts_parents: index % 4 == 2,
            key: format!("key-of-{token}"),
            source: format!("source-of-{token}"),
            token,
        }
    }

    /// Something that belongs to this member's project and to nobody else's.
    pub(crate) fn canary(&self, op: OpId) -> String {
        format!("{CANARY}{}-{op}", self.token)
    }

    /// What it is looked up by.
    pub(crate) fn selector(&self) -> Option<Selector> {
        Selector::try_from(self.selector_parts()?).ok()
    }

    pub(crate) fn selector_parts(&self) -> Option<SelectorParts> {
        let mut parts = self.parts.iter();
        let (part, name) = parts.next()?;
        let first = match part {
            Part::Tenant => Selector::tenant(name),
            Part::Environment => Selector::environment(name),
            Part::Feature => Selector::feature(name),
        };
        Some(parts.fold(first, |selector, (part, name)| match part {
            Part::Tenant => selector.tenant(name),
            Part::Environment => selector.environment(name),
            Part::Feature => selector.feature(name),
        }))
    }

    /// How it is shown.
    pub(crate) fn name(&self) -> String {
        let parts: Vec<String> = self.parts.iter().map(|(part, name)| format!("{part}:{name}")).collect();
        let place = if self.registry == 0 {
            ""
        } else {
            " of the second registry"
        };
        format!("{}{place}", parts.join(","))
    }
}

/// Tenants, environments and features in the first registry, and tenants of the same names in the second.
pub(crate) fn cast(tenants: usize) -> Vec<Member> {
    let named = |part: Part, name: &str, index: usize| vec![(part, format!("{name}{index}"))];
    let mut members = Vec::new();
    let mut add = |registry: usize, parts: Vec<(Part, String)>| {
        members.push(Member::new(members.len(), registry, parts));
    };
    (0..tenants).for_each(|index| add(0, named(Part::Tenant, "t", index)));
    (0..2).for_each(|index| add(0, named(Part::Environment, "e", index)));
    (0..2).for_each(|index| add(0, named(Part::Feature, "f", index)));
    add(0, vec![(Part::Tenant, "t0".to_owned()), (Part::Feature, "f0".to_owned())]);
    (0..tenants.div_ceil(4)).for_each(|index| add(1, named(Part::Tenant, "t", index)));
    members
}

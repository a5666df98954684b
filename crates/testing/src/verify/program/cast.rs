//! The cast: the tracers of a run with their keys, backends and settings, derived from the number
//! of tenants.

use tracer_registry::Selector;
use tracer_registry::config::SessionMode;
use tracer_registry::selector::{SelectorBuilder, SelectorKind};

use super::operation::OpId;

/// Registries that share the process and the collector.
pub(crate) const REGISTRIES: usize = 2;

/// Name, without its number, of an environment that only the second registry has.
pub(crate) const ONLY_IN_SECOND: &str = "x";

/// Number of targets of copies, by registry.
const TARGETS: [usize; REGISTRIES] = [2, 1];
/// Name, without its number, of their environments.
const TARGET: &str = "copies";

/// Share of its traces that a member with sampling keeps.
pub(crate) const RATIO: f64 = 0.5;

/// Keys of a project; rotation cycles through them.
pub(crate) const KEYS: usize = 4;

/// Prefix of every canary.
pub(crate) const CANARY: &str = "canary-";

/// Start of the e-mail addresses that some members remove.
pub(crate) const PLANTED: &str = "planted-";

/// The text of [`planted`] without its address.
pub(crate) const REDACTED: &str = "write to [redacted]";

/// Returns a text with an e-mail address that belongs to a canary.
pub(crate) fn planted(canary: &str) -> String {
    let owner = canary.strip_prefix(CANARY).unwrap_or(canary);
    format!("write to {PLANTED}{owner}@example.com")
}

/// Returns whether a member with [`RATIO`] keeps a trace: those with a second half below this share
/// of all numbers.
pub(crate) fn is_in_ratio(trace_id: [u8; 16]) -> bool {
    // The share is one half.
    u128::from_be_bytes(trace_id) & u128::from(u64::MAX) < 1 << 63
}

/// A tracer of the cast and its project.
#[derive(Clone, Debug)]
pub(crate) struct Member {
    pub(crate) registry: usize,
    pub(crate) parts: Vec<(SelectorKind, String)>,
    pub(crate) backend: Backend,
    pub(crate) sessions: SessionMode,
    pub(crate) trusts_parents: bool,
    pub(crate) takes_sessions: bool,
    /// Whether a disturbed run reads its key from the vault instead of a file.
    pub(crate) has_key_in_vault: bool,
    /// Environments with the tracers that get copies of its spans.
    pub(crate) also: Vec<String>,
    /// Share of the traces that it keeps: all, or [`RATIO`].
    pub(crate) ratio: f64,
    /// Unique part of the project's canaries, settings and key.
    pub(crate) token: String,
    pub(crate) key: String,
    pub(crate) source: String,
}

/// Backend of a member.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Backend {
    /// Sessions through the session API.
    Honeyhive,
    /// Sessions as span attributes.
    Otlp,
}

/// Version of a member's settings. Changes with the configuration.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Setting {
    /// Number of changes of the binding.
    pub(crate) binding: u32,
    /// Number of changes of the defaults.
    pub(crate) defaults: u32,
}

impl Setting {
    fn mark(self, text: String) -> String {
        match self.binding {
            0 => text,
            binding => format!("{text}-{binding}"),
        }
    }

    /// Returns the resource attribute `era` that the defaults set.
    pub(crate) fn era(self) -> Option<String> {
        (self.defaults > 0).then(|| format!("era-{}", self.defaults))
    }
}

impl Member {
    fn new(index: usize, registry: usize, parts: Vec<(SelectorKind, String)>) -> Self {
        // Spread over all digits, so that no token overlaps another one.
        let token = format!("{:010x}", (index as u64 + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 24);
        Self {
            registry,
            parts,
            backend: if index % 3 == 1 {
                Backend::Otlp
            } else {
                Backend::Honeyhive
            },
            sessions: match index % 7 {
                2 | 5 => SessionMode::PerTrace,
                3 => SessionMode::AutoCreate,
                _ => SessionMode::Explicit,
            },
            trusts_parents: index % 4 == 2,
            takes_sessions: index % 5 > 2,
            has_key_in_vault: index % 2 == 1,
            also: Vec::new(),
            ratio: 1.0,
            key: format!("key-of-{token}"),
            source: format!("source-of-{token}"),
            token,
        }
    }

    /// Returns whether it gets copies. Programs do not use its tracer.
    pub(crate) fn is_target(&self) -> bool {
        let is_named = |name: &str| name.starts_with(TARGET);
        matches!(self.parts.as_slice(), [(SelectorKind::Environment, name)] if is_named(name))
    }

    /// Returns whether it keeps [`RATIO`] of the traces.
    pub(crate) fn is_sampled(&self) -> bool {
        self.ratio < 1.0
    }

    /// Returns whether its spans are copied to a target.
    pub(crate) fn copies_to(&self, target: &Self) -> bool {
        let is_named =
            |name: &String| matches!(target.parts.as_slice(), [(SelectorKind::Environment, of)] if of == name);
        self.registry == target.registry && self.also.iter().any(is_named)
    }

    /// Returns whether its sessions use the session API instead of span attributes.
    pub(crate) fn has_calls(&self) -> bool {
        self.backend == Backend::Honeyhive && self.sessions != SessionMode::AutoCreate
    }

    /// Returns the prefix of span attributes with session data.
    pub(crate) fn session_prefix(&self) -> &'static str {
        match self.backend {
            Backend::Honeyhive => "honeyhive_",
            Backend::Otlp => "tracer_registry.session.",
        }
    }

    /// Returns whether a span outside any session belongs to the session of its trace.
    pub(crate) fn has_sessions_of_traces(&self) -> bool {
        self.sessions == SessionMode::PerTrace
    }

    /// Returns the keys of its project: the initial one and its successors.
    pub(crate) fn keys(&self) -> [String; KEYS] {
        std::array::from_fn(|turn| match turn {
            0 => self.key.clone(),
            turn => format!("{}-{turn}", self.key),
        })
    }

    /// Returns a text that only this member's project may contain.
    pub(crate) fn canary(&self, op: OpId) -> String {
        format!("{CANARY}{}-{op}", self.token)
    }

    /// Returns whether its binding removes e-mail addresses: about half of the members do.
    pub(crate) fn redacts(&self) -> bool {
        !self.has_key_in_vault
    }

    /// Returns the text of [`planted`] as its project gets it.
    pub(crate) fn planted(&self, op: OpId) -> String {
        if self.redacts() {
            REDACTED.to_owned()
        } else {
            planted(&self.canary(op))
        }
    }

    /// Returns a value of a setting that only this member's project may contain.
    pub(crate) fn own(&self, setting: &str) -> String {
        format!("{setting}-of-{}", self.token)
    }

    /// Returns [`own`](Self::own) for a version of the settings.
    pub(crate) fn own_at(&self, setting: &str, at: Setting) -> String {
        at.mark(self.own(setting))
    }

    /// Returns its source for a version of the settings.
    pub(crate) fn source_at(&self, at: Setting) -> String {
        at.mark(self.source.clone())
    }

    /// Returns the selector for its look-up.
    pub(crate) fn selector_parts(&self) -> SelectorBuilder {
        self.parts
            .iter()
            .fold(SelectorBuilder::default(), |selector, (part, name)| match part {
                SelectorKind::Tenant => selector.tenant(name),
                SelectorKind::Environment => selector.environment(name),
                SelectorKind::Feature => selector.feature(name),
            })
    }

    /// Returns the selector of its tracer as text.
    pub(crate) fn selector(&self) -> String {
        let selector = Selector::try_from(self.selector_parts());
        selector.map(|selector| selector.to_string()).unwrap_or_default()
    }

    /// Returns its name in programs and findings, which is also the name of its project.
    pub(crate) fn name(&self) -> String {
        let parts: Vec<String> = self.parts.iter().map(|(part, name)| format!("{part}:{name}")).collect();
        let suffix = if self.registry == 0 {
            ""
        } else {
            " of the second registry"
        };
        format!("{}{suffix}", parts.join(","))
    }
}

/// Returns tenants, environments and features of the first registry, and a quarter as many tenants
/// of the same names in the second. Targets of copies come last.
pub(crate) fn cast(tenants: usize) -> Vec<Member> {
    let named = |part: SelectorKind, name: &str, index: usize| vec![(part, format!("{name}{index}"))];
    let mut members = Vec::new();
    let mut add = |registry: usize, parts: Vec<(SelectorKind, String)>| {
        members.push(Member::new(members.len(), registry, parts));
    };
    (0..tenants).for_each(|index| add(0, named(SelectorKind::Tenant, "t", index)));
    (0..2).for_each(|index| add(0, named(SelectorKind::Environment, "e", index)));
    (0..2).for_each(|index| add(0, named(SelectorKind::Feature, "f", index)));
    add(
        0,
        vec![
            (SelectorKind::Tenant, "t0".to_owned()),
            (SelectorKind::Feature, "f0".to_owned()),
        ],
    );
    // Rules of redaction add up, so it redacts what its tenant does.
    if let Some(of_both) = members.last_mut() {
        of_both.has_key_in_vault = false;
    }
    let mut add = |registry: usize, parts: Vec<(SelectorKind, String)>| {
        members.push(Member::new(members.len(), registry, parts));
    };
    (0..tenants.div_ceil(4)).for_each(|index| add(1, named(SelectorKind::Tenant, "t", index)));
    add(1, named(SelectorKind::Environment, ONLY_IN_SECOND, 0));
    for (index, member) in members.iter_mut().enumerate() {
        let targets: &[usize] = [&[0][..], &[1], &[], &[0, 1]][index % 4];
        let targets = targets.iter().filter(|target| **target < TARGETS[member.registry]);
        member.also = targets.map(|target| format!("{TARGET}{target}")).collect();
    }
    let targets = (0..REGISTRIES).flat_map(|registry| (0..TARGETS[registry]).map(move |target| (registry, target)));
    for (index, (registry, target)) in targets.enumerate() {
        let parts = named(SelectorKind::Environment, TARGET, target);
        members.push(Member {
            backend: if index == 1 { Backend::Otlp } else { Backend::Honeyhive },
            sessions: SessionMode::Explicit,
            has_key_in_vault: index == 0,
            ratio: if index == 1 { RATIO } else { 1.0 },
            ..Member::new(members.len(), registry, parts)
        });
    }
    members
}

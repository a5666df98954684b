//! The cast: which tracers a run has, with their keys, their backends and their settings. Made from a number alone.

use tracer_registry::Selector;
use tracer_registry::config::SessionMode;
use tracer_registry::selector::{SelectorBuilder, SelectorKind};

use super::operation::OpId;

/// How many registries share the process and the collector.
pub(crate) const REGISTRIES: usize = 2;

/// The name of an environment of the second registry that the first has not, without its number.
pub(crate) const ONLY_THERE: &str = "x";

/// How many keys a project has in turn, where they are rotated.
pub(crate) const KEYS: usize = 4;

/// What the name of every canary begins with.
pub(crate) const CANARY: &str = "canary-";

/// One tracer, and the project that its key opens.
#[derive(Clone, Debug)]
pub(crate) struct Member {
    pub(crate) registry: usize,
    pub(crate) parts: Vec<(SelectorKind, String)>,
    pub(crate) backend: Backend,
    pub(crate) sessions: SessionMode,
    pub(crate) trusts_parents: bool,
    pub(crate) takes_sessions: bool,
    /// Whether its key, where it is rotated, is asked for from the program, and not in a file.
    pub(crate) has_key_in_vault: bool,
    /// Part of every canary of the project, and of no other.
    pub(crate) token: String,
    pub(crate) key: String,
    pub(crate) source: String,
}

/// What a member's backend is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Backend {
    /// Sessions by calls of their own.
    Honeyhive,
    /// Sessions as attributes of spans.
    Otlp,
}

/// What a member's settings are at a time: they change where the configuration does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Setting {
    /// How often the binding was changed.
    pub(crate) binding: u32,
    /// How often the defaults were.
    pub(crate) defaults: u32,
}

impl Setting {
    fn mark(self, text: String) -> String {
        match self.binding {
            0 => text,
            binding => format!("{text}-{binding}"),
        }
    }

    /// What the defaults of the time say.
    pub(crate) fn era(self) -> Option<String> {
        (self.defaults > 0).then(|| format!("era-{}", self.defaults))
    }
}

impl Member {
    fn new(index: usize, registry: usize, parts: Vec<(SelectorKind, String)>) -> Self {
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
            sessions: match index % 7 {
                2 | 5 => SessionMode::PerTrace,
                3 => SessionMode::AutoCreate,
                _ => SessionMode::Explicit,
            },
            trusts_parents: index % 4 == 2,
            takes_sessions: index % 5 > 2,
            has_key_in_vault: index % 2 == 1,
            key: format!("key-of-{token}"),
            source: format!("source-of-{token}"),
            token,
        }
    }

    /// Whether the starts and enrichments of its sessions are calls, and not attributes of spans.
    pub(crate) fn has_calls(&self) -> bool {
        self.backend == Backend::Honeyhive && self.sessions != SessionMode::AutoCreate
    }

    /// What is before the names of a session's data, where that is attributes of spans.
    pub(crate) fn session_prefix(&self) -> &'static str {
        match self.backend {
            Backend::Honeyhive => "honeyhive_",
            Backend::Otlp => "tracer_registry.session.",
        }
    }

    /// Whether a span outside any session has that of its trace.
    pub(crate) fn has_sessions_of_traces(&self) -> bool {
        self.sessions == SessionMode::PerTrace
    }

    /// The keys of its project: its own, and those that come in its place.
    pub(crate) fn keys(&self) -> [String; KEYS] {
        std::array::from_fn(|turn| match turn {
            0 => self.key.clone(),
            turn => format!("{}-{turn}", self.key),
        })
    }

    /// A text that belongs to this member's project alone.
    pub(crate) fn canary(&self, op: OpId) -> String {
        format!("{CANARY}{}-{op}", self.token)
    }

    /// A setting of its binding: something of its own as well.
    pub(crate) fn own(&self, setting: &str) -> String {
        format!("{setting}-of-{}", self.token)
    }

    /// The same in the binding of a time.
    pub(crate) fn own_at(&self, setting: &str, at: Setting) -> String {
        at.mark(self.own(setting))
    }

    /// Its source in the binding of a time.
    pub(crate) fn source_at(&self, at: Setting) -> String {
        at.mark(self.source.clone())
    }

    /// What it is looked up by.
    pub(crate) fn selector_parts(&self) -> SelectorBuilder {
        self.parts
            .iter()
            .fold(SelectorBuilder::default(), |selector, (part, name)| match part {
                SelectorKind::Tenant => selector.tenant(name),
                SelectorKind::Environment => selector.environment(name),
                SelectorKind::Feature => selector.feature(name),
            })
    }

    /// What its tracer says that it is of.
    pub(crate) fn selector(&self) -> String {
        let selector = Selector::try_from(self.selector_parts());
        selector.map(|selector| selector.to_string()).unwrap_or_default()
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
    (0..tenants.div_ceil(4)).for_each(|index| add(1, named(SelectorKind::Tenant, "t", index)));
    add(1, named(SelectorKind::Environment, ONLY_THERE, 0));
    members
}

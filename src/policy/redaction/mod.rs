//! Redaction: removes data before it is stored or sent.
//!
//! One implementation of the rules for two walks: over spans of the SDK, and over the bytes of
//! encoded requests. A walk asks for a verdict on each value and changes the value.
//!
//! | file | owns |
//! |---|---|
//! | `rules` | compiled rules, shared by tracers; which rules apply to a key |
//! | `glob`, `path`, `flattened` | keys, and members in maps, JSON and flattened data |
//! | `patterns` | the built-in patterns |
//! | `decoded` | other spellings of a text |
//! | `json` | the tokens of JSON in texts |
//! | `evaluate`, `matches` | all rules on one text |
//! | `hash` | hashes of values |
//! | `hook` | redaction by the program |

mod decoded;
mod evaluate;
mod flattened;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzzing;
mod glob;
mod hash;
mod hook;
mod json;
mod matches;
mod path;
mod patterns;
mod rules;
mod verdict;

#[cfg(test)]
mod tests;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

#[cfg(test)]
pub(crate) use flattened::is_flattened;
pub use hook::{Decision, Place, Redactor, Value};
pub(crate) use path::Path;
pub(crate) use rules::{Rules, SharedRules};
pub(crate) use verdict::{REDACTED, Verdict};

use evaluate::Evaluation;
use hash::Hashes;
use rules::KeyRules;

use crate::config::RedactAction;
use crate::secret::HashKey;
use crate::selector::Selector;

/// Largest text that rules read, in bytes. They take linear time.
const MAX_TEXT: usize = 16 << 20;

/// Largest text that hooks get, in bytes.
const MAX_HOOK_TEXT: usize = 1 << 20;

/// Where a value is: at a [`Place`], or a member of an attribute at a [`Path`].
#[derive(Clone, Copy)]
pub(crate) enum Spot<'a> {
    At(Place<'a>),
    Member(&'a Path),
}

impl<'a> From<Place<'a>> for Spot<'a> {
    fn from(place: Place<'a>) -> Self {
        Self::At(place)
    }
}

impl<'a> From<&'a str> for Spot<'a> {
    fn from(key: &'a str) -> Self {
        Self::At(Place::Attribute(key))
    }
}

impl<'a> From<&'a Path> for Spot<'a> {
    fn from(path: &'a Path) -> Self {
        Self::Member(path)
    }
}

impl<'a> Spot<'a> {
    fn place(self) -> Place<'a> {
        match self {
            Self::At(place) => place,
            Self::Member(path) => Place::Attribute(path.text()),
        }
    }

    pub(crate) fn path(self) -> Path {
        match self {
            Self::At(Place::Attribute(key)) => Path::new(key),
            Self::At(Place::Status | Place::Name) => Path::default(),
            Self::Member(path) => path.clone(),
        }
    }
}

/// The redaction of one tracer.
pub(crate) struct Redaction {
    selector: Selector,
    rules: Arc<Rules>,
    hashes: Hashes,
    hooks: Vec<Arc<dyn Redactor>>,
    counts: Counts,
}

/// Numbers of values.
#[derive(Default)]
struct Counts {
    /// Changed by each name of [`Rules::names`].
    by_name: Box<[AtomicU64]>,
    unreadable: AtomicU64,
    by_hooks: AtomicU64,
    panics: AtomicU64,
}

fn increment(count: &AtomicU64) {
    // Relaxed, because a count publishes no other data.
    count.fetch_add(1, Ordering::Relaxed);
}

impl Redaction {
    /// Compiles rules, with a key of hashes for tests.
    #[cfg(any(test, fuzzing))]
    pub(crate) fn new(
        selector: &Selector,
        rules: &crate::config::ResolvedRedact,
        hooks: Vec<Arc<dyn Redactor>>,
    ) -> Option<Arc<Self>> {
        let rules = SharedRules::default().get_or_compile(rules);
        Self::with_rules(selector, rules, Some(HashKey::for_tests()), hooks)
    }

    /// Returns `None` if nothing is removed. `key` is that of hashes, which rules that hash need.
    pub(crate) fn with_rules(
        selector: &Selector,
        rules: Arc<Rules>,
        key: Option<HashKey>,
        hooks: Vec<Arc<dyn Redactor>>,
    ) -> Option<Arc<Self>> {
        (!rules.is_empty() || !hooks.is_empty()).then(|| {
            let counts = Counts {
                by_name: rules.names.iter().map(|_| AtomicU64::new(0)).collect(),
                ..Counts::default()
            };
            Arc::new(Self {
                selector: selector.clone(),
                rules,
                hashes: Hashes::new(selector, key),
                hooks,
                counts,
            })
        })
    }

    /// Returns what rules do with the whole value of an attribute or a member, whatever its type,
    /// and counts it. The strongest action of all rules that match: drop, replace, hash.
    pub(crate) fn whole<'a>(&self, spot: impl Into<Spot<'a>>) -> Option<RedactAction> {
        self.at_spot(spot.into(), |rules| {
            let (action, rules) = rules?.whole.as_ref()?;
            self.count(rules);
            Some(*action)
        })
    }

    /// Decides about a text: also reads JSON in it. Then calls the hooks.
    pub(crate) fn text<'a>(&self, spot: impl Into<Spot<'a>>, text: &str) -> Verdict {
        let spot = spot.into();
        let verdict = self.rules_on_text(spot, text);
        if self.hooks.is_empty() || verdict == Verdict::Drop {
            return verdict;
        }
        self.hooks_on_text(spot.place(), text, verdict)
    }

    /// Decides about a number or boolean, by its text. Hooks are not called.
    pub(crate) fn scalar<'a>(&self, spot: impl Into<Spot<'a>>, shown: &str) -> Verdict {
        self.at_spot(spot.into(), |rules| match rules {
            None => self.unreadable(),
            Some(KeyRules {
                whole: Some((action, rules)),
                ..
            }) => {
                self.count(rules);
                self.apply(*action, shown.as_bytes())
            }
            Some(rules) => {
                let mut evaluation = Evaluation::new(&self.rules, &self.hashes);
                let verdict = evaluation.scalar(&rules.active, shown);
                self.finish(&evaluation);
                verdict
            }
        })
    }

    /// Decides about bytes: as text if they are UTF-8. Otherwise a rule with patterns cannot be
    /// applied, and they are dropped.
    #[cfg(any(feature = "encoded", test, fuzzing))]
    pub(crate) fn bytes<'a>(&self, spot: impl Into<Spot<'a>>, bytes: &[u8]) -> Verdict {
        let spot = spot.into();
        if let Ok(text) = std::str::from_utf8(bytes) {
            return self.text(spot, text);
        }
        self.at_spot(spot, |rules| match rules {
            Some(KeyRules {
                whole: Some((action, rules)),
                ..
            }) => {
                self.count(rules);
                self.apply(*action, bytes)
            }
            Some(rules) if rules.active.is_empty() => Verdict::Keep,
            _ => self.unreadable(),
        })
    }

    /// Returns the hash of a whole value, given in any form that is equal for equal values.
    pub(crate) fn hash(&self, value: &[u8]) -> String {
        self.hashes.text(value)
    }

    /// Counts a value that a walk removed, because it is too deep or too large for it.
    pub(crate) fn note_unreadable(&self) {
        increment(&self.counts.unreadable);
    }

    /// Returns how many values each rule changed, by its name, and how many values were dropped
    /// because no rule could be applied to them.
    pub(crate) fn counts(&self) -> (Vec<(&str, u64)>, u64) {
        let load = |count: &AtomicU64| count.load(Ordering::Relaxed);
        let names = self.rules.names.iter().map(String::as_str);
        (
            names.zip(self.counts.by_name.iter().map(load)).collect(),
            load(&self.counts.unreadable),
        )
    }

    /// Returns how many values hooks changed or dropped, and how many were dropped because one
    /// panicked.
    pub(crate) fn hook_counts(&self) -> (u64, u64) {
        let load = |count: &AtomicU64| count.load(Ordering::Relaxed);
        (load(&self.counts.by_hooks), load(&self.counts.panics))
    }

    fn rules_on_text(&self, spot: Spot<'_>, text: &str) -> Verdict {
        if self.rules.is_empty() || (matches!(spot, Spot::At(Place::Name)) && !self.rules.names_too) {
            return Verdict::Keep;
        }
        self.at_spot(spot, |rules| {
            let Some(rules) = rules else { return self.unreadable() };
            let whole = rules.whole.as_ref();
            if let Some((action, matched)) = whole {
                self.count(matched);
                if *action == RedactAction::Drop || !rules.active.can_drop {
                    return self.apply(*action, text.as_bytes());
                }
            }
            if text.len() > MAX_TEXT {
                return self.unreadable();
            }
            let mut evaluation = Evaluation::new(&self.rules, &self.hashes);
            let verdict = evaluation.text(&rules.active, || spot.path(), text);
            self.finish(&evaluation);
            match whole {
                Some((action, _)) if verdict != Verdict::Drop => self.apply(*action, text.as_bytes()),
                _ => verdict,
            }
        })
    }

    /// Calls a function with what applies at a spot, or with `None` if this cannot be known.
    fn at_spot<R>(&self, spot: Spot<'_>, with: impl FnOnce(Option<&KeyRules>) -> R) -> R {
        match spot {
            Spot::At(Place::Attribute(key)) => self.rules.of_key(key, with),
            Spot::At(Place::Status | Place::Name) => with(Some(self.rules.base())),
            Spot::Member(path) => self.rules.of_path(path, with),
        }
    }

    fn apply(&self, action: RedactAction, value: &[u8]) -> Verdict {
        match action {
            RedactAction::Drop => Verdict::Drop,
            RedactAction::Replace => Verdict::Replace(REDACTED.to_owned()),
            RedactAction::Hash => Verdict::Replace(self.hashes.text(value)),
        }
    }

    fn unreadable(&self) -> Verdict {
        self.note_unreadable();
        Verdict::Drop
    }

    fn count(&self, rules: &[usize]) {
        for (position, index) in rules.iter().enumerate() {
            let name = self.rules.all[*index].name;
            let is_first = rules[..position]
                .iter()
                .all(|other| self.rules.all[*other].name != name);
            if is_first {
                increment(&self.counts.by_name[name]);
            }
        }
    }

    fn finish(&self, evaluation: &Evaluation<'_>) {
        self.count(&evaluation.hits);
        if evaluation.is_unreadable {
            self.note_unreadable();
        }
    }

    /// Calls the hooks with what the rules left of a text.
    fn hooks_on_text(&self, place: Place<'_>, text: &str, mut verdict: Verdict) -> Verdict {
        for hook in &self.hooks {
            let text = match &verdict {
                Verdict::Replace(by) => by,
                _ => text,
            };
            if text.len() > MAX_HOOK_TEXT {
                return self.unreadable();
            }
            let value = Value {
                selector: &self.selector,
                place,
                text,
            };
            // After a panic, the program's hook is responsible for its state.
            let Ok(decision) = catch_unwind(AssertUnwindSafe(|| hook.redact(&value))) else {
                increment(&self.counts.panics);
                return Verdict::Drop;
            };
            match decision {
                Decision::Keep => continue,
                Decision::Replace(by) => verdict = Verdict::Replace(by),
                Decision::Drop => verdict = Verdict::Drop,
            }
            increment(&self.counts.by_hooks);
            if verdict == Verdict::Drop {
                break;
            }
        }
        verdict
    }
}

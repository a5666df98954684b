//! Compiled rules, which tracers with equal rules share.

use std::collections::HashMap;
use std::sync::{Arc, RwLock, TryLockError, Weak};

use foldhash::fast::RandomState;
use regex::{Regex, RegexSet, RegexSetBuilder};

use super::flattened;
use super::glob::Glob;
use super::path::{Member, Path};
use super::patterns::PatternSet;
use crate::config::{Pattern, RedactAction, RedactRule, ResolvedRedact, redact_regex};
use crate::util::fork::ForkLock;

/// Keys of attributes with known rules. With more, all are forgotten.
const MAX_KEYS: usize = 1024;

/// Longest key to remember.
const MAX_REMEMBERED_KEY: usize = 128;

/// Most regular expressions that are searched for one after the other.
const MAX_SEPARATE_REGEXES: usize = 8;

/// Longest key or path that globs are compared with.
pub(super) const MAX_PATH: usize = 4096;

/// Size of the automaton of all regular expressions. Without it, each is searched alone.
const MAX_SET_SIZE: usize = 16 << 20;

/// Compiled rules.
pub(crate) struct Rules {
    /// Names of the rules. Rules of several tables with one name count together.
    pub(super) names: Vec<String>,
    pub(super) all: Vec<Rule>,
    /// Whether they apply to the names of spans and events.
    pub(super) names_too: bool,
    /// What applies to a key that no glob matches.
    base: KeyRules,
    pub(super) has_globs: bool,
    /// Cost of comparing a path with all globs: a constant, and that of each of its bytes.
    pub(super) glob_cost: (usize, usize),
    /// Matches if any regular expression does. `None` for few, each of which is faster alone.
    set: Option<RegexSet>,
    by_key: RwLock<HashMap<Box<str>, Option<Arc<KeyRules>>, RandomState>>,
}

/// One rule.
pub(super) struct Rule {
    /// Index in [`Rules::names`].
    pub(super) name: usize,
    pub(super) action: RedactAction,
    globs: Vec<Glob>,
    pub(super) patterns: PatternSet,
    pub(super) regexes: Vec<Regex>,
}

/// What applies to a value.
#[derive(Clone, Debug, Default)]
pub(super) struct KeyRules {
    /// Action on the whole value, and the rules that ask for one.
    pub(super) whole: Option<(RedactAction, Vec<usize>)>,
    pub(super) active: Arc<Active>,
}

/// Rules with patterns that apply to a value.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Active {
    /// Indices of rules, ascending.
    pub(super) rules: Vec<usize>,
    pub(super) patterns: PatternSet,
    pub(super) has_regex: bool,
    pub(super) can_drop: bool,
}

impl Rules {
    fn compile(resolved: &ResolvedRedact) -> Self {
        let mut names: Vec<String> = Vec::new();
        let mut rules = Vec::new();
        for (name, rule) in &resolved.rules {
            let index = names.iter().position(|known| known == name).unwrap_or_else(|| {
                names.push(name.clone());
                names.len() - 1
            });
            rules.push(Rule::compile(index, rule));
        }
        let globs = || rules.iter().flat_map(|rule: &Rule| &rule.globs);
        let regexes = || rules.iter().flat_map(|rule| &rule.regexes);
        let set = (regexes().count() > MAX_SEPARATE_REGEXES).then(|| {
            let mut set = RegexSetBuilder::new(regexes().map(Regex::as_str));
            set.size_limit(MAX_SET_SIZE).build().ok()
        });
        let mut active = Active::default();
        for (index, rule) in rules.iter().enumerate() {
            if rule.globs.is_empty() {
                active.add(index, rule);
            }
        }
        let base = KeyRules {
            whole: None,
            active: Arc::new(active),
        };
        Self {
            has_globs: globs().next().is_some(),
            glob_cost: (
                globs().count() * 8,
                globs().filter(|glob| glob.has_pieces_between()).count(),
            ),
            names,
            names_too: resolved.names,
            base,
            set: set.flatten(),
            by_key: RwLock::default(),
            all: rules,
        }
    }

    /// Returns whether there are none.
    pub(super) fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    /// Returns what applies to a text that is no attribute.
    pub(super) fn base(&self) -> &KeyRules {
        &self.base
    }

    /// Calls a function with what applies to an attribute, or with `None` if its key is too long
    /// or too deep to know.
    pub(super) fn of_key<R>(&self, key: &str, with: impl FnOnce(Option<&KeyRules>) -> R) -> R {
        if !self.has_globs {
            return with(Some(&self.base));
        }
        if key.len() > MAX_PATH {
            return with(None);
        }
        let known = match self.by_key.try_read() {
            Ok(known) => known.get(key).cloned(),
            // While another thread writes, the work is done again instead of waiting.
            Err(TryLockError::WouldBlock) => None,
            Err(TryLockError::Poisoned(known)) => known.into_inner().get(key).cloned(),
        };
        let of_key = match known {
            Some(of_key) => of_key,
            None if flattened::is_too_deep(key) => return with(None),
            None => self.remember(key),
        };
        with(Some(of_key.as_deref().unwrap_or(&self.base)))
    }

    /// Calls a function with what applies to a member of an attribute, or with `None` if its path
    /// is too long to know. What applies to the whole attribute also applies to its members.
    pub(super) fn of_path<R>(&self, path: &Path, with: impl FnOnce(Option<&KeyRules>) -> R) -> R {
        if !self.has_globs {
            return with(Some(&self.base));
        }
        if path.text().len() > MAX_PATH {
            return with(None);
        }
        let mut rules = self
            .of_key(path.key(), |rules| Some(rules?.clone()))
            .unwrap_or_default();
        for member in path.members() {
            let Some(of_member) = self.of_member(&rules.active, member) else {
                continue;
            };
            rules.active = of_member.active;
            rules.whole = match (rules.whole, of_member.whole) {
                (Some((outer, mut indices)), Some((inner, more))) => {
                    indices.extend(more);
                    Some((outer.max(inner), indices))
                }
                (outer, inner) => outer.or(inner),
            };
        }
        with(Some(&rules))
    }

    #[cold]
    fn remember(&self, key: &str) -> Option<Arc<KeyRules>> {
        let lower = key.to_ascii_lowercase();
        let of_key = if flattened::is_flattened(&lower) {
            self.of_flattened(&lower)
        } else {
            let member = Member {
                path: &lower,
                name: None,
            };
            self.of_member(&self.base.active, member)
        };
        let of_key = of_key.map(Arc::new);
        if key.len() <= MAX_REMEMBERED_KEY
            && let Ok(mut known) = self.by_key.try_write()
        {
            if known.len() >= MAX_KEYS {
                known.clear();
            }
            known.insert(key.into(), of_key.clone());
        }
        of_key
    }

    /// Returns what applies to an attribute that is a part of flattened data. A rule that takes an
    /// object or a list takes all attributes of its members.
    fn of_flattened(&self, key: &str) -> Option<KeyRules> {
        let mut rules: Option<KeyRules> = None;
        for member in flattened::members(key) {
            let active = rules.as_ref().map_or(&self.base.active, |rules| &rules.active);
            let Some(of_member) = self.of_member(active, member) else {
                continue;
            };
            let is_whole = of_member.whole.is_some();
            rules = Some(of_member);
            if is_whole {
                break;
            }
        }
        rules
    }

    /// Returns what applies to a member of a value for which `parent` is active. `None` if this
    /// is the same, and no rule applies to it as a whole.
    pub(super) fn of_member(&self, parent: &Arc<Active>, member: Member<'_>) -> Option<KeyRules> {
        let mut whole: Option<(RedactAction, Vec<usize>)> = None;
        let mut active = Arc::clone(parent);
        for (index, rule) in self.all.iter().enumerate() {
            let matches = |glob: &Glob| glob.matches(member.path) || member.name.is_some_and(|name| glob.matches(name));
            if !rule.globs.iter().any(matches) {
                continue;
            }
            if rule.is_for_whole_values() {
                let (action, rules) = whole.get_or_insert((rule.action, Vec::new()));
                *action = rule.action.max(*action);
                rules.push(index);
            } else if !active.rules.contains(&index) {
                Arc::make_mut(&mut active).add(index, rule);
            }
        }
        let differs = whole.is_some() || !Arc::ptr_eq(&active, parent);
        differs.then_some(KeyRules { whole, active })
    }

    /// Returns whether a regular expression may match.
    pub(super) fn may_match(&self, text: &str) -> bool {
        self.set.as_ref().is_none_or(|set| set.is_match(text))
    }
}

impl Rule {
    fn compile(name: usize, rule: &RedactRule) -> Self {
        let mut patterns = PatternSet::default();
        for pattern in rule.patterns.iter().flatten() {
            patterns.insert(*pattern);
        }
        let regexes = rule.regex.iter().flatten();
        Self {
            name,
            action: rule.action.unwrap_or_default(),
            globs: rule.attributes.iter().flatten().map(|glob| Glob::new(glob)).collect(),
            patterns,
            regexes: regexes
                .map(|regex| redact_regex(regex).expect("checked with the configuration"))
                .collect(),
        }
    }

    fn is_for_whole_values(&self) -> bool {
        self.patterns.is_empty() && self.regexes.is_empty()
    }

    pub(super) fn has(&self, pattern: Pattern) -> bool {
        self.patterns.contains(pattern)
    }
}

impl Active {
    fn add(&mut self, index: usize, rule: &Rule) {
        self.rules.push(index);
        self.rules.sort_unstable();
        self.patterns.extend(rule.patterns);
        self.has_regex |= !rule.regexes.is_empty();
        self.can_drop |= rule.action == RedactAction::Drop;
    }

    pub(super) fn is_empty(&self) -> bool {
        self.rules.is_empty()
    }
}

/// The compiled rules of a registry: equal rules are compiled once while a tracer uses them.
#[derive(Default)]
pub(crate) struct SharedRules(ForkLock<HashMap<ResolvedRedact, Weak<Rules>>>);

impl SharedRules {
    /// Returns the compiled rules of a binding.
    pub(crate) fn get_or_compile(&self, resolved: &ResolvedRedact) -> Arc<Rules> {
        // The key of hashes does not affect the compiled rules.
        let resolved = ResolvedRedact {
            key: None,
            ..resolved.clone()
        };
        if let Some(rules) = self.0.lock().get(&resolved).and_then(Weak::upgrade) {
            return rules;
        }
        // Compiled outside the lock. If another caller was faster, its rules are used.
        let compiled = Arc::new(Rules::compile(&resolved));
        let mut shared = self.0.lock();
        if let Some(rules) = shared.get(&resolved).and_then(Weak::upgrade) {
            return rules;
        }
        shared.retain(|_, rules| rules.strong_count() > 0);
        shared.insert(resolved, Arc::downgrade(&compiled));
        compiled
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn email_rule() -> ResolvedRedact {
        ResolvedRedact {
            rules: vec![("mail".to_owned(), RedactRule::new().pattern(Pattern::Email))],
            ..ResolvedRedact::default()
        }
    }

    #[test]
    fn tracers_with_equal_rules_share_them_while_one_lives() {
        let shared = SharedRules::default();
        let first = shared.get_or_compile(&email_rule());
        assert!(Arc::ptr_eq(&first, &shared.get_or_compile(&email_rule())));
        let names = ResolvedRedact {
            names: true,
            ..email_rule()
        };
        assert!(!Arc::ptr_eq(&first, &shared.get_or_compile(&names)));
        let weak = Arc::downgrade(&first);
        drop(first);
        assert!(weak.upgrade().is_none(), "nothing keeps rules that no tracer uses");
        shared.get_or_compile(&email_rule());
        assert_eq!(shared.0.lock().len(), 1, "rules that no tracer uses are forgotten");
    }

    #[test]
    fn the_rules_of_keys_are_remembered_in_bounded_memory() {
        let mut resolved = email_rule();
        resolved
            .rules
            .push(("secret".to_owned(), RedactRule::new().attribute("*.secret")));
        let rules = Rules::compile(&resolved);
        for number in 0..3 * MAX_KEYS {
            let is_secret = number % 2 == 0;
            let key = format!("{number}.{}", if is_secret { "secret" } else { "other" });
            for _ in 0..2 {
                assert_eq!(
                    rules.of_key(&key, |rules| rules.expect("a short key").whole.is_some()),
                    is_secret
                );
            }
        }
        rules.of_key(&"long".repeat(MAX_REMEMBERED_KEY), |rules| {
            assert!(rules.expect("a short key").whole.is_none());
        });
        let known = rules.by_key.read().expect("no panic");
        assert!(!known.is_empty() && known.len() <= MAX_KEYS, "{}", known.len());
        assert!(known.keys().all(|key| key.len() <= MAX_REMEMBERED_KEY));
    }
}
